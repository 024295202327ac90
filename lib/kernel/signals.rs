//! Signals by name, and their default actions.

use crate::base::error::Errno;
use crate::sys;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
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
