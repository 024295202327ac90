//! Signals that wait while the lock is held.

use crate::base::error::{Doing, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// INT, TERM and HUP wait while something is changed: what is begun is done or undone, and then
/// they have their effect. QUIT does not wait, for those who must.
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
