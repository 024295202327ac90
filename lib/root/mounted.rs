//! The actions that all mount steps share. A mount is found by its mark or by what it shows, and unmounted
//! with all mounts below it. A foreign mount is never unmounted.

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::base::message;
use crate::kernel::holders;
use crate::kernel::mountinfo::{self, Mark, Mount, Mounts, Table};
use crate::plan::steps::Access;
use crate::plan::{Act, Presence, PresenceQuery, Step, UndoOptions};
use crate::sys;
use nix::mount::{MntFlags, umount2};
use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};
use std::path::Path;
use std::time::Duration;
use sys_mount::MountFlags;

/// A kind of step that makes a mount.
pub(super) trait Mounted {
    /// Returns the mount point.
    fn at(&self) -> &Path;

    /// Tells whether `mount` equals the mount that the step makes.
    fn makes(&self, mount: &Mount, table: &Table) -> bool;

    /// Checks the preconditions, see [`Act::check`].
    ///
    /// # Errors
    /// The missing or busy object, with the remedy.
    fn check(&self, _all: &[Step]) -> Result<()> {
        Ok(())
    }

    /// Mounts, see [`Act::act`].
    ///
    /// # Errors
    /// The failed call with its object.
    fn mount(&self) -> Result<()>;

    /// Prepares the mount on `at` for the unmount.
    ///
    /// # Errors
    /// The failed call with its object.
    fn before_unmount(&self, _at: &Path) -> Result<()> {
        Ok(())
    }
}

/// What is mounted at the mount point of a step.
enum Found<'a> {
    Nothing,
    Mount(&'a Mount),
    Foreign(String),
}

fn find<'t>(step: &impl Mounted, mark: Option<&Mark>, table: &'t Table) -> Found<'t> {
    // The mark comes first: the directory of the mount point may have been renamed.
    if let Some(mount) = mark.and_then(|mark| table.find_marked(mark)) {
        return Found::Mount(mount);
    }
    match table.at(step.at()) {
        None => Found::Nothing,
        Some(mount) if step.makes(mount, table) => Found::Mount(mount),
        Some(mount) => Found::Foreign(format!(
            "{} is already a mount point: {}",
            shown(step.at()),
            mount.describe()
        )),
    }
}

impl<T: Mounted> Act<&Mounts<'_>> for T {
    fn check(&self, _: &Mounts<'_>, all: &[Step]) -> Result<()> {
        Mounted::check(self, all)
    }

    fn present(&self, mounts: &Mounts<'_>, asked: PresenceQuery<'_>) -> Result<Presence> {
        match asked.mark {
            Some(mark) if mountinfo::is_marked(self.at(), mark) => return Ok(Presence::Ours),
            // The mount may be elsewhere, because its directory was renamed: search the table.
            Some(_) => {}
            None if mountinfo::is_mount_point(self.at()) == Some(false) => {
                return Ok(Presence::Absent);
            }
            None => {}
        }
        Ok(match find(self, asked.mark, mounts.table()?) {
            Found::Nothing => Presence::Absent,
            Found::Mount(_) => Presence::Ours,
            Found::Foreign(what) => Presence::Foreign(what),
        })
    }

    fn act(&self, _: &Mounts<'_>) -> Result<()> {
        self.mount()
    }

    fn undo(&self, _: &Mounts<'_>, mark: Option<&Mark>, how: UndoOptions) -> Result<()> {
        // The table of mounts is read only if this unmount fails, as with mounts below it: the read is slow
        // on hosts with many mounts.
        if let Some(mark) = mark
            && mountinfo::is_marked(self.at(), mark)
            && umount2(self.at(), MntFlags::UMOUNT_NOFOLLOW).is_ok()
        {
            return Ok(());
        }
        let table = Table::read()?;
        match find(self, mark, &table) {
            Found::Nothing => Ok(()),
            Found::Foreign(what) => Err(Error::new(
                Exit::Failed,
                format!("left alone what is not ours: {what}"),
            )),
            Found::Mount(mount) => {
                self.before_unmount(&mount.at)?;
                for below in table.below(mount.id) {
                    unmount(&below.at, how)?;
                }
                unmount(&mount.at, how)
            }
        }
    }

    fn mark(&self, _: &Mounts<'_>) -> Option<Mark> {
        mountinfo::read_mark(self.at())
    }

    fn mount_in<'t>(
        &self,
        _: &Mounts<'_>,
        mark: Option<&Mark>,
        table: &'t Table,
    ) -> Option<&'t Mount> {
        match find(self, mark, table) {
            Found::Mount(mount) => Some(mount),
            _ => None,
        }
    }
}

