//! What outlives the mounts that a stop takes away: copies of them in other mount namespaces, and the
//! loop devices under them. A layer or image is in use for as long.

use super::stop::end_processes;
use crate::error::{Error, Exit, Result, shown};
use crate::holders::{self, Holder};
use crate::plan::{Planned, Step};
use crate::root::{self, mountinfo::Table};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The kernel lets go of a file system a moment after its last mount, of its loop device a moment
/// after that.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A file system of a root.
pub(super) struct Lasting {
    /// `major:minor`, as mount tables have it.
    device: String,
    /// The loop device under it, and its file as that device shows it.
    backing: Option<(PathBuf, PathBuf)>,
}

/// The file systems that are a root's own, before they are unmounted. An rbind's is the host's.
pub(super) fn of<'a>(steps: impl IntoIterator<Item = Planned<'a>>, table: &Table) -> Vec<Lasting> {
    let own = |planned: &Planned| !matches!(planned.step, Step::Rbind { .. });
    let mounts = steps
        .into_iter()
        .filter(own)
        .filter_map(|planned| root::mount_of(planned, table));
    mounts
        .map(|mount| {
            let loop_device = PathBuf::from(&mount.source);
            Lasting {
                device: mount.device.clone(),
                backing: root::backing_file(&loop_device).map(|file| (loop_device, file)),
            }
        })
        .collect()
}

/// Waits until the kernel has done with them. What keeps them is ended, if that is asked for.
///
/// # Errors
/// What is still in use, and by whom.
pub(super) fn wait(all: &[Lasting], end_holders: bool) -> Result<()> {
    let mut held = settle(all);
    if end_holders && !held.is_empty() {
        end_processes(&held);
        held = settle(all);
    }
    if !held.is_empty() {
        let what = "its root is unmounted here and lives on in another mount namespace";
        return Err(Error::new(Exit::Failed, what).hint(holders::told(&held)));
    }
    match all.iter().find_map(Lasting::attached) {
        None => Ok(()),
        Some((device, file)) => {
            let what = format!("{} is still attached to {}", shown(file), shown(device));
            let hint = format!("fuser -v {} tells who has it open", shown(device));
            Err(Error::new(Exit::Failed, what).hint(hint))
        }
    }
}

/// Those who still hold one of them when patience is over.
fn settle(all: &[Lasting]) -> Vec<Holder> {
    let devices: Vec<&str> = all.iter().map(|lasting| lasting.device.as_str()).collect();
    let end = Instant::now() + PATIENCE;
    loop {
        let held = holders::of_devices(&devices);
        let done = held.is_empty() && all.iter().all(|lasting| lasting.attached().is_none());
        if done || Instant::now() > end {
            return held;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Lasting {
    fn attached(&self) -> Option<&(PathBuf, PathBuf)> {
        let now = root::backing_file(&self.backing.as_ref()?.0)?;
        self.backing.as_ref().filter(|(_, file)| *file == now)
    }
}
