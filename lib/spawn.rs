//! A child that is in its cgroups before its program begins.
//!
//! To move a process between cgroups of the v2 hierarchy costs the kernel a grace period, 5 to 15 ms;
//! to be made in one costs nothing (CLONE_INTO_CGROUP, Linux 5.7). In a v1 hierarchy the child moves
//! itself, as a thread: that costs as little.

use crate::cgroup::Entry;
use crate::error::{Errno, IntoErrno};
use crate::sys;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

/// A child of ours.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
}

/// Starts a command in a child with new namespaces (`flags`) and in the cgroups of `entry`; `first`
/// is run in it before all else.
///
/// # Errors
/// The child could not be made or enter its cgroups, or the program cannot be run.
pub fn spawn(
    command: &mut Command,
    flags: CloneFlags,
    entry: &Entry,
    first: impl FnOnce() -> Result<(), Errno>,
) -> Result<Child, Errno> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let into = entry.unified.as_ref().map(AsFd::as_fd);
    let (forked, moved) = match sys::fork(flags.bits(), into) {
        // A filter of system calls hides clone3 from us.
        Err(Errno::ENOSYS) => (sys::fork_as_ever(flags.bits())?, false),
        other => (other?, true),
    };
    let Some((pid, pidfd)) = forked else {
        let failed = entry
            .join(moved)
            .and_then(|()| first())
            .err()
            .unwrap_or_else(|| command.exec().into_errno());
        let _ = File::from(writer).write_all(&(failed as i32).to_ne_bytes());
        sys::exit(127);
    };
    drop(writer);
    let child = Child { pid, pidfd };
    let mut failed = [0; 4];
    match File::from(reader).read_exact(&mut failed) {
        // The program began: the other end was closed by that.
        Err(_) => Ok(child),
        Ok(()) => {
            let _ = child.wait();
            Err(Errno::from_raw(i32::from_ne_bytes(failed)))
        }
    }
}

impl Child {
    /// One that another child made for us (CLONE_PARENT).
    ///
    /// # Errors
    /// It is gone.
    pub fn adopt(pid: i32) -> Result<Self, Errno> {
        let pidfd = crate::proc::open(pid)?;
        Ok(Self { pid, pidfd })
    }

    /// Its pid.
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// A descriptor for it.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Kills it and waits for its end.
    pub fn kill(&self) {
        let _ = sys::pidfd_kill(&self.pidfd, nix::libc::SIGKILL);
        let _ = self.wait();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// ECHILD if somebody has waited for it.
    pub fn wait(&self) -> Result<ExitStatus, Errno> {
        use nix::sys::wait::WaitStatus;
        loop {
            match waitpid(Pid::from_raw(self.pid), None) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(ExitStatus::from_raw(code << 8)),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return Ok(ExitStatus::from_raw(signal as i32));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
