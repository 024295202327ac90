//! Signals that are blocked while the lock is held.

use crate::base::error::{Doing, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Blocks INT, TERM and HUP while something is changed: a command that has begun completes or undoes it, and then takes the
/// signal. QUIT is not blocked, for an administrator who cannot wait.
#[derive(Debug)]
pub(super) struct Deferred(SigSet);

impl Deferred {
    pub(super) fn new() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .map(Self)
            .doing(|| "defer signals")
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let _ = self.0.thread_set_mask();
    }
}
