//! Leftover files: in /run/subhost, and temporary files in $SUBHOST.

use super::snapshot::Snapshot;
use super::{Debris, Fix, Kind};
use crate::base::envfile::quote;
use crate::base::error::shown;
use crate::base::name::Name;
use crate::base::paths::{CLAIMS, RUN};
use crate::plan::Part;
use crate::state::State;
use std::path::{Path, PathBuf};

/// The temporary files that a killed command leaves in /run/subhost/NAME.
const UNFINISHED: [&str; 5] = ["root.new", "net.new", "init.new", "last.new", "cgroup.new"];

/// Finds leftovers in /run/subhost/NAME, and the directory itself where nothing is up.
pub(super) fn states(snapshot: &Snapshot) -> Vec<Debris> {
    let mut found = Vec::new();
    for (name, owner) in &snapshot.owners {
        let state = State::new(name);
        let dir = state.dir();
        if owner.work.is_some() || !dir.is_dir() {
            continue;
        }
        let new =
            |object: &Path, why: String| Debris::new(Kind::State, Some(name), shown(object), why);
        for error in &owner.damaged {
            found.push(
                new(dir, format!("damaged: {}", error.what))
                    .by_hand(error.hint.clone().unwrap_or_default()),
            );
        }
        for plan in &owner.stale {
            let why = "of an earlier boot of the host".into();
            found.push(new(plan, why).fix(Fix::Tidy, "forgets it"));
        }
        if !owner.damaged.is_empty() {
            continue;
        }
        if owner.is_up() {
            let unfinished = UNFINISHED.iter().map(|file| dir.join(file));
            for file in unfinished.filter(|file| file.exists()) {
                let why = "unfinished: the command that wrote it was killed".into();
                found.push(new(&file, why).fix(Fix::Remove(file.clone()), "removes it"));
            }
            continue;
        }
        if !owner.stale.is_empty() {
            continue;
        }
        let why = match owner.init {
            Some(_) => "records a PID 1 that has ended, and nothing is up",
            None => "the rest of a command that was killed: nothing is up",
        };
        let foreign = foreign_entries(dir);
        found.push(match foreign.is_empty() {
            true => new(dir, why.into()).fix(Fix::Tidy, "removes it"),
            false => new(dir, format!("{why}; {} is not ours", foreign.join(", ")))
                .by_hand(format!("see to that, then rm -r {}", shown(dir))),
        });
    }
    found
}

/// Returns the names in /run/subhost/NAME of files and directories that the tools do not make there.
fn foreign_entries(dir: &Path) -> Vec<String> {
    const OURS: [&str; 7] = [
        "init",
        "last",
        "lock",
        "hosts",
        "hostname",
        "resolv.conf",
        "cgroup",
    ];
    let lowers = lowers(dir);
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match is_dir {
                true => !lowers.contains(&entry.path()),
                false => !OURS.iter().chain(&UNFINISHED).any(|file| name == **file),
            }
        })
        .map(|entry| shown(entry.file_name()))
        .collect()
}

/// Returns the directories `lowerN` in /run/subhost/NAME, the mount points of image files among the layers.
pub(super) fn lowers(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |name: &std::ffi::OsStr| name.to_str()?.strip_prefix("lower")?.parse::<u32>().ok();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| number(&entry.file_name()).is_some())
        .map(|entry| entry.path())
        .collect()
}

/// Finds leftover claims: symbolic links in /run/subhost/.in-use, one for each writable layer or image in
/// use.
pub(super) fn claims(snapshot: &Snapshot) -> Vec<Debris> {
    let Ok(entries) = std::fs::read_dir(CLAIMS) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut is_empty = true;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        is_empty = false;
        let target = std::fs::read_link(&path).ok();
        let name = target
            .as_ref()
            .and_then(|target| Name::new(target.to_str()?).ok());
        let Some(target) = target else {
            let why = "not made by the tools: a claim is a link to a name";
            let debris = Debris::new(Kind::Claim, None, shown(&path), why);
            found.push(
                debris
                    .by_hand(format!("rm {}", quote(&shown(&path))))
                    .note(),
            );
            continue;
        };
        let owner = name.as_ref().map(|name| snapshot.owner(name));
        if owner.is_none_or(|owner| owner.is_known() && !owner.has(Part::Root)) {
            let why = format!("a claim of {}, whose root is not up", shown(&target));
            found.push(
                Debris::new(Kind::Claim, name.as_ref(), shown(&path), why)
                    .fix(Fix::Remove(path), "removes it"),
            );
        }
    }
    // The removal is harmless to a command that is about to make a claim: it makes the directory again.
    if is_empty && snapshot.owners.values().all(|owner| owner.work.is_none()) {
        let debris = Debris::new(Kind::Claim, None, CLAIMS.into(), "holds no claim");
        found.push(debris.fix(Fix::RemoveDir(CLAIMS.into()), "removes it"));
    }
    found
}

/// Finds temporary files of killed commands in $SUBHOST/NAME.
pub(super) fn unfinished(snapshot: &Snapshot) -> Vec<Debris> {
    let find = |name: &Name| {
        let file = snapshot.tree.join(name.as_str()).join("assigned.new");
        let is_file = file.symlink_metadata().is_ok_and(|meta| meta.is_file());
        let why = "unfinished: the command that wrote it was killed";
        (is_file && snapshot.owner(name).work.is_none()).then(|| {
            Debris::new(Kind::File, Some(name), shown(&file), why)
                .fix(Fix::Remove(file), "removes it")
        })
    };
    snapshot.names.iter().filter_map(find).collect()
}

/// Removes the common directories in /run/subhost that are empty. A command that needs one makes it again.
pub(super) fn tidy_run() {
    crate::kernel::pinned::remove_unused();
    for dir in [CLAIMS, RUN] {
        // rmdir(2) fails for a directory that is still in use.
        let _ = std::fs::remove_dir(dir);
    }
}
