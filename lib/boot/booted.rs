//! A booted subhost: waiting until it is up, and staying with it until it ends.

use crate::base::error::{Doing, Errno, Error, Exit, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::kernel::packets::{receive, send};
use crate::kernel::proc;
use crate::kernel::signals::Signals;
use crate::kernel::spawn::Child;
use crate::kernel::terminal::{self, StdioMode, Terminal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

/// No honest tree takes this long to be assembled, seconds.
const PATIENCE: u16 = 60;

/// A booted subhost.
#[derive(Debug)]
pub struct Booted {
    pub(super) child: Child,
    pub(super) socket: OwnedFd,
    pub(super) terminal: Option<Terminal>,
    pub(super) pidfd: OwnedFd,
}

fn is_ready(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
}

/// Waits until there is a report, or its sender has ended without one.
pub(super) fn wait_for_report(socket: &OwnedFd, sender: Option<&OwnedFd>) -> Result<()> {
    let fds = std::iter::once(socket).chain(sender);
    let mut fds: Vec<PollFd> = fds
        .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
        .collect();
    loop {
        match poll(&mut fds, PollTimeout::from(PATIENCE * 1000)) {
            Ok(0) => {
                let what = format!("the inside was not up after {PATIENCE} s");
                return Err(Error::new(Exit::TimedOut, what));
            }
            // What it sent comes before its end.
            Ok(_) if fds[0].any() == Some(false) && !is_ready(socket) => {
                return Err(terminal::lost());
            }
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::sys("wait for PID 1", errno)),
        }
    }
}

impl Booted {
    pub(super) fn proceed(&self) -> Result<()> {
        match send(&self.socket, &ToInit::Proceed, &[]) {
            // It has failed, and said why.
            Err(error) if error.errno == Some(Errno::EPIPE) => Ok(()),
            other => other,
        }
    }

    pub(super) fn wait_until_up(&mut self, is_init: bool) -> Result<()> {
        loop {
            wait_for_report(&self.socket, None)?;
            match receive::<FromInit>(&self.socket)? {
                Some((FromInit::Terminal, fds)) => {
                    let pair = <[OwnedFd; 2]>::try_from(fds).ok();
                    self.terminal = pair.map(|[master, slave]| Terminal { master, slave });
                }
                Some((FromInit::Up, _)) => return Ok(()),
                Some((report, _)) => {
                    return Err(report.error().unwrap_or_else(terminal::lost));
                }
                // An init closes the socket by being executed.
                None if is_init && !proc::has_ended(&self.pidfd) => return Ok(()),
                None => return Err(terminal::lost()),
            }
        }
    }

    /// Stays until PID 1 has ended; gives its status as a shell would (128+N for signal N).
    ///
    /// # Errors
    /// The wait failed.
    pub fn attend(self, wiring: StdioMode, signals: &Signals) -> Result<u8> {
        let hand_on = |signal| {
            // An init of the tree's own has closed the socket and takes signals itself.
            if send(&self.socket, &ToInit::Signal(signal), &[]).is_err() {
                let _ = crate::sys::pidfd_kill(&self.pidfd, signal);
            }
        };
        let relay = terminal::Relay {
            stdio: wiring,
            terminal: self.terminal.as_ref(),
            signals,
            child: &self.pidfd,
        };
        relay.run(hand_on)?;
        let status = self.child.wait();
        let status = status.doing(|| "wait for PID 1")?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => code as u8,
            (_, signal) => 128 + signal.unwrap_or(0) as u8,
        })
    }
}
