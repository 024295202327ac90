//! The record of a subhost's cgroups.

use super::State;
use crate::cgroup::Group;
use crate::error::{Error, Exit, Result};
use std::path::PathBuf;

impl State {
    /// Records its cgroups, before they are made.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record_cgroups(&self, group: &Group) -> Result<()> {
        if group.is_empty() {
            self.forget_cgroups();
            return Ok(());
        }
        let text = serde_json::to_string(group)
            .map_err(|e| Error::new(Exit::Failed, format!("cannot record cgroups: {e}")))?;
        self.write(&self.cgroup_file(), text.as_bytes())
    }

    /// The record of its cgroups; empty if there is none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn cgroups(&self) -> Result<Group> {
        let Some(text) = self.read("cgroup")? else {
            return Ok(Group::default());
        };
        serde_json::from_str(&text).map_err(|e| {
            let what = format!("{} cannot be read: {e}", self.cgroup_file().display());
            Error::new(Exit::Invalid, what)
                .hint("remove its cgroups by hand (subhost-check finds them), then the file")
        })
    }

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

    /// Forgets its cgroups.
    pub fn forget_cgroups(&self) {
        // What stays is the record of what is gone.
        let _ = std::fs::remove_file(self.cgroup_file());
    }

    fn cgroup_file(&self) -> PathBuf {
        self.dir.join("cgroup")
    }
}
