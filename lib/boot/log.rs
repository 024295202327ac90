//! The log of a subhost in the background: a file of the host that our PID 1 writes, or a process that is left behind to
//! read the console of the tree's own init.

use super::Booted;
use crate::base::error::{Doing, Error, Exit, Result};
use crate::base::name::Name;
use crate::base::paths::LOGS;
use crate::base::protocol::ToInit;
use crate::kernel::packets::{send, sockets};
use crate::kernel::proc::Identity;
use crate::kernel::spawn::Entry;
use crate::kernel::tools::init_command;
use nix::sched::CloneFlags;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Opens the log of a subhost, and creates it if it does not exist.
pub(super) fn open(name: &Name) -> Result<OwnedFd> {
    match std::fs::DirBuilder::new().mode(0o700).create(LOGS) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(e).doing(|| format!("make the directory {LOGS}"));
        }
        _ => {}
    }
    let is_dir = std::fs::symlink_metadata(LOGS).is_ok_and(|meta| meta.is_dir());
    if !is_dir {
        let what = format!("{LOGS} is not a directory");
        return Err(Error::new(Exit::Failed, what));
    }
    let path = Path::new(LOGS).join(format!("{name}.log"));
    let file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK)
        .open(&path)
        .doing(|| format!("open {}", path.display()))?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        let what = format!("{} is not a regular file", path.display());
        return Err(Error::new(Exit::Failed, what));
    }
    Ok(file.into())
}

/// Opens the host's /dev/null.
pub(super) fn null() -> Result<OwnedFd> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.map(Into::into).doing(|| "open /dev/null")
}

impl Booted {
    /// Leaves a process behind that writes an init's console to `log`, of at most `max` bytes, and `end_of_run` when the init
    /// has ended. Returns that process; `None` if the init has no console.
    pub(super) fn leave_logger(
        &mut self,
        log: &OwnedFd,
        max: Option<u64>,
        end_of_run: &File,
    ) -> Result<Option<Identity>> {
        match (max, self.terminal.take()) {
            (Some(max), Some(terminal)) => {
                let fds = [
                    terminal.master.as_raw_fd(),
                    terminal.slave.as_raw_fd(),
                    log.as_raw_fd(),
                    end_of_run.as_raw_fd(),
                    self.pidfd.as_raw_fd(),
                ];
                spawn_logger(max, &fds).map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn spawn_logger(max: u64, fds: &[RawFd]) -> Result<Identity> {
    let (socket, theirs) = sockets("the console's logger")?;
    let (_program, mut command) = init_command()?;
    command.arg("--console");
    command.arg(&theirs.as_raw_fd().to_string());
    command.arg(&max.to_string());
    for number in 0..3 {
        command.stdio(number, null()?);
    }
    let child = command.spawn(CloneFlags::empty(), &Entry::default(), || {
        nix::unistd::chdir("/")
    });
    let child = child.doing(|| "start the console's logger")?;
    let identity = Identity::open(child.id()).doing(|| "watch the console's logger")?;
    send(&socket, &ToInit::Go, fds)?;
    Ok(identity.0)
}
