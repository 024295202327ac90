//! One cgroup: made, given its limits, emptied and removed.

use super::limits::{Wanted, Write};
use super::{Dir, INIT, JOINED, OURS};
use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::{holders, proc};
use crate::sys;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Where a tool goes that stands in the way of controllers.
const ASIDE: &str = "subhost-tools";

pub(super) fn read(file: &Path) -> String {
    let text = proc::read_text(file).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes to a file that is there; cgroup file systems make none.
pub(super) fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let open = File::options().write(true).open(file);
    open.and_then(|mut open| open.write_all(text.as_bytes()))
}

impl Dir {
    fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.floor)
    }

    pub(super) fn make(&self, divided: bool) -> Result<()> {
        let doing = || format!("make the cgroup {}", shown(&self.path));
        // The last one's stop may take the parent from under us, and a start that was killed may have
        // left ours, with what was written into it.
        for _ in 0..20 {
            match std::fs::create_dir(&self.path) {
                Ok(()) => {
                    return self.finish(divided).inspect_err(|_| {
                        let _ = remove_empty(&self.path);
                    });
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.parent_is_ours => {
                    match std::fs::create_dir(self.parent()) {
                        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                            return Err(e)
                                .doing(|| format!("make the cgroup {}", shown(self.parent())));
                        }
                        _ => {}
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    if remove_tree(&self.path).is_err() {
                        let what = format!(
                            "the cgroup {} is there and has processes in it",
                            shown(&self.path)
                        );
                        return Err(Error::new(Exit::Busy, what).hint(occupants(&self.path)));
                    }
                }
                Err(e) => return Err(e).doing(doing),
            }
        }
        Err(Error::sys(doing(), Errno::EBUSY))
    }

    fn finish(&self, divided: bool) -> Result<()> {
        if read(&self.path.join("cgroup.type")).trim() == "domain invalid" {
            let what = format!(
                "the cgroup {} takes no process, as processes are in the one above, which shares out controllers",
                shown(&self.path)
            );
            return Err(Error::new(Exit::Failed, what).hint("CGROUP=/PATH names another"));
        }
        self.prepare()?;
        for part in [INIT, JOINED].into_iter().filter(|_| divided) {
            let part = self.path.join(part);
            std::fs::create_dir(&part).doing(|| format!("make the cgroup {}", shown(&part)))?;
        }
        Ok(())
    }

    /// A cpuset of v1 begins with no CPU and no memory, and takes no process like that.
    fn prepare(&self) -> Result<()> {
        if !self.v1.iter().any(|one| one == "cpuset") {
            return Ok(());
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = self.parent().parent().unwrap_or(&self.floor);
            if self.parent_is_ours && read(&self.parent().join(file)).trim().is_empty() {
                let all = read(&above.join(file));
                let target = self.parent().join(file);
                write(&target, all.trim()).doing(|| format!("write {}", shown(&target)))?;
            }
            let target = self.path.join(file);
            let all = read(&self.parent().join(file));
            write(&target, all.trim()).doing(|| format!("write {}", shown(&target)))?;
        }
        Ok(())
    }

    /// Gives it what one key wants.
    pub(super) fn limit(&self, wanted: &Wanted, divided: bool) -> Result<()> {
        if self.is_v2() {
            self.enable(self.parent(), wanted)?;
            if divided {
                // So that an init can share it out; it is not its own to change.
                let _ = give(&self.path, wanted.controller);
            }
        }
        let writes = if self.is_v2() { &wanted.v2 } else { &wanted.v1 };
        let write = |one| self.write(wanted.key, one);
        match writes.iter().try_for_each(write) {
            // Of v1's two bounds of memory one must not be over the other at any moment.
            Err(error) if error.errno == Some(Errno::EINVAL) && !self.is_v2() => {
                writes.iter().rev().try_for_each(write).map_err(|_| error)
            }
            other => other,
        }
    }

    /// Has its v2 hierarchy this controller to give?
    pub(super) fn can(&self, controller: &str) -> bool {
        read(&self.floor.join("cgroup.controllers"))
            .split_ascii_whitespace()
            .any(|one| one == controller)
    }

    fn write(&self, key: &str, one: &Write) -> Result<()> {
        let mut last = None;
        for (file, text) in &one.ways {
            // No CPUs: those of what is above. v1 has no word for that.
            let text = match (text.as_str(), self.is_v2()) {
                ("", true) => "\n".into(),
                ("", false) => read(&self.parent().join(file)).trim().to_owned(),
                (text, _) => text.to_owned(),
            };
            let file = self.path.join(file);
            let written = match write(&file, &text) {
                // Older kernels give no cgroup with processes none: all that there are.
                Err(e) if e.raw_os_error() == Some(Errno::ENOSPC as i32) && text == "\n" => {
                    write(&file, &read(&self.parent().join("cpuset.cpus.effective")))
                }
                other => other,
            };
            match written {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => last = Some(file),
                Err(e) => {
                    return Err(e)
                        .doing(|| format!("give {} {} for {key}", shown(&file), shown(&text)));
                }
            }
        }
        match last {
            Some(_) if one.optional => Ok(()),
            Some(file) => Err(Error::new(
                Exit::Failed,
                format!("{key}: the kernel has no {}", shown(file)),
            )),
            None => Ok(()),
        }
    }

    /// Has the controller given down to what is in `dir`.
    fn enable(&self, dir: &Path, wanted: &Wanted) -> Result<()> {
        let has = |file: &str| {
            read(&dir.join(file))
                .split_ascii_whitespace()
                .any(|one| one == wanted.controller)
        };
        if has("cgroup.subtree_control") {
            return Ok(());
        }
        if dir != self.floor
            && !has("cgroup.controllers")
            && let Some(above) = dir.parent()
        {
            self.enable(above, wanted)?;
        }
        // Those that can divide threads are given to whoever asks, and then no cgroup below takes a
        // process (cgroups(7), threaded mode). The hierarchy's root is without cgroup.type.
        let in_use =
            || dir.join("cgroup.type").exists() && !read(&dir.join("cgroup.procs")).is_empty();
        let share = || match in_use() {
            true => Err(Errno::EBUSY.into()),
            false => give(dir, wanted.controller),
        };
        let mut given = share();
        let is_busy = |given: &std::io::Result<()>| matches!(given, Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32));
        if is_busy(&given) && dir == self.floor && self.parent() == dir && step_aside(dir) {
            given = share();
        }
        match given {
            Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32) => {
                let what = format!(
                    "{}: the cgroup {} cannot share out its controller {}, as processes are in it itself",
                    wanted.key,
                    shown(dir),
                    wanted.controller
                );
                Err(Error::new(Exit::Failed, what)
                    .hint("CGROUP=/PATH names another; a systemd unit can have DelegateSubgroup="))
            }
            other => other.doing(|| {
                format!(
                    "have the cgroup {} share out its controller {} for {}",
                    shown(dir),
                    wanted.controller,
                    wanted.key
                )
            }),
        }
    }

    /// Ends what is in it, and removes it.
    pub(super) fn remove(&self) -> Result<()> {
        // The kernel takes a moment to let the last process go.
        const WAITS: [u64; 12] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 400, 800, 1600];
        let mut waits = WAITS.iter();
        loop {
            match remove_tree(&self.path) {
                Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32) => {
                    let Some(wait) = waits.next() else {
                        return Err(e)
                            .doing(|| format!("remove the cgroup {}", shown(&self.path)))
                            .map_err(|error| error.hint(occupants(&self.path)));
                    };
                    self.kill();
                    std::thread::sleep(Duration::from_millis(*wait));
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
                Ok(()) => break,
                Err(e) => {
                    return Err(e).doing(|| format!("remove the cgroup {}", shown(&self.path)));
                }
            }
        }
        self.leave_parent()
    }

    /// What holds ours goes with the last one in it.
    pub(super) fn leave_parent(&self) -> Result<()> {
        if !self.parent_is_ours {
            if self.is_v2() && self.parent() == self.floor {
                // Not there, or a tool is in it that boots another.
                let was_aside = std::fs::remove_dir(self.floor.join(ASIDE)).is_ok();
                if was_aside && !has_directories(&self.floor) {
                    // We had it share them out; with processes in it again, what is below takes none.
                    let file = self.floor.join("cgroup.subtree_control");
                    for controller in read(&file).split_ascii_whitespace() {
                        let _ = write(&file, &format!("-{controller}"));
                    }
                }
            }
            return Ok(());
        }
        for _ in 0..3 {
            match std::fs::remove_dir(self.parent()).map_err(IntoErrno::into_errno) {
                // Another one has been quicker.
                Ok(()) | Err(Errno::ENOENT) => return Ok(()),
                // Where nothing can be written, it has never been made.
                Err(Errno::EROFS) if !self.parent().exists() => return Ok(()),
                // It still serves others, or did when it was asked.
                Err(Errno::EBUSY) if has_directories(self.parent()) => return Ok(()),
                Err(Errno::EBUSY) => {}
                other => {
                    return other.doing(|| format!("remove the cgroup {}", shown(self.parent())));
                }
            }
        }
        Ok(())
    }

    /// Ends all that is in it.
    fn kill(&self) {
        if self.is_v2() && write(&self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for pid in members(&self.path) {
            // By the time that it is held it may be another.
            if let Ok(pidfd) = proc::open_pidfd(pid)
                && members(&self.path).contains(&pid)
            {
                let _ = sys::pidfd_kill(&pidfd, nix::libc::SIGKILL);
            }
        }
    }
}

