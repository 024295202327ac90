//! What every process of a subhost is given: environment, rights, labels.

use super::{PATH, Program};
use crate::confine::Rights;
use crate::kernel::lsm::Label;
use std::collections::BTreeMap;

/// What every process inside a subhost has, whether it is booted with or joins later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Variables of its environment, beside those of a login.
    pub env: BTreeMap<String, String>,
    /// Capabilities and filters.
    pub rights: Rights,
    /// Labels of the host's security modules.
    pub labels: Vec<Label>,
}

impl Guest {
    /// Returns the program `argv` of this guest: as root, in root's home, without a terminal.
    pub fn program(self, argv: Vec<String>) -> Program {
        Program {
            argv,
            user: "root".into(),
            dir: String::new(),
            env: self.env,
            term: None,
            rights: self.rights,
            labels: self.labels,
        }
    }

    /// Sets the variables that an init finds, where the settings do not.
    #[must_use]
    pub fn with_env_of_init(mut self) -> Self {
        for (key, value) in [("container", "subhost"), ("PATH", PATH), ("TERM", "linux")] {
            let variable = self.env.entry(key.into());
            variable.or_insert_with(|| value.into());
        }
        self
    }
}
