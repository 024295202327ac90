//! The record of a subhost's cgroups. The room `cgroup` acts on them.

use super::State;
use crate::base::error::{Error, Exit, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One cgroup of a subhost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Its directory.
    pub path: PathBuf,
    /// The ancestor from which on controllers are enabled for it in `cgroup.subtree_control`.
    pub floor: PathBuf,
    /// Whether its parent is ours too, and is removed with the last subhost.
    pub parent_is_ours: bool,
    /// The controllers of its v1 hierarchy; empty: it is in the v2 hierarchy.
    pub v1: Vec<String>,
}

/// All cgroups of a subhost, as recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The cgroups; that of the v2 hierarchy first, if there is one.
    pub dirs: Vec<Dir>,
    /// Whether the v2 cgroup has two children: one for the tree's own init, one for processes that join.
    pub divided: bool,
    /// The limits that are set now, by key.
    pub settings: BTreeMap<String, String>,
    /// The root's writable layer or image, whose device `root` in IO stands for.
    pub root: Option<PathBuf>,
}

impl Dir {
    /// Reports whether it is in the v2 hierarchy.
    pub(crate) fn is_v2(&self) -> bool {
        self.v1.is_empty()
    }
}

impl Group {
    /// Reports whether there is no cgroup.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Returns the cgroup in the v2 hierarchy.
    pub fn unified(&self) -> Option<&Path> {
        let dir = self.dirs.iter().find(|dir| dir.is_v2());
        dir.map(|dir| dir.path.as_path())
    }

    /// Returns the cgroup in the v1 hierarchy of `controller`.
    pub fn v1(&self, controller: &str) -> Option<&Path> {
        let has = |dir: &&Dir| dir.v1.iter().any(|one| one == controller);
        self.dirs.iter().find(has).map(|dir| dir.path.as_path())
    }
}

impl State {
    /// Records the cgroups, before they are made.
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

    /// Returns the recorded cgroups.
    ///
    /// # Errors
    /// The record cannot be read.
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

    /// Removes the record of the cgroups.
    pub fn forget_cgroups(&self) {
        // If it stays, it is a record of cgroups that are gone.
        let _ = std::fs::remove_file(self.cgroup_file());
    }

    fn cgroup_file(&self) -> PathBuf {
        self.dir.join("cgroup")
    }
}