/// The tool that boots, alone in a cgroup that is given to it, leaves that for one below it: then it
/// can share out controllers. So does every daemon with systemd's `Delegate=yes`.
fn step_aside(dir: &Path) -> bool {
    let procs = read(&dir.join("cgroup.procs"));
    let us = std::process::id().to_string();
    if procs.lines().any(|pid| pid != us) {
        return false;
    }
    let aside = dir.join(ASIDE);
    let made = std::fs::create_dir(&aside);
    (made.is_ok() || aside.is_dir()) && write(&aside.join("cgroup.procs"), "0").is_ok()
}

fn give(dir: &Path, controller: &str) -> std::io::Result<()> {
    write(
        &dir.join("cgroup.subtree_control"),
        &format!("+{controller}"),
    )
}

/// Are there cgroups in it? By the links of its directory, which kernfs counts: there may be a thousand.
fn has_directories(dir: &Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|meta| meta.nlink() > 2)
}

/// The processes in a cgroup and those below. A process of another pid namespace shows as 0.
pub fn members(dir: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = read(&dir.join("cgroup.procs"))
        .lines()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        pids.extend(members(&entry.path()));
    }
    pids
}

/// Who is in it, in words.
fn occupants(dir: &Path) -> String {
    let all: Vec<String> = members(dir)
        .iter()
        .map(|pid| format!("pid {pid} ({})", holders::command(*pid)))
        .collect();
    match all.is_empty() {
        true => "it has no process that we see".into(),
        false => format!("in it: {}", all.join(", ")),
    }
}

