//! A root that is a directory of the host, bind-mounted with all mounts below it.

use super::shell::{self, Host, word};
use super::{Access, Kind, Submounts};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A recursive bind mount with slave propagation: mounts of the source appear in it, its own do not appear
/// there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rbind {
    /// The directory of the host.
    pub source: PathBuf,
    /// The mount point.
    pub at: PathBuf,
    /// The mount and all mounts below it are read-only.
    pub read_only: bool,
    /// The first host id that the files show at the mount point, for id 0 on disk; none if ids are not
    /// mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
}

impl Rbind {
    /// Returns the access of the mount and of all mounts below it.
    pub fn access(&self) -> Access {
        match self.read_only {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        }
    }
}

impl Kind for Rbind {
    fn mount_point(&self) -> Option<&Path> {
        Some(&self.at)
    }

    fn is_root(&self) -> bool {
        true
    }

    fn sources(&self) -> (Vec<&Path>, Submounts) {
        (vec![&self.source], Submounts::Included)
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        let (source, at) = (word(&self.source), word(&self.at));
        let slave = format!("mount --make-rslave {at}");
        if let Some(base) = self.ids {
            let attributes = if self.read_only { sys::RDONLY } else { 0 };
            let mut lines = shell::mount_mapped(&self.at, base, &format!("bind {source} {attributes}"));
            lines.push(slave);
            return lines;
        }
        let mut lines = vec![format!("mount --rbind {source} {at}"), slave];
        if self.read_only {
            // ro=recursive needs util-linux 2.39; this loop makes submounts read-only with older ones too.
            lines.push(format!(
                "findmnt -Rnlo TARGET {at} | while IFS= read -r m; do mount -o remount,bind,ro \"$m\"; done"
            ));
        }
        lines
    }

    fn shell_down(&self) -> Vec<String> {
        vec![
            // Unmounting a shared submount would propagate and unmount the host's own.
            format!("mount --make-rslave {}", word(&self.at)),
            shell::unmount(&self.at),
        ]
    }
}
