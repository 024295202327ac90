//! The booting tool's side of a boot into a user namespace: it makes the namespace, and sends the process there.

use super::booted::wait_for_report;
use super::spec;
use crate::base::error::{Doing, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::init::spec::Spec;
use crate::kernel::packets::{receive, send};
use crate::kernel::spawn::Child;
use crate::kernel::{terminal, userns};
use std::os::fd::{AsRawFd, OwnedFd};

/// What a process needs to enter a user namespace and make PID 1 there.
pub(super) struct UsernsEntry<'a> {
    /// The socket to that process.
    pub socket: &'a OwnedFd,
    /// What PID 1 makes and then is.
    pub spec: &'a Spec,
    /// The network namespace that it joins. `None`: it stays in ours.
    pub network: Option<&'a OwnedFd>,
    /// Whether that is the subhost's own.
    pub owns_network: bool,
}

impl UsernsEntry<'_> {
    /// Has `child` enter the namespace and make PID 1. Returns PID 1, and the paths whose ids could not be mapped.
    ///
    /// # Errors
    /// Why there is no PID 1. `child` has ended then.
    pub(super) fn make_pid_1(&self, child: Child) -> Result<(Child, Vec<String>)> {
        match self.enter(&child) {
            Ok((pid, unmapped)) => {
                child
                    .wait()
                    .doing(|| "wait for the process that makes PID 1")?;
                Ok((Child::adopt(pid).doing(|| "watch PID 1")?, unmapped))
            }
            Err(error) => {
                child.kill();
                Err(error)
            }
        }
    }

    fn enter(&self, child: &Child) -> Result<(i32, Vec<String>)> {
        // Root inside may change its network only from the user namespace that owns that.
        let owner = match self.network.filter(|_| self.owns_network) {
            Some(network) => userns::foreign_owner(network)?,
            None => None,
        };
        let userns = match owner {
            Some(owner) => owner,
            None => userns::make(self.spec.ids.unwrap_or_default())?,
        };
        let spec = spec::memfd(self.spec)?;
        let mut fds = vec![spec.as_raw_fd(), userns.as_raw_fd()];
        fds.extend(self.network.map(AsRawFd::as_raw_fd));
        send(self.socket, &ToInit::EnterUserns, &fds)?;
        // If the process is killed when it has made PID 1, no report comes, and PID 1 waits for us.
        wait_for_report(self.socket, Some(child.pidfd()))?;
        match receive::<FromInit>(self.socket)? {
            Some((FromInit::Spawned { pid, unmapped }, _)) => Ok((pid, unmapped)),
            Some((report, _)) => Err(report.error().unwrap_or_else(terminal::lost)),
            None => Err(terminal::lost()),
        }
    }
}
