//! Limits of a subhost that runs, and freezing it.

use super::Subhost;
use crate::base::error::{Error, Exit, Result, shown};
use crate::cgroup;
use crate::config::{LIMIT_KEYS, setting};
use crate::state::Running;
use std::collections::BTreeMap;

impl Subhost {
    /// Changes limits, all or none: `words` are `KEY=VALUE`; an empty value lifts one. They hold until it
    /// is booted anew.
    ///
    /// # Errors
    /// `NotRunning`; a key is no limit; a value is wrong, or the host cannot do it.
    pub fn limit(&self, words: &[String]) -> Result<()> {
        let mut changes = BTreeMap::new();
        for word in words {
            let (key, value) = setting(word)?;
            if !LIMIT_KEYS.contains(&key) {
                let what = format!(
                    "{} is no limit that can be changed while it runs",
                    shown(key)
                );
                return Err(Error::new(Exit::Usage, what).hint(LIMIT_KEYS.join(" ")));
            }
            changes.insert(key.to_owned(), value.to_owned());
        }
        self.must_exist()?;
        self.locked(|| {
            let running = self.must_run()?;
            let pid = running.init.identity.pid;
            let target = cgroup::Target {
                state: &self.state,
                tree: &self.tree,
                name: &self.name,
                pid,
            };
            cgroup::change(target, &changes)
        })
    }

    /// Has all inside rest where they are, or go on.
    ///
    /// # Errors
    /// `NotRunning`; there is no cgroup that could; `TimedOut`.
    pub fn freeze(&self, on: bool) -> Result<()> {
        self.must_exist()?;
        self.locked(|| {
            self.must_run()?;
            let group = self.state.cgroups()?;
            match on {
                true => group.freeze(),
                false => group.thaw(),
            }
        })
    }

    fn must_run(&self) -> Result<Running> {
        let up = self.running()?.filter(|running| running.init.up);
        up.ok_or_else(|| {
            Error::new(Exit::NotRunning, "it is not running")
                .hint("what is set in its config holds from the next start on")
        })
    }
}

/// What a frozen one cannot do.
pub(super) fn frozen(name: &crate::base::name::Name) -> Error {
    Error::new(Exit::Busy, "it is frozen").hint(format!("subhost-limit --thaw {name} has it go on"))
}