/// Removes a cgroup with those in it, and the one that holds ours if it was the last; no process is
/// in them.
///
/// # Errors
/// One is busy.
pub fn remove_empty(dir: &Path) -> Result<()> {
    let mut waits = [1, 5, 20, 50, 100].iter();
    loop {
        match (remove_tree(dir), waits.next()) {
            // The last one is still leaving.
            (Err(e), Some(wait)) if e.raw_os_error() == Some(Errno::EBUSY as i32) => {
                std::thread::sleep(Duration::from_millis(*wait));
            }
            (Err(e), _) if e.kind() == std::io::ErrorKind::NotFound => break,
            (other, _) => {
                other.doing(|| format!("remove the cgroup {}", shown(dir)))?;
                break;
            }
        }
    }
    if let Some(parent) = dir
        .parent()
        .filter(|dir| dir.file_name() == Some(OURS.as_ref()))
    {
        let _ = std::fs::remove_dir(parent);
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir(dir) {
        // It has others in it: a cgroup that has says EBUSY as well.
        Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32) => {}
        other => return other,
    }
    let mut any = false;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            any = true;
            remove_tree(&entry.path())?;
        }
    }
    match any {
        true => std::fs::remove_dir(dir),
        false => Err(std::io::Error::from_raw_os_error(Errno::EBUSY as i32)),
    }
}
