//! Signals by name, their default actions, and how somebody waits for them.

use crate::base::error::{Doing, Errno, Error, Result};
use crate::sys;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;

/// The number of a signal given as `TERM`, `SIGTERM`, `15` or `RTMIN+3`; none if it is no signal.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset = match offset {
            "" => 0,
            more => more.strip_prefix('+')?.parse::<u8>().ok()?,
        };
        // glibc keeps 32 and 33 for itself and calls 34 SIGRTMIN (signal(7)).
        return (offset <= 30).then(|| 34 + i32::from(offset));
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
        .ok()
        .map(|s| s as i32)
}

/// All signals at their defaults and none blocked: nohup, cron and our own waiting leave others.
///
/// # Errors
/// The mask cannot be set.
pub fn default_signals() -> std::result::Result<(), Errno> {
    for number in 1..=64 {
        sys::default_signal(number);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Signals that we hand on to the command inside.
const HANDED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// The signals that somebody waits for here, blocked in the calling thread so that they can be read. To be
/// made before the command is spawned: what comes in between is not lost.
pub struct Signals {
    fd: SignalFd,
    /// What was blocked before; none: that is nobody's business any more.
    before: Option<SigSet>,
}

impl Signals {
    /// Blocks and opens them, for a process that ends with what it waits for.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn block_for_good() -> Result<Self> {
        let mut signals = Self::block()?;
        signals.before = None;
        Ok(signals)
    }

    /// Blocks and opens them until this is dropped. Where other threads do not block them either, they come to
    /// those.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn block() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in HANDED_ON.into_iter().chain([Signal::SIGWINCH]) {
            set.add(signal);
        }
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK);
        let before = before.doing(|| "block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        match SignalFd::with_flags(&set, flags) {
            Ok(fd) => Ok(Self {
                fd,
                before: Some(before),
            }),
            Err(errno) => {
                let _ = before.thread_set_mask();
                Err(Error::sys("open the signals", errno))
            }
        }
    }

    /// As [`Signals::block`], if somebody will wait for them.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new_if(wanted: bool) -> Result<Option<Self>> {
        wanted.then(Self::block).transpose()
    }

    /// The next that has come, if one has.
    pub fn next(&self) -> Option<i32> {
        let info = self.fd.read_signal().ok()??;
        i32::try_from(info.ssi_signo).ok()
    }
}

/// To be read from when one has come.
impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = before.thread_set_mask();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_number() {
        assert_eq!(signal_number("TERM"), Some(15));
        assert_eq!(signal_number("SIGINT"), Some(2));
        assert_eq!(signal_number("RTMIN+3"), Some(37));
        assert_eq!(signal_number("9"), Some(9));
        assert_eq!(signal_number("/bin/true"), None);
        assert_eq!(signal_number("0"), None);
    }
}
