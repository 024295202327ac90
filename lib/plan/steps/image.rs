//! A file with a file system in it, mounted by a loop device.

use super::Kind;
use super::shell::{Host, unmount, word};
use crate::base::envfile::quote;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A file with a file system, on a loop device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The file.
    pub file: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// Number of the partition, from 1; none: the whole file.
    pub partition: Option<u32>,
    /// File system type; none: by its superblock.
    pub fstype: Option<String>,
    /// Options of the file system.
    pub options: Option<String>,
    /// Attached and mounted read-only.
    pub read_only: bool,
}

impl Kind for Image {
    fn mount_point(&self) -> Option<&Path> {
        Some(&self.at)
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        let (file, at) = (word(&self.file), word(&self.at));
        let mode = if self.read_only { "ro" } else { "rw" };
        let more = self
            .options
            .as_ref()
            .map_or(String::new(), |more| format!(",{more}"));
        let options = quote(&format!("loop,{mode}{more}"));
        let fstype = self
            .fstype
            .as_ref()
            .map_or(String::new(), |fstype| format!(" -t {}", quote(fstype)));
        vec![match self.partition {
            None => format!("mount{fstype} -o {options} {file} {at}"),
            Some(number) => format!(
                "partx -bgo START,SECTORS -n {number} {file} | {{ read -r start size; mount{fstype} -o {options},offset=$((start * 512)),sizelimit=$((size * 512)) {file} {at}; }}"
            ),
        }]
    }

    fn shell_down(&self) -> Vec<String> {
        vec![unmount(&self.at)]
    }
}
