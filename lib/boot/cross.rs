//! The tool's half of a boot into a user namespace: what the process needs to go there, and who it is
//! once it has.

use super::wait_for_report;
use crate::base::error::{Doing, Result};
use crate::init::spec::{Cross, Report};
use crate::kernel::packets::{receive, send};
use crate::kernel::spawn::Child;
use crate::kernel::terminal;
use crate::kernel::userns;
use std::os::fd::{AsRawFd, OwnedFd};

/// Sends `child`, which is not PID 1 but makes it, on its way. Gives PID 1, and what could not be
/// given other ids. `own`: the network namespace is the subhost's own.
///
/// # Errors
/// Why it did not get there; nothing of it is left then.
pub(super) fn born(
    child: Child,
    socket: &OwnedFd,
    spec: &OwnedFd,
    network: Option<&OwnedFd>,
    own: bool,
    base: u32,
) -> Result<(Child, Vec<String>)> {
    match go(&child, socket, spec, network, own, base) {
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

fn go(
    child: &Child,
    socket: &OwnedFd,
    spec: &OwnedFd,
    network: Option<&OwnedFd>,
    own: bool,
    base: u32,
) -> Result<(i32, Vec<String>)> {
    // Root inside is to have its network: it must be in the user namespace that owns that.
    let owner = match network.filter(|_| own) {
        Some(network) => userns::of(network)?,
        None => None,
    };
    let userns = match owner {
        Some(owner) => owner,
        None => userns::make(base)?,
    };
    let mut fds = vec![spec.as_raw_fd(), userns.as_raw_fd()];
    fds.extend(network.map(AsRawFd::as_raw_fd));
    send(socket, &Cross, &fds)?;
    // Killed once it has made PID 1, it tells nothing, and that one waits for us.
    wait_for_report(socket, Some(child.pidfd()))?;
    match receive::<Report>(socket)? {
        Some((Report::Born { pid, unmapped }, _)) => Ok((pid, unmapped)),
        Some((report, _)) => Err(report.error().unwrap_or_else(terminal::lost)),
        None => Err(terminal::lost()),
    }
}
