//! Into a user namespace, for the process that will be PID 1 there. What only root of the host can
//! make is made before: from then on it is nobody here.

use super::pick::{For, Picked, pick_up};
use crate::base::error::{Doing, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::kernel::packets::{receive, send};
use crate::kernel::{terminal, userns};
use crate::login;
use crate::sys;
use nix::sched::{CloneFlags, setns, unshare};
use std::os::fd::OwnedFd;

/// Comes back as PID 1 of a pid namespace in the user namespace, with what was made; none if the tool
/// is gone. The process that called it tells the tool and ends.
///
/// # Errors
/// What could not be made.
pub fn enter(socket: &OwnedFd) -> Result<Option<Picked>> {
    let Some((ToInit::EnterUserns, fds)) = receive(socket)? else {
        return Ok(None);
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(terminal::lost);
    let (spec, userns) = (super::read(next()?)?, next()?);
    if let Some(network) = fds.next() {
        setns(network, CloneFlags::CLONE_NEWNET).doing(|| "join the network namespace")?;
    }
    let Some(base) = spec.ids else {
        return Err(terminal::lost());
    };
    let (picked, unmapped) = pick_up(&spec, For::Owner(&userns, base))?;
    // These cannot be had from within.
    login::set_limits();
    userns::enter(&userns).doing(|| "enter the user namespace")?;
    userns::check_ids(base)?;
    sys::new_session_keyring();
    unshare(CloneFlags::CLONE_NEWPID).doing(|| "make a pid namespace")?;
    let born = sys::fork_clone(CloneFlags::CLONE_PARENT.bits()).doing(|| "start PID 1")?;
    let Some((pid, _)) = born else {
        return Ok(Some(picked));
    };
    let told = send(socket, &FromInit::Spawned { pid, unmapped }, &[]);
    sys::exit(i32::from(told.is_err()));
}
