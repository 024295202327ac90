//! Signals: names, default actions, and waiting for them with a signalfd (`signalfd(2)`).

use crate::base::error::{Doing, Errno, Error, Result};
use crate::sys;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;

/// Parses a signal given as `TERM`, `SIGTERM`, `15` or `RTMIN+3`; none if it is not a signal.
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
        // glibc reserves 32 and 33, and its SIGRTMIN is 34 (signal(7)).
        return (offset <= 30).then(|| 34 + i32::from(offset));
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
        .ok()
        .map(|s| s as i32)
}

/// Sets all signals to their default actions and unblocks them. nohup, cron and our own waiting change
/// them.
///
/// # Errors
/// The errno of setting the mask.
pub fn default_signals() -> std::result::Result<(), Errno> {
    for number in 1..=64 {
        sys::default_signal(number);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// The signals that are forwarded to the command inside.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// A signalfd for the forwarded signals and SIGWINCH, which are blocked in the calling thread. Make it before
/// the command is spawned, so that no signal is lost.
pub struct Signals {
    fd: SignalFd,
    /// The mask to restore at the end; none if the process ends with the wait.
    before: Option<SigSet>,
}

impl Signals {
    /// Blocks the signals for the rest of the process.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn block_for_good() -> Result<Self> {
        let mut signals = Self::block()?;
        signals.before = None;
        Ok(signals)
    }

    /// Blocks the signals until the value is dropped. The kernel delivers them to another thread that does
    /// not block them.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn block() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in FORWARDED.into_iter().chain([Signal::SIGWINCH]) {
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

    /// Returns the number of the next pending signal; none if none is pending.
    pub fn next(&self) -> Option<i32> {
        let info = self.fd.read_signal().ok()??;
        i32::try_from(info.ssi_signo).ok()
    }
}

/// The descriptor is readable when a signal is pending.
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
    fn signals_are_parsed_by_name_and_number() {
        assert_eq!(signal_number("TERM"), Some(15));
        assert_eq!(signal_number("SIGINT"), Some(2));
        assert_eq!(signal_number("RTMIN+3"), Some(37));
        assert_eq!(signal_number("9"), Some(9));
        assert_eq!(signal_number("/bin/true"), None);
        assert_eq!(signal_number("0"), None);
    }
}
