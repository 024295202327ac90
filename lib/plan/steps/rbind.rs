//! A root that is a tree of the host, bound with all that is mounted below it.

use super::Kind;
use super::shell::{self, Host, word};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A recursive bind whose content takes mounts from the source and gives none back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rbind {
    /// The tree.
    pub source: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// It cannot be written through, nor what is mounted below it.
    pub read_only: bool,
    /// First of the host's ids that its files have there, from 0 on; none: their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
}

impl Kind for Rbind {
    fn mount_point(&self) -> Option<&Path> {
        Some(&self.at)
    }

    fn is_root(&self) -> bool {
        true
    }

    fn sources(&self) -> (Vec<&Path>, bool) {
        (vec![&self.source], true)
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        let (source, at) = (word(&self.source), word(&self.at));
        let slave = format!("mount --make-rslave {at}");
        if let Some(base) = self.ids {
            let attributes = if self.read_only { sys::RDONLY } else { 0 };
            let mut lines = shell::mapped(&self.at, base, &format!("bind {source} {attributes}"));
            lines.push(slave);
            return lines;
        }
        let mut lines = vec![format!("mount --rbind {source} {at}"), slave];
        if self.read_only {
            // ro=recursive needs util-linux 2.39; this reaches submounts with any.
            lines.push(format!(
                "findmnt -Rnlo TARGET {at} | while IFS= read -r m; do mount -o remount,bind,ro \"$m\"; done"
            ));
        }
        lines
    }

    fn shell_down(&self) -> Vec<String> {
        vec![
            // Else the host's own submounts would be unmounted as well.
            format!("mount --make-rslave {}", word(&self.at)),
            shell::unmount(&self.at),
        ]
    }
}
