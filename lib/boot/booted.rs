//! A booted subhost: waiting until it is up, and staying with it until it ends.

use super::is_init;
use crate::base::error::{Doing, Errno, Error, Exit, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::init::spec::Main;
use crate::kernel::packets::{receive, send};
use crate::kernel::proc;
use crate::kernel::signals::Signals;
use crate::kernel::spawn::Child;
use crate::kernel::terminal::{self, StdioMode, Terminal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

/// Seconds that PID 1 may take to report that it is up.
const PATIENCE: u16 = 60;

/// A PID 1 that its booting tool watches.
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

/// Waits until PID 1 has sent a report, or `sender`, the process that makes it, has ended without one.
pub(super) fn wait_for_report(socket: &OwnedFd, sender: Option<&OwnedFd>) -> Result<()> {
    let fds = std::iter::once(socket).chain(sender);
    let mut fds: Vec<PollFd> = fds
        .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
        .collect();
    loop {
        match poll(&mut fds, PollTimeout::from(PATIENCE * 1000)) {
            Ok(0) => {
                let what = format!("PID 1 did not come up within {PATIENCE} s");
                return Err(Error::new(Exit::TimedOut, what));
            }
            // A report that was sent before the end can still be read.
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
    /// Tells PID 1 that root and network are complete.
    pub(super) fn proceed(&self) -> Result<()> {
        match send(&self.socket, &ToInit::Proceed, &[]) {
            // It has failed, and its report says why.
            Err(error) if error.errno == Some(Errno::EPIPE) => Ok(()),
            other => other,
        }
    }

    /// Waits until PID 1 reports that it is up.
    pub(super) fn wait_until_up(&mut self, main: &Main) -> Result<()> {
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
                // An init closes the socket when it is executed.
                None if is_init(main) && !proc::has_ended(&self.pidfd) => return Ok(()),
                None => return Err(terminal::lost()),
            }
        }
    }

    /// Relays terminal and signals until PID 1 has ended. Returns its status as a shell would: 128+N for signal N.
    ///
    /// # Errors
    /// The wait failed.
    pub fn attend(self, stdio: StdioMode, signals: &Signals) -> Result<u8> {
        let pass_on = |signal| {
            // The tree's own init has closed the socket, and takes signals itself.
            if send(&self.socket, &ToInit::Signal(signal), &[]).is_err() {
                let _ = crate::sys::pidfd_kill(&self.pidfd, signal);
            }
        };
        let relay = terminal::Relay {
            stdio,
            terminal: self.terminal.as_ref(),
            signals,
            child: &self.pidfd,
        };
        relay.run(pass_on)?;
        let status = self.child.wait().doing(|| "wait for PID 1")?;
        Ok(proc::shell_status(status.code(), status.signal()))
    }
}
