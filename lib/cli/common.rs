//! What all tools have in common: the options that every one takes, and how each is done to many subhosts.

use super::messages::report;
use crate::base::error::{Doing, Exit, Result};
use crate::base::name::Name;
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
    /// Use VALUE for the setting KEY in this run, and in what this run makes
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Wait up to SECONDS for another command on the same subhost [default: STOP_TIMEOUT + 5]
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
    /// $SUBHOST.
    ///
    /// # Errors
    /// It is not absolute after all, or not UTF-8.
    pub fn tree(&self) -> Result<PathBuf> {
        super::tree::tree(self.tree.as_deref())
    }

    /// Root's work is to be done: by root, or by a user in his world. First thing, with one thread.
    ///
    /// # Errors
    /// As [`crate::rootless::enter`].
    pub fn be_root(&self) -> Result<()> {
        crate::rootless::enter(&self.tree()?)
    }

    /// The subhost of a name.
    ///
    /// # Errors
    /// The name cannot be one.
    pub fn subhost(&self, name: &str) -> Result<Subhost> {
        let is_up = |name: &Name| State::new(name).exists();
        let name = Name::new(name)
            .or_else(|error| Name::parse_recorded(name).filter(is_up).ok_or(error))?;
        // Also where no config is read, as by those that join.
        for word in &self.set {
            crate::config::setting(word)?;
        }
        Ok(Subhost::new(&self.tree()?, &name, &self.set).waiting(self.wait))
    }

    /// Does `work` to each subhost, whatever becomes of the others; gives the status of the first
    /// failure.
    ///
    /// # Errors
    /// $SUBHOST cannot be told.
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
            if first == 0 {
                first = status;
            }
        }
        Ok(first)
    }
}

/// So many are done one after the other before it pays to do them side by side.
const FEW: usize = 4;

impl Common {
    /// As [`Common::each`], side by side where there are many: by processes of our own, each of which
    /// does its share one after the other. More than there are processors, as a stop mostly waits.
    ///
    /// # Errors
    /// $SUBHOST cannot be told; there can be no more processes.
    pub fn all(&self, names: &[String], work: impl Fn(&Subhost) -> Result<u8>) -> Result<u8> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = (processors * 4).min(names.len() / FEW);
        if workers < 2 {
            return self.each(names, work);
        }
        let us = rustix::process::getpid();
        let mut shares = Vec::new();
        for share in names.chunks(names.len().div_ceil(workers)) {
            let child = sys::fork_child(|| {
                processor::set_saturated();
                // Whoever ends us ends them, each after what it is at.
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
            // What cannot be done beside us is done by us.
            shares.push((share, child));
        }
        let mut first = 0;
        for (share, child) in shares {
            let status = match child {
                Err(_) => self.each(share, &work)?,
                Ok((_, pidfd)) => ended(&pidfd)?,
            };
            if first == 0 {
                first = status;
            }
        }
        Ok(first)
    }
}

/// Waits for a child of ours; its status as a shell has it.
fn ended(pidfd: &OwnedFd) -> Result<u8> {
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
