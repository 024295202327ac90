//! Leftovers that are whole subhosts: half-built ones, those that are up without a frozen plan, and PID 1
//! processes that no state records.

use super::snapshot::{Owner, Process, Snapshot};
use super::{Debris, Fix, Held, Kind, Reported};
use crate::base::error::shown;
use crate::base::name::Name;
use crate::kernel::mountinfo::Mounts;
use crate::kernel::proc::Identity;
use crate::net::named;
use crate::plan::{Part, Presence, Recorded, Step};
use crate::subhost::{Status, Subhost};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Finds subhosts that are half built although no process of theirs runs and no command works on them.
pub(super) fn half_built(snapshot: &mut Snapshot) -> Vec<Debris> {
    let mut found = Vec::new();
    let is_idle = |owner: &Owner| owner.is_known() && owner.is_up() && !owner.running;
    let idle: Vec<(Name, PathBuf)> = snapshot
        .owners
        .iter()
        .filter(|(_, owner)| is_idle(owner))
        .filter_map(|(name, owner)| Some((name.clone(), owner.tree()?.to_owned())))
        .collect();
    for (name, tree) in idle {
        let subhost = Subhost::new(&tree, &name, &[]);
        let new = |why: String| {
            let object = shown(tree.join(name.as_str()));
            Debris::new(Kind::HalfBuilt, Some(&name), object, why)
        };
        match subhost.status_with(&Mounts::Read(&snapshot.table), &mut snapshot.network) {
            Ok(Status::Broken(what)) => found.push(
                new(format!("part built, and no command is at work: {what}")).fix(
                    Fix::Stop(tree.clone()),
                    format!("stops it (subhost-start {name} would repair it)"),
                ),
            ),
            Ok(_) => {}
            Err(error) => {
                let new = new(format!("its state is not known: {error}"));
                found.push(new.by_hand(format!("subhost-stop {name}")));
            }
        }
    }
    found
}

/// Finds what is missing of running subhosts, or was replaced. Nothing of it is repaired here: what is left is in use.
pub(super) fn changed_while_running(snapshot: &mut Snapshot) -> Vec<Debris> {
    let mut found = Vec::new();
    let running: Vec<(Name, PathBuf)> = snapshot
        .owners
        .iter()
        .filter(|(_, owner)| owner.is_known() && owner.running)
        .filter_map(|(name, owner)| Some((name.clone(), owner.tree()?.to_owned())))
        .collect();
    snapshot.network.compare_bridges();
    for (name, tree) in running {
        let subhost = Subhost::new(&tree, &name, &[]);
        let Ok(Some(running)) = subhost.running() else {
            continue;
        };
        let mounts = Mounts::Read(&snapshot.table);
        for what in subhost
            .missing(&running, &mounts, &mut snapshot.network)
            .unwrap_or_default()
        {
            let why = "it was changed by other means while the subhost runs";
            let debris = Debris::new(Kind::Changed, Some(&name), what, why);
            found.push(debris.by_hand(format!(
                "subhost-start {name} mends the network, or says why not"
            )));
        }
    }
    found
}

/// Finds objects that equal what the settings would make, without a frozen plan. They count as ours, as after
/// `subhost-mount -n web | sh`. A complete set of them is a note, since it works like a hibernating subhost.
/// `residents` are the processes in each subhost's root: a root with such processes is not repaired.
pub(super) fn unrecorded(
    snapshot: &mut Snapshot,
    residents: &BTreeMap<Name, Vec<Held>>,
    reported: &mut Reported,
) -> Vec<Debris> {
    let points: BTreeSet<PathBuf> = snapshot.table.all().iter().map(|m| m.at.clone()).collect();
    let mut found = Vec::new();
    let names: Vec<Name> = snapshot.configs.keys().cloned().collect();
    for name in names {
        for part in Part::FROM_CONFIG {
            let Some((ours, whole)) = find_unrecorded(snapshot, &points, &name, part) else {
                continue;
            };
            for step in &ours {
                reported
                    .places
                    .extend(step.mount_point().map(Path::to_owned));
                reported
                    .namespaces
                    .extend(step.namespace().map(str::to_owned));
                reported.links.extend(step.link().map(str::to_owned));
            }
            if snapshot.owner(&name).is_up() {
                continue; // The other part has a frozen plan, and a stop takes down both.
            }
            let titles: Vec<String> = ours.iter().map(Step::title).collect();
            let why = match whole {
                true => "just what its settings make, without a record of the tools",
                false => "a part of what its settings make, and no record of it",
            };
            let held = residents.get(&name).cloned().unwrap_or_default();
            let is_free = held.is_empty();
            let debris = Debris::new(Kind::Unrecorded, Some(&name), titles.join(", "), why);
            let debris = match is_free {
                true => debris.fix(
                    Fix::Stop(snapshot.tree.clone()),
                    format!("stops it, as subhost-stop {name} does"),
                ),
                false => debris
                    .held(held)
                    .by_hand(format!("end what runs in it, then subhost-stop {name}")),
            };
            found.push(if whole && is_free {
                debris.note()
            } else {
                debris
            });
        }
    }
    found
}

