//! Entering a user namespace, for the process that becomes PID 1 there. What needs root of the host is done
//! before: afterwards the process has no privilege on the host.

use super::pick::{Owner, Picked, pick_up};
use crate::base::error::{Doing, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::kernel::packets::{receive, send};
use crate::kernel::{terminal, userns};
use crate::sys;
use nix::sched::{CloneFlags, setns, unshare};
use std::os::fd::OwnedFd;

/// Makes the mounts of the spec, enters the user namespace and starts PID 1 in a new pid namespace. It returns in
/// PID 1, with the mounts; the calling process reports the pid to the tool and exits. Returns none if the tool is
/// gone.
///
/// # Errors
/// The failed step.
pub fn enter(socket: &OwnedFd) -> Result<Option<Picked>> {
    let Some((ToInit::EnterUserns, fds)) = receive(socket)? else {
        return Ok(None);
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(terminal::lost);
    let (spec, userns) = (super::read_spec(next()?)?, next()?);
    if let Some(network) = fds.next() {
        setns(network, CloneFlags::CLONE_NEWNET).doing(|| "join the network namespace")?;
    }
    let Some(base) = spec.ids else {
        return Err(terminal::lost());
    };
    let (picked, unmapped) = pick_up(&spec, Owner::Userns(&userns, base))?;
    userns::enter(&userns).doing(|| "enter the user namespace")?;
    userns::check_ids(base)?;
    sys::new_session_keyring();
    unshare(CloneFlags::CLONE_NEWPID).doing(|| "make a pid namespace")?;
    let child = sys::fork_clone(CloneFlags::CLONE_PARENT.bits()).doing(|| "start PID 1")?;
    let Some((pid, _)) = child else {
        return Ok(Some(picked));
    };
    let sent = send(socket, &FromInit::Spawned { pid, unmapped }, &[]);
    sys::exit(i32::from(sent.is_err()));
}
