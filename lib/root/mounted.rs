//! What all steps that are mounts have in common: found by their marks or by what they show, and taken away
//! with all that is mounted below them, never what is not ours.

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::base::message;
use crate::kernel::holders;
use crate::kernel::mountinfo::{self, Mark, Mount, Mounts, Table};
use crate::plan::{Act, Asked, Presence, Step, Thoroughly};
use nix::mount::{MntFlags, umount2};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, move_mount};
use std::path::Path;
use std::time::Duration;
use sys_mount::MountFlags;

/// A kind of step that is a mount.
pub(super) trait Mounted {
    /// Where it is mounted.
    fn at(&self) -> &Path;

    /// Is `mount` exactly what the step makes?
    fn makes(&self, mount: &Mount, table: &Table) -> bool;

    /// As [`Act::check`].
    fn check(&self, _all: &[Step]) -> Result<()> {
        Ok(())
    }

    /// As [`Act::act`].
    fn mount(&self) -> Result<()>;

    /// What is to be done before it is unmounted.
    fn before_unmount(&self, _at: &Path) -> Result<()> {
        Ok(())
    }
}

/// What is where a step mounts something.
enum Found<'a> {
    Nothing,
    Mount(&'a Mount),
    Foreign(String),
}

fn find<'t>(step: &impl Mounted, mark: Option<&Mark>, table: &'t Table) -> Found<'t> {
    // Its directory may have been moved.
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

    fn present(&self, mounts: &Mounts<'_>, asked: Asked<'_>) -> Result<Presence> {
        match asked.mark {
            Some(mark) if mountinfo::is_marked(self.at(), mark) => return Ok(Presence::Ours),
            // It may have been moved with its directory.
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

    fn undo(&self, _: &Mounts<'_>, mark: Option<&Mark>, how: Thoroughly) -> Result<()> {
        // What is mounted below it is looked for only where there is some.
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
                    unmount(&below.at, how.detach)?;
                }
                unmount(&mount.at, how.detach)
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

/// Unmounts `at`, once what is on its way out of it is gone; what stays busy is detached if `detach`.
pub(super) fn unmount(at: &Path, detach: bool) -> Result<()> {
    let mut waits = [1u64, 2, 4, 8, 16, 32].iter();
    loop {
        // Not by sys-mount: its NOFOLLOW is open(2)'s flag, which umount2(2) refuses.
        let Err(errno) = umount2(at, MntFlags::UMOUNT_NOFOLLOW) else {
            return Ok(());
        };
        match errno {
            // Already gone, as the propagation of an earlier one took it along.
            Errno::EINVAL | Errno::ENOENT if Table::read()?.at(at).is_none() => return Ok(()),
            Errno::EBUSY => {
                // The last process inside may still be on its way out of the kernel.
                if let Some(wait) = waits.next() {
                    std::thread::sleep(Duration::from_millis(*wait));
                    continue;
                }
                let held = holders::find_on_mount(at);
                if !detach {
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

/// Moves a detached mount to a place that must not be a link.
pub(super) fn attach(tree: impl std::os::fd::AsFd, at: &Path) -> std::result::Result<(), Errno> {
    move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(IntoErrno::into_errno)
}

/// A failed mount, where errno misleads with what it means there (`mount(2)` is silent on most).
pub(super) fn mount_error(what: &str, at: &Path, errno: Errno) -> Error {
    let error = Error::sys(format!("mount {what} on {}", shown(at)), errno);
    match errno {
        Errno::ENOSPC => error.hint("perhaps too many mounts: see /proc/sys/fs/mount-max"),
        Errno::ENODEV => error.hint("the kernel does not know this file system"),
        Errno::EPERM => error.hint("needs CAP_SYS_ADMIN in this mount namespace"),
        _ => error,
    }
}

pub(super) fn read_only_flag(read_only: bool) -> MountFlags {
    if read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    }
}

/// `path` must be a directory; `hint` helps where it is not there.
pub(super) fn must_be_directory(path: &Path, hint: &str) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Error::sys(format!("use {}", shown(path)), Errno::ENOTDIR)),
        Err(e) => Err(Error::sys(format!("use {}", shown(path)), e.into_errno()).hint(hint)),
    }
}
