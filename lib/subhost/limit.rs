//! Changes the limits of a running subhost, freezes and thaws it.

use super::Subhost;
use crate::base::error::{Error, Exit, Result, shown};
use crate::cgroup;
use crate::config::{LIMIT_KEYS, live_setting};
use crate::state::{Group, Running};
use std::collections::BTreeMap;

impl Subhost {
    /// Changes limits, all of them or none. `words` are `KEY=VALUE`; an empty value removes a limit. They apply until the
    /// subhost is booted anew.
    ///
    /// # Errors
    /// `NotRunning`. A key is not a limit, a value is wrong, or the host cannot apply it.
    pub fn limit(&self, words: &[String]) -> Result<()> {
        let mut changes = BTreeMap::new();
        for word in words {
            let (key, value) = live_setting(word)?;
            if !LIMIT_KEYS.contains(&key) {
                let what = format!("{} cannot be changed while it runs", shown(key));
                return Err(Error::new(Exit::Usage, what).hint(LIMIT_KEYS.join(" ")));
            }
            changes.insert(key.to_owned(), value.to_owned());
        }
        self.must_exist()?;
        self.locked(|held| {
            let running = held.must_run()?;
            let pid = running.init.identity.pid;
            let target = cgroup::Target {
                state: &held.state,
                tree: &held.tree,
                name: &held.name,
                pid,
            };
            cgroup::change(target, &changes)
        })
    }

    /// Freezes all processes inside.
    ///
    /// # Errors
    /// `NotRunning`; it has no cgroup that can freeze; `TimedOut`.
    pub fn freeze(&self) -> Result<()> {
        self.with_cgroups(Group::freeze)
    }

    /// Thaws all processes inside.
    ///
    /// # Errors
    /// As [`Subhost::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.with_cgroups(Group::thaw)
    }

    fn with_cgroups(&self, act: impl FnOnce(&Group) -> Result<()>) -> Result<()> {
        self.must_exist()?;
        self.locked(|held| {
            held.must_run()?;
            act(&held.state.cgroups()?)
        })
    }

    fn must_run(&self) -> Result<Running> {
        let up = self.running()?.filter(|running| running.init.up);
        up.ok_or_else(|| {
            Error::new(Exit::NotRunning, "it is not running")
                .hint("what its config sets applies at the next boot")
        })
    }
}

/// Returns the error of a command that a frozen subhost cannot run.
pub(super) fn frozen(name: &crate::base::name::Name) -> Error {
    Error::new(Exit::Busy, "it is frozen").hint(format!("subhost-limit --thaw {name} thaws it"))
}
