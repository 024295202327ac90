//! The cgroups that a subhost's state speaks of: ended, counted, removed.

use crate::base::error::Result;
use crate::state::{Last, State};

impl State {
    /// Ends what is left in its cgroups, removes and forgets them.
    ///
    /// # Errors
    /// What does not end. They are not forgotten then.
    pub fn remove_cgroups(&self) -> Result<()> {
        let group = self.cgroups()?;
        if !group.is_empty() {
            // The count goes with it.
            if let Some(last) = self.last().filter(|last| last.out_of_memory == Some(true)) {
                self.record_last(&last);
            }
            group.remove()?;
            self.forget_cgroups();
        }
        Ok(())
    }

    /// How the last run ended.
    pub fn last(&self) -> Option<Last> {
        let mut last = self.recorded_last()?;
        let killed = last.signal == Some(nix::libc::SIGKILL);
        let of_now = || matches!(self.init(), Ok(Some(init)) if init.since <= last.when);
        if killed && last.out_of_memory.is_none() && of_now() {
            // The cgroup that it was in, with its counts, is there until the next start or stop.
            let kills = self.cgroups().unwrap_or_default().usage().oom_kills;
            last.out_of_memory = kills.map(|kills| kills > 0);
        }
        Some(last)
    }
}
