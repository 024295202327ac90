//! What takes a mount away again, and never one that is not ours.

use super::mountinfo::{self, Table};
use super::{Found, found, mount_point};
use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::kernel::holders;
use crate::plan::{Planned, Step};
use nix::mount::{MntFlags, umount2};
use std::path::Path;
use std::time::Duration;

/// Takes away what the step made, if it is there and ours. `detach`: what stays busy is detached
/// (`MNT_DETACH`) and reported.
///
/// # Errors
/// What stays busy, with its holders; something foreign in its place.
pub fn undo(planned: Planned, detach: bool) -> Result<()> {
    match planned.step {
        Step::Directory { path, keep: false } => {
            return match std::fs::remove_dir(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(e).doing(|| format!("remove the directory {}", shown(path)))
                }
                _ => Ok(()),
            };
        }
        Step::Image { .. } | Step::Tmpfs { .. } | Step::Overlay { .. } | Step::Rbind { .. } => {}
        _ => return Ok(()),
    }
    // What is mounted below it is looked for only where there is some.
    if let (Some(at), Some(mark)) = (mount_point(planned.step), planned.mark)
        && mountinfo::is_marked(at, mark)
        && umount2(at, MntFlags::UMOUNT_NOFOLLOW).is_ok()
    {
        return Ok(());
    }
    let table = Table::read()?;
    match found(planned, &table) {
        Found::Nothing => Ok(()),
        Found::Foreign(what) => Err(Error::new(
            Exit::Failed,
            format!("left alone what is not ours: {what}"),
        )),
        Found::Mount(mount) => {
            if matches!(planned.step, Step::Rbind { .. }) {
                // Unmounting a submount that still shares with its source would unmount the
                // host's own; a crash may have come before act made it a slave.
                slave(&mount.at)?;
            }
            for below in table.below(mount.id) {
                unmount(&below.at, detach)?;
            }
            unmount(&mount.at, detach)
        }
    }
}

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
                let held = holders::of_mount(at);
                if !detach {
                    let error = Error::sys(format!("unmount {}", shown(at)), errno);
                    return Err(error.hint(holders::told(&held)));
                }
                umount2(at, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
                    .doing(|| format!("detach {}", shown(at)))?;
                let what = format!("detached {}, {}", shown(at), holders::told(&held));
                crate::base::message::warn(None, &what);
                return Ok(());
            }
            _ => return Err(Error::sys(format!("unmount {}", shown(at)), errno)),
        }
    }
}

/// Makes it receive what its source's peers get, and give nothing back.
pub(super) fn slave(at: &Path) -> Result<()> {
    let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SLAVE;
    nix::mount::mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
        .doing(|| format!("make {} a slave mount", shown(at)))
}
