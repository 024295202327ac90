//! The keys of hooks: programs that run on the host before and after a step.

use super::checker::Checker;
use super::keys::Raw;
use super::values::{duration, words};
use crate::base::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The moment at which a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Phase {
    Premount,
    Postmount,
    Prenet,
    Postnet,
    Prestop,
    Poststop,
}

impl Phase {
    /// Returns the key of its hook.
    pub fn key(self) -> String {
        self.as_str().to_uppercase()
    }

    /// Returns its name, as the variable PHASE has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Premount => "premount",
            Phase::Postmount => "postmount",
            Phase::Prenet => "prenet",
            Phase::Postnet => "postnet",
            Phase::Prestop => "prestop",
            Phase::Poststop => "poststop",
        }
    }
}

impl Checker<'_> {
    /// Checks the hooks.
    pub(super) fn hooks(&self, raw: &Raw) -> Result<BTreeMap<Phase, Vec<String>>> {
        let mut hooks = BTreeMap::new();
        for (key, phase, text) in [
            ("PREMOUNT", Phase::Premount, &raw.premount),
            ("POSTMOUNT", Phase::Postmount, &raw.postmount),
            ("PRENET", Phase::Prenet, &raw.prenet),
            ("POSTNET", Phase::Postnet, &raw.postnet),
            ("PRESTOP", Phase::Prestop, &raw.prestop),
            ("POSTSTOP", Phase::Poststop, &raw.poststop),
        ] {
            let mut words = self.value(key, words(text))?;
            if let Some(program) = words.first_mut() {
                // A relative path begins at the directory of the subhost. PATH is not searched: cron and
                // init have others.
                *program = self.path(key, program)?.to_string_lossy().into_owned();
                hooks.insert(phase, words);
            }
        }
        Ok(hooks)
    }

    /// Checks how long a hook may run.
    pub(super) fn hook_timeout(&self, raw: &Raw) -> Result<Duration> {
        match self.value("HOOK_TIMEOUT", duration(&raw.hook_timeout))? {
            Duration::ZERO => Err(self.bad("HOOK_TIMEOUT", "leaves a hook no time to run")),
            timeout => Ok(timeout),
        }
    }
}
