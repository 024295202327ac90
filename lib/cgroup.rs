//! A cgroup of its own for a subhost with an INIT: systemd and its like want to manage one. In the
//! v2 hierarchy, which on a hybrid host is there as well, without controllers.

use crate::config::Name;
use crate::error::{Doing, Result, shown};
use crate::root::mountinfo::Table;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the cgroup is to be: below our own, so that whoever accounts for us accounts for it; none
/// where there is no v2 hierarchy.
///
/// # Errors
/// It cannot be told which is ours.
pub fn place(name: &Name) -> Result<Option<PathBuf>> {
    let table = Table::read()?;
    let ours = std::fs::read_to_string("/proc/self/cgroup").doing(|| "read our cgroup")?;
    let Some(path) = ours.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Ok(None);
    };
    // A mount may show a part of the hierarchy only.
    let dir = table
        .all()
        .iter()
        .rev()
        .filter(|mount| mount.fstype == "cgroup2")
        .find_map(|mount| {
            Some(
                mount
                    .at
                    .join(Path::new(path).strip_prefix(&mount.root).ok()?),
            )
        });
    Ok(dir.map(|dir| dir.join(format!("subhost.{name}"))))
}

/// Makes the cgroup.
///
/// # Errors
/// It cannot be made.
pub fn make(dir: &Path) -> Result<()> {
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.doing(|| format!("make the cgroup {}", shown(dir))),
    }
}

/// Moves the calling process into it.
///
/// # Errors
/// It has been removed.
pub fn join(dir: &Path) -> Result<()> {
    std::fs::write(dir.join("cgroup.procs"), "0")
        .doing(|| format!("join the cgroup {}", shown(dir)))
}

/// Removes the cgroup with those that were made in it; no process is in them any more.
///
/// # Errors
/// One is busy.
pub fn remove(dir: &Path) -> Result<()> {
    let mut waits = [1u64, 5, 20, 50, 100].iter();
    loop {
        match remove_tree(dir) {
            Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => match waits.next() {
                // The last one is still leaving.
                Some(wait) => std::thread::sleep(Duration::from_millis(*wait)),
                None => return Err(e).doing(|| format!("remove the cgroup {}", shown(dir))),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => return other.doing(|| format!("remove the cgroup {}", shown(dir))),
        }
    }
}

/// By rmdir alone: what is in a cgroup's directory is the kernel's.
fn remove_tree(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(dir)
}