/// Unmounts `at`. It retries for 63 ms while the mount is busy, and then detaches the mount if `how` says so.
///
/// # Errors
/// The failed call; for a busy mount with its holders.
pub(super) fn unmount(at: &Path, how: UndoOptions) -> Result<()> {
    let mut waits = [1u64, 2, 4, 8, 16, 32].iter();
    loop {
        // sys-mount cannot do this: its NOFOLLOW is the flag of open(2), which umount2(2) refuses.
        let Err(errno) = umount2(at, MntFlags::UMOUNT_NOFOLLOW) else {
            return Ok(());
        };
        match errno {
            // The propagation of an earlier unmount has removed it already.
            Errno::EINVAL | Errno::ENOENT if Table::read()?.at(at).is_none() => return Ok(()),
            Errno::EBUSY => {
                // The kernel may still be destroying the last process inside.
                if let Some(wait) = waits.next() {
                    std::thread::sleep(Duration::from_millis(*wait));
                    continue;
                }
                let held = holders::find_on_mount(at);
                if !how.detach {
                    let error = Error::sys(format!("unmount {}", shown(at)), errno);
                    return Err(error.hint(holders::describe(&held)));
                }
                umount2(at, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
                    .doing(|| format!("detach {}", shown(at)))?;
                let what = format!("detached {}, {}", shown(at), holders::describe(&held));
                message::warn(None, &what);
                return Ok(());
            }
            _ => return Err(Error::sys(format!("unmount {}", shown(at)), errno)),
        }
    }
}

/// Attaches a detached mount at `at`. It does not follow a symbolic link at `at`.
///
/// # Errors
/// The errno of move_mount(2).
pub(super) fn attach(tree: impl std::os::fd::AsFd, at: &Path) -> std::result::Result<(), Errno> {
    move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(IntoErrno::into_errno)
}

/// Makes the error of a failed mount. It adds a hint where the usual text of the errno misleads.
pub(super) fn mount_error(what: &str, at: &Path, errno: Errno) -> Error {
    let error = Error::sys(format!("mount {what} on {}", shown(at)), errno);
    match errno {
        Errno::ENOSPC => error.hint("perhaps too many mounts: see /proc/sys/fs/mount-max"),
        Errno::ENODEV => error.hint("the kernel does not know this file system"),
        Errno::EPERM => error.hint("needs CAP_SYS_ADMIN in this mount namespace"),
        _ => error,
    }
}

/// Returns the flags of mount(2) for an access.
pub(super) fn mount_flags(access: Access) -> MountFlags {
    match access {
        Access::ReadOnly => MountFlags::RDONLY,
        Access::ReadWrite => MountFlags::empty(),
    }
}

/// Returns the flags of fsmount(2) for an access.
pub(super) fn fsmount_flags(access: Access) -> MountAttrFlags {
    match access {
        Access::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
        Access::ReadWrite => MountAttrFlags::empty(),
    }
}

/// Returns the attributes of mount_setattr(2) for an access.
pub(super) fn setattr_attributes(access: Access) -> u64 {
    match access {
        Access::ReadOnly => sys::RDONLY,
        Access::ReadWrite => 0,
    }
}

/// Checks that `path` is a directory.
///
/// # Errors
/// The path is missing, with `hint`, or it is no directory.
pub(super) fn must_be_directory(path: &Path, hint: &str) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Error::sys(format!("use {}", shown(path)), Errno::ENOTDIR)),
        Err(e) => Err(Error::sys(format!("use {}", shown(path)), e.into_errno()).hint(hint)),
    }
}
