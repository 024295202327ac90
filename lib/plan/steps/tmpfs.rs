//! The tmpfs that holds the upper of a volatile root.

use super::Kind;
use super::shell::{Host, unmount, word};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The mount source of our tmpfs mounts, which distinguishes them from others.
pub const SOURCE: &str = "subhost";

/// A tmpfs mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// The mount point.
    pub at: PathBuf,
    /// The size limit in bytes; none for the kernel's default, half of the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl Tmpfs {
    /// Returns the mount options.
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
