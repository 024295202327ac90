//! The tmpfs that what is written to a volatile root goes to.

use super::Kind;
use super::shell::{Host, unmount, word};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The source that our tmpfs mounts show, so that they can be told from others'.
pub const SOURCE: &str = "subhost";

/// A tmpfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Where it is mounted.
    pub at: PathBuf,
    /// Bytes that it may hold; none: half of the host's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl Tmpfs {
    /// Its mount options.
    pub fn options(&self) -> String {
        let size = self.size.map_or(String::new(), |size| format!(",size={size}"));
        format!("mode=0755{size}")
    }
}

impl Kind for Tmpfs {
    fn mount_point(&self) -> Option<&Path> {
        Some(&self.at)
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        vec![format!(
            "mount -t tmpfs -o {} {SOURCE} {}",
            self.options(),
            word(&self.at)
        )]
    }

    fn shell_down(&self) -> Vec<String> {
        vec![unmount(&self.at)]
    }
}
