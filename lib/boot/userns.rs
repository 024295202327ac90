//! The tool's half of a boot into a user namespace: what the process needs to go there, and who it is
//! once it has.

use super::booted::wait_for_report;
use super::spec;
use crate::base::error::{Doing, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::init::spec::Spec;
use crate::kernel::packets::{receive, send};
use crate::kernel::spawn::Child;
use crate::kernel::{terminal, userns};
use std::os::fd::{AsRawFd, OwnedFd};

/// What a process takes along into a user namespace.
pub(super) struct UsernsEntry<'a> {
    /// To it.
    pub socket: &'a OwnedFd,
    /// What it is to be.
    pub spec: &'a Spec,
    /// The network namespace that it joins; none: it stays in ours.
    pub network: Option<&'a OwnedFd>,
    /// That is the subhost's own.
    pub owns_network: bool,
}

impl UsernsEntry<'_> {
    /// Sends `child`, which is not PID 1 but makes it, on its way. Gives PID 1, and what could not be given
    /// other ids.
    ///
    /// # Errors
    /// Why it did not get there; nothing of it is left then.
    pub(super) fn make_pid_1(&self, child: Child) -> Result<(Child, Vec<String>)> {
        match self.cross(&child) {
            Ok((pid, unmapped)) => {
                child.wait().doing(|| "wait for who makes PID 1")?;
                Ok((Child::adopt(pid).doing(|| "watch PID 1")?, unmapped))
            }
            Err(error) => {
                child.kill();
                Err(error)
            }
        }
    }

    fn cross(&self, child: &Child) -> Result<(i32, Vec<String>)> {
        // Root inside is to have its network: it must be in the user namespace that owns that.
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
        // Killed once it has made PID 1, it tells nothing, and that one waits for us.
        wait_for_report(self.socket, Some(child.pidfd()))?;
        match receive::<FromInit>(self.socket)? {
            Some((FromInit::Spawned { pid, unmapped }, _)) => Ok((pid, unmapped)),
            Some((report, _)) => Err(report.error().unwrap_or_else(terminal::lost)),
            None => Err(terminal::lost()),
        }
    }
}
