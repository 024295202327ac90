//! The cgroups in the recorded state of a subhost: killing, counting, removing.

use crate::base::error::Result;
use crate::state::{Last, State};

impl State {
    /// Kills the processes that are left in its cgroups, removes the cgroups and their record.
    ///
    /// # Errors
    /// A cgroup stays busy. Its record stays as well then.
    pub fn remove_cgroups(&self) -> Result<()> {
        let group = self.cgroups()?;
        if !group.is_empty() {
            // The count of the OOM killer is lost with the cgroup.
            if let Some(last) = self.last().filter(|last| last.out_of_memory == Some(true)) {
                self.record_last(&last);
            }
            group.remove()?;
            self.forget_cgroups();
        }
        Ok(())
    }

    /// Returns how the last run ended; none if that is not recorded.
    pub fn last(&self) -> Option<Last> {
        let mut last = self.recorded_last()?;
        let killed = last.signal == Some(nix::libc::SIGKILL);
        let is_of_last_run = || matches!(self.init(), Ok(Some(init)) if init.since <= last.when);
        if killed && last.out_of_memory.is_none() && is_of_last_run() {
            // The cgroup and its counts stay until the next start or stop.
            let kills = self.cgroups().unwrap_or_default().usage().oom_kills;
            last.out_of_memory = kills.map(|kills| kills > 0);
        }
        Some(last)
    }
}
