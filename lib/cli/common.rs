//! The options that all tools take, and the work on several subhosts.

use super::messages::report;
use crate::base::error::{Doing, Exit, Result};
use crate::base::name::Name;
use crate::config;
use crate::kernel::processor;
use crate::state::State;
use crate::subhost::Subhost;
use crate::sys;
use clap::Args;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// What every tool takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Use the subhosts in DIR [default: $SUBHOST, else /opt/subhost; without root
    /// ~/.local/share/subhost]
    #[arg(short = 'S', long = "subhosts", value_name = "DIR")]
    pub tree: Option<PathBuf>,
    /// Override KEY for this command and for what it mounts, makes or boots
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// If another command has locked the subhost, wait up to SECONDS for it [default: STOP_TIMEOUT
    /// + 5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// Print each step to standard error
    #[arg(short, long)]
    pub verbose: bool,
    /// Print errors only, no warnings and notices
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

impl Common {
    /// Returns $SUBHOST as an absolute path.
    ///
    /// # Errors
    /// `Usage` if the path is not UTF-8; the working directory is unknown.
    pub fn tree(&self) -> Result<PathBuf> {
        super::tree::tree(self.tree.as_deref())
    }

    /// Enters the user's namespace, unless the tool runs as root. A tool calls it first, while the process
    /// has one thread.
    ///
    /// # Errors
    /// The errors of [`crate::rootless::enter`].
    pub fn become_root(&self) -> Result<()> {
        crate::rootless::enter(&self.tree()?)
    }

    /// Returns the subhost `name`, which need not exist.
    ///
    /// # Errors
    /// The name or a setting of `--set` is invalid.
    pub fn subhost(&self, name: &str) -> Result<Subhost> {
        let is_up = |name: &Name| State::new(name).exists();
        let name = Name::new(name)
            .or_else(|error| Name::parse_recorded(name).filter(is_up).ok_or(error))?;
        // A tool that reads no config, as one that joins, would otherwise ignore an invalid setting.
        for word in &self.set {
            config::setting(word)?;
        }
        Ok(Subhost::new(&self.tree()?, &name, &self.set).waiting(self.wait))
    }

    /// Returns the name of an existing subhost.
    ///
    /// # Errors
    /// The name is invalid, or there is no such subhost.
    pub(super) fn existing_name(&self, name: &str) -> Result<Name> {
        let subhost = self.subhost(name)?;
        subhost.must_exist()?;
        Ok(subhost.name().clone())
    }

    /// Does `work` on each subhost in order, and continues after a failure. It returns the status of the
    /// first failure.
    ///
    /// # Errors
    /// None so far: failures are reported.
    pub fn each(&self, names: &[String], work: impl Fn(&Subhost) -> Result<u8>) -> Result<u8> {
        let mut first = 0;
        for name in names {
            let status = match self.subhost(name).and_then(|subhost| work(&subhost)) {
                Ok(status) => status,
                Err(error) => {
                    report(Name::new(name).ok().as_ref(), &error);
                    error.exit as u8
                }
            };
            keep_first(&mut first, status);
        }
        Ok(first)
    }
}

/// Keeps the status of the first failure.
pub(super) fn keep_first(first: &mut u8, status: u8) {
    if *first == 0 {
        *first = status;
    }
}

/// The number of subhosts from which on a child process pays off.
const SHARE: usize = 4;

impl Common {
    /// Does `work` on each subhost as [`Common::each`], but in parallel if there are many. Each of several
    /// child processes does its share in order. There are more of them than processors, because a stop mostly
    /// waits.
    ///
    /// # Errors
    /// A child process cannot be waited for.
    pub fn each_in_parallel(
        &self,
        names: &[String],
        work: impl Fn(&Subhost) -> Result<u8>,
    ) -> Result<u8> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = (processors * 4).min(names.len() / SHARE);
        if workers < 2 {
            return self.each(names, work);
        }
        let us = rustix::process::getpid();
        let mut shares = Vec::new();
        for share in names.chunks(names.len().div_ceil(workers)) {
            let child = sys::fork_child(|| {
                processor::set_saturated();
                // If this tool is killed, each child ends after the subhost that it works on.
                let end = rustix::process::Signal::TERM;
                let _ = rustix::process::set_parent_process_death_signal(Some(end));
                if rustix::process::getppid() != Some(us) {
                    return Exit::Failed as i32;
                }
                let status = self.each(share, &work).unwrap_or_else(|error| {
                    report(None, &error);
                    error.exit as u8
                });
                i32::from(status)
            });
            // If no child can be made, this process does the share itself, below.
            shares.push((share, child));
        }
        let mut first = 0;
        for (share, child) in shares {
            let status = match child {
                Err(_) => self.each(share, &work)?,
                Ok((_, pidfd)) => wait_for_child(&pidfd)?,
            };
            keep_first(&mut first, status);
        }
        Ok(first)
    }
}

/// Waits for a child, and returns its exit status as a shell does: 128+N after signal N.
fn wait_for_child(pidfd: &OwnedFd) -> Result<u8> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some(status)) => {
                let killed = || status.terminating_signal().unwrap_or_default() + 128;
                return Ok(status.exit_status().unwrap_or_else(killed) as u8);
            }
            other => return other.doing(|| "wait for a share of the work").map(|_| 0),
        }
    }
}
