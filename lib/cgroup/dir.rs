//! One cgroup: making it, limiting, emptying and removing it.

use super::limits::{Wanted, Write};
use super::{Dir, INIT, JOINED, Layout, OURS};
use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::dirs::make_missing;
use crate::kernel::{holders, proc};
use crate::sys;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The cgroup that a tool moves to if it prevents its cgroup from enabling controllers for others.
const ASIDE: &str = "subhost-tools";

/// Reads a file of a cgroup; empty if it does not exist or cannot be read.
pub(super) fn read(file: &Path) -> String {
    let text = proc::read_text(file).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes to an existing file of a cgroup.
pub(super) fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let open = File::options().write(true).open(file);
    open.and_then(|mut open| open.write_all(text.as_bytes()))
}

impl Dir {
    fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.floor)
    }

    /// Makes the cgroup.
    ///
    /// # Errors
    /// `Busy` if it has processes already; `Failed` if it cannot hold processes; the failed call.
    pub(super) fn make(&self, layout: Layout) -> Result<()> {
        let doing = || format!("make the cgroup {}", shown(&self.path));
        // Another stop may remove the parent meanwhile. A killed start may have left the cgroup with its
        // limits, which must go.
        for _ in 0..20 {
            match std::fs::create_dir(&self.path) {
                Ok(()) => {
                    return self.finish(layout).inspect_err(|_| {
                        let _ = remove_empty(&self.path);
                    });
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.parent_is_ours => {
                    make_missing(self.parent(), 0o777)
                        .doing(|| format!("make the cgroup {}", shown(self.parent())))?;
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    if remove_tree(&self.path).is_err() {
                        let what = format!(
                            "the cgroup {} exists and has processes in it",
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

    /// Prepares the new cgroup for processes.
    fn finish(&self, layout: Layout) -> Result<()> {
        if read(&self.path.join("cgroup.type")).trim() == "domain invalid" {
            let what = format!(
                "the cgroup {} takes no process: processes are in its parent, which enables controllers for its children",
                shown(&self.path)
            );
            return Err(Error::new(Exit::Failed, what).hint("CGROUP=/PATH names another"));
        }
        self.inherit_cpuset()?;
        if layout == Layout::Divided {
            for part in [INIT, JOINED] {
                let part = self.path.join(part);
                std::fs::create_dir(&part).doing(|| format!("make the cgroup {}", shown(&part)))?;
            }
        }
        Ok(())
    }

    /// Copies CPUs and memory nodes of the parent: a new cpuset of v1 has none and cannot hold processes.
    fn inherit_cpuset(&self) -> Result<()> {
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

    /// Sets one limit.
    ///
    /// # Errors
    /// The controller cannot be enabled, or the kernel refuses the limit.
    pub(super) fn limit(&self, wanted: &Wanted, layout: Layout) -> Result<()> {
        if self.is_v2() {
            self.enable(self.parent(), wanted)?;
            if layout == Layout::Divided {
                // The init of the tree can then use the controller for its own cgroups, but not change the
                // limit.
                let _ = enable_controller(&self.path, wanted.controller);
            }
        }
        let writes = if self.is_v2() { &wanted.v2 } else { &wanted.v1 };
        let write = |one| self.write(wanted.key, one);
        match writes.iter().try_for_each(write) {
            // Neither of the two memory limits of v1 may exceed the other at any time: try both orders.
            Err(error) if error.errno == Some(Errno::EINVAL) && !self.is_v2() => {
                writes.iter().rev().try_for_each(write).map_err(|_| error)
            }
            other => other,
        }
    }

    /// Tells whether the v2 hierarchy has this controller.
    pub(super) fn has_controller(&self, controller: &str) -> bool {
        read(&self.floor.join("cgroup.controllers"))
            .split_ascii_whitespace()
            .any(|one| one == controller)
    }

    /// Writes a value to the first of its files that exists.
    fn write(&self, key: &str, one: &Write) -> Result<()> {
        let mut last = None;
        for (file, text) in &one.ways {
            // An empty list of CPUs means those of the parent. v1 does not know it.
            let text = match (text.as_str(), self.is_v2()) {
                ("", true) => "\n".into(),
                ("", false) => read(&self.parent().join(file)).trim().to_owned(),
                (text, _) => text.to_owned(),
            };
            let file = self.path.join(file);
            let written = match write(&file, &text) {
                // Older kernels refuse an empty list for a cgroup with processes (ENOSPC): write all CPUs.
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

    /// Enables the controller of a limit for the children of `dir`, from the floor downwards.
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
        // A cgroup with processes enables a threaded controller without an error, and then its children
        // cannot hold processes (cgroups(7), threaded mode). The root has no file cgroup.type.
        let in_use =
            || dir.join("cgroup.type").exists() && !read(&dir.join("cgroup.procs")).is_empty();
        let try_to_enable = || match in_use() {
            true => Err(Errno::EBUSY.into()),
            false => enable_controller(dir, wanted.controller),
        };
        let mut enabled = try_to_enable();
        let is_busy = |enabled: &std::io::Result<()>| matches!(enabled, Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32));
        if is_busy(&enabled) && dir == self.floor && self.parent() == dir && step_aside(dir) {
            enabled = try_to_enable();
        }
        match enabled {
            Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32) => {
                let what = format!(
                    "{}: the cgroup {} cannot enable the controller {} for its children: it has processes itself",
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

    /// Kills the processes in the cgroup and removes it.
    ///
    /// # Errors
    /// The cgroup stays busy; the failed call.
    pub(super) fn remove(&self) -> Result<()> {
        // The kernel needs a moment to release the last process. Waits in milliseconds.
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

    /// Removes the parent if it was made for subhosts and this was the last one in it.
    pub(super) fn leave_parent(&self) -> Result<()> {
        if !self.parent_is_ours {
            if self.is_v2() && self.parent() == self.floor {
                // This fails if there is none, or if another tool that boots a subhost is in it.
                let was_aside = std::fs::remove_dir(self.floor.join(ASIDE)).is_ok();
                if was_aside && !has_directories(&self.floor) {
                    // Disable the controllers again. Else children could not hold processes once the floor
                    // has some.
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
                // Another tool has removed it.
                Ok(()) | Err(Errno::ENOENT) => return Ok(()),
                // The file system is read-only, and the parent was never made.
                Err(Errno::EROFS) if !self.parent().exists() => return Ok(()),
                // It still has other cgroups, or had one at the time of the call.
                Err(Errno::EBUSY) if has_directories(self.parent()) => return Ok(()),
                Err(Errno::EBUSY) => {}
                other => {
                    return other.doing(|| format!("remove the cgroup {}", shown(self.parent())));
                }
            }
        }
        Ok(())
    }

    /// Kills all processes in the cgroup.
    fn kill(&self) {
        if self.is_v2() && write(&self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for pid in members(&self.path) {
            // Another process may have got the pid before the pidfd was opened.
            if let Ok(pidfd) = proc::open_pidfd(pid)
                && members(&self.path).contains(&pid)
            {
                let _ = sys::pidfd_kill(&pidfd, nix::libc::SIGKILL);
            }
        }
    }
}

/// Moves this tool, if it is alone in a cgroup that is delegated to it, to a cgroup below, so that `dir`
/// can enable controllers. Daemons with `Delegate=yes` of systemd do the same.
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

fn enable_controller(dir: &Path, controller: &str) -> std::io::Result<()> {
    write(
        &dir.join("cgroup.subtree_control"),
        &format!("+{controller}"),
    )
}

/// Tells whether a cgroup has children, by the link count of its directory: there may be a thousand.
fn has_directories(dir: &Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|meta| meta.nlink() > 2)
}

/// Returns the processes in a cgroup and below it. A process of another pid namespace is 0.
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

/// Describes the processes in a cgroup.
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

/// Removes a cgroup without processes and those below it, and its parent if it was made for subhosts and is
/// empty now.
///
/// # Errors
/// A cgroup is busy; the failed call.
pub fn remove_empty(dir: &Path) -> Result<()> {
    let mut waits = [1, 5, 20, 50, 100].iter();
    loop {
        match (remove_tree(dir), waits.next()) {
            // The last process is still exiting.
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
        // Processes or children: the errno is the same for both.
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
