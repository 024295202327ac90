//! Mounts that outlive a stop: copies in other mount namespaces, and the loop devices under them. As long as they exist, a
//! layer or image is in use.

use super::StopHow;
use super::executor::Executor;
use super::stop::end_processes;
use crate::base::error::{Error, Exit, Result, shown};
use crate::kernel::holders::{self, Copies, Holder};
use crate::kernel::loops::backing_file;
use crate::kernel::mountinfo::{Mount, Table};
use crate::plan::{Planned, Step};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long to wait for them. The kernel releases a file system some time after its last mount, and the loop device some
/// time after that.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What may keep the file systems of a root in use. Found before they are unmounted.
#[derive(Default)]
pub(super) struct LingeringMounts {
    copies: Copies,
    /// Loop devices, each with its backing file.
    backing: Vec<(PathBuf, PathBuf)>,
}

/// Finds what may keep the file systems of a root in use. Skips that of an rbind, which belongs to the host.
pub(super) fn find<'a>(
    steps: impl IntoIterator<Item = Planned<'a>>,
    executor: &mut Executor,
    table: &Table,
) -> LingeringMounts {
    let own = |planned: &Planned| !matches!(planned.step, Step::Rbind(_));
    let mounts: Vec<&Mount> = steps
        .into_iter()
        .filter(own)
        .filter_map(|planned| executor.mount_in(planned, table))
        .collect();
    let devices: Vec<&str> = mounts.iter().map(|mount| mount.device.as_str()).collect();
    let sources = mounts.iter().map(|mount| PathBuf::from(&mount.source));
    LingeringMounts {
        copies: holders::find_copies(&devices),
        backing: sources
            .filter_map(|device| backing_file(&device).map(|file| (device, file)))
            .collect(),
    }
}

impl LingeringMounts {
    /// Waits until the kernel has released them. Ends the processes that hold them, if `how` says so.
    ///
    /// # Errors
    /// What is still in use, and by which processes.
    pub(super) fn wait(&self, how: StopHow) -> Result<()> {
        if self.copies.is_empty() && self.backing.is_empty() {
            return Ok(());
        }
        let mut held = self.settle();
        if how.kill_holders && !held.is_empty() {
            end_processes(&held);
            held = self.settle();
        }
        if !held.is_empty() {
            let what = "its root is unmounted here and still mounted in another mount namespace";
            return Err(Error::new(Exit::Failed, what).hint(holders::describe(&held)));
        }
        match self.attached() {
            None => Ok(()),
            Some((device, file)) => {
                let what = format!("{} is still attached to {}", shown(file), shown(device));
                let hint = format!("fuser -v {} lists who has it open", shown(device));
                Err(Error::new(Exit::Failed, what).hint(hint))
            }
        }
    }

    /// Waits until no process holds one of them. Returns those that do when the time is over.
    fn settle(&self) -> Vec<Holder> {
        let end = Instant::now() + PATIENCE;
        loop {
            let held = holders::find_with_copies(&self.copies);
            if (held.is_empty() && self.attached().is_none()) || Instant::now() > end {
                return held;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn attached(&self) -> Option<&(PathBuf, PathBuf)> {
        let still = |(device, file): &&(PathBuf, PathBuf)| {
            backing_file(device).is_some_and(|now| now == *file)
        };
        self.backing.iter().find(still)
    }
}