/// Returns the steps of one part whose objects are present without a frozen plan, and whether all objects of
/// the part are present; none if no object is.
fn find_unrecorded(
    snapshot: &mut Snapshot,
    points: &BTreeSet<PathBuf>,
    name: &Name,
    part: Part,
) -> Option<(Vec<Step>, bool)> {
    let owner = snapshot.owner(name);
    if !owner.is_known()
        || owner.has(part)
        || owner.tree().is_some_and(|tree| tree != snapshot.tree)
    {
        return None;
    }
    let subhost = Subhost::new(&snapshot.tree, name, &[]);
    let plan = subhost.plan(part).ok()?;
    // This cheap test skips the subhosts that are stopped, which most are.
    let may_be_present = |step: &Step| match step.namespace() {
        Some(name) => named::path(name).exists(),
        None => step.mount_point().is_some_and(|at| points.contains(at)),
    };
    if !plan.steps.iter().any(may_be_present) {
        return None;
    }
    let steps = subhost.presences(
        &plan,
        Recorded::No,
        &Mounts::Read(&snapshot.table),
        &mut snapshot.network,
    );
    let counts = |step: &Step| {
        let is_named = step.namespace().is_some() || step.link().is_some();
        is_named || step.mount_point().is_some()
    };
    let (mut ours, mut whole) = (Vec::new(), true);
    for (planned, presence) in steps.ok()? {
        match presence {
            _ if !counts(planned.step) => {}
            Presence::Ours => ours.push(planned.step.clone()),
            _ => whole = false,
        }
    }
    (!ours.is_empty()).then_some((ours, whole))
}

/// Finds PID 1 processes of ours that no state records. The subhost of such a process cannot be stopped by
/// its name.
pub(super) fn processes(snapshot: &Snapshot) -> Vec<Debris> {
    let recorded: Vec<i32> = snapshot
        .owners
        .values()
        .filter_map(|owner| Some(owner.init.as_ref()?.identity.pid))
        .collect();
    let find = |process: &Process| {
        if recorded.contains(&process.pid) || !is_init(process) {
            return None;
        }
        let name = snapshot.is_ours(snapshot.table_of(process.mnt)?)?;
        // A command may just be booting the process, or a damaged record may name it.
        let may_be_of = |owner: &Owner| !owner.is_known();
        let is_free = match &name {
            Some(name) => !may_be_of(snapshot.owner(name)),
            None => !snapshot.owners.values().any(may_be_of),
        };
        let (identity, _) = is_free
            .then(|| Identity::open(process.pid).ok())
            .flatten()?;
        let why = "PID 1 of a subhost without a record: no command can join or stop it";
        let object = format!("pid {} ({})", process.pid, process.command);
        Some(
            Debris::new(Kind::Process, name.as_ref(), object, why)
                .held(snapshot.held_by(|other| other.pid == process.pid))
                .fix(
                    Fix::Kill(identity),
                    "kills it, and with it all that runs inside",
                ),
        )
    };
    snapshot.processes.iter().filter_map(find).collect()
}

/// Tells whether the process is a PID 1 of ours: it runs subhost-init, and is number 1 of a pid namespace.
fn is_init(process: &Process) -> bool {
    const INIT: &str = "subhost-init";
    let dir = PathBuf::from(format!("/proc/{}", process.pid));
    let is_ours = process.command == INIT
        || std::fs::read_link(dir.join("exe")).is_ok_and(|exe| {
            let file = exe
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            file.is_some_and(|file| file.trim_end_matches(" (deleted)") == INIT)
        });
    is_ours && is_first(&std::fs::read_to_string(dir.join("status")).unwrap_or_default())
}

/// Tells from the text of /proc/PID/status whether a process is number 1 of a pid namespace below ours, and
/// no zombie.
fn is_first(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let numbers: Vec<&str> = field("NSpid:")
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let is_dead = field("State:").is_none_or(|state| state.trim_start().starts_with(['Z', 'X']));
    numbers.len() > 1 && numbers.last() == Some(&"1") && !is_dead
}

/// Tells whether the process with this pid is a PID 1 of ours. It is the last check before a kill.
pub(super) fn is_still_init(pid: i32) -> bool {
    is_init(&Process {
        pid,
        command: crate::kernel::holders::command(pid),
        mnt: 0,
        net: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_1_of_a_namespace_is_recognised() {
        assert!(is_first("State:\tS (sleeping)\nNSpid:\t77\t1\n"));
        assert!(is_first("State:\tS (sleeping)\nNSpid:\t77\t5\t1\n"));
        assert!(
            !is_first("State:\tS (sleeping)\nNSpid:\t1\n"),
            "the host's own"
        );
        assert!(!is_first("State:\tS (sleeping)\nNSpid:\t77\t2\n"));
        assert!(!is_first("State:\tZ (zombie)\nNSpid:\t77\t1\n"));
        assert!(!is_first(""));
    }
}
