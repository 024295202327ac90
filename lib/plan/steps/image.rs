//! An image: a file that holds a file system, mounted by a loop device.

use super::shell::{Host, unmount, word};
use super::{Access, Kind};
use crate::base::envfile::quote;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The mount of an image by a loop device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The image file.
    pub file: PathBuf,
    /// The mount point.
    pub at: PathBuf,
    /// The number of the partition, from 1; none for the whole file.
    pub partition: Option<u32>,
    /// The file system type; none if the superblock tells it.
    pub fstype: Option<String>,
    /// The mount options, as mount(8) takes them.
    pub options: Option<String>,
    /// The loop device and the mount are read-only.
    pub read_only: bool,
}

impl Image {
    /// Returns the access of the loop device and of the mount.
    pub fn access(&self) -> Access {
        match self.read_only {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        }
    }
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
