//! The record of a subhost's cgroups. What acts on them is in `cgroup`.

use super::State;
use crate::base::error::{Error, Exit, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// The cgroup.
    pub path: PathBuf,
    /// Controllers are given down from here, and not from above.
    pub floor: PathBuf,
    /// What it lies in is ours as well, and goes with the last.
    pub parent_is_ours: bool,
    /// Controllers of its v1 hierarchy; empty: it is of v2.
    pub v1: Vec<String>,
}

/// All cgroups of a subhost, as they are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// That of v2 first, if there is one.
    pub dirs: Vec<Dir>,
    /// An init of the tree's own has its part of that of v2, and those that join another.
    pub divided: bool,
    /// The keys of limits that are set, as they hold now.
    pub settings: BTreeMap<String, String>,
    /// The root's writable layer or its image, for IO.
    pub root: Option<PathBuf>,
}

impl Dir {
    /// Is it of the v2 hierarchy?
    pub(crate) fn is_v2(&self) -> bool {
        self.v1.is_empty()
    }
}

impl Group {
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// That of v2, if there is one.
    pub fn unified(&self) -> Option<&Path> {
        let dir = self.dirs.iter().find(|dir| dir.is_v2());
        dir.map(|dir| dir.path.as_path())
    }

    /// That of the v1 hierarchy that has this controller.
    pub fn v1(&self, controller: &str) -> Option<&Path> {
        let has = |dir: &&Dir| dir.v1.iter().any(|one| one == controller);
        self.dirs.iter().find(has).map(|dir| dir.path.as_path())
    }
}

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

    /// Forgets its cgroups.
    pub fn forget_cgroups(&self) {
        // What stays is the record of what is gone.
        let _ = std::fs::remove_file(self.cgroup_file());
    }

    fn cgroup_file(&self) -> PathBuf {
        self.dir.join("cgroup")
    }
}
