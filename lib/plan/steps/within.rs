//! A check of the content of an image: a directory exists, and its path holds no symbolic link.

use super::Kind;
use super::shell::{Host, word};
use crate::base::error::shown;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A check that the directory `path` exists below `at`, and that its path holds no symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// The image file, for messages.
    pub file: PathBuf,
    /// The mount point of the image.
    pub at: PathBuf,
    /// The directory that must exist.
    pub path: PathBuf,
}

impl Kind for Within {
    fn title(&self) -> String {
        shown(&self.path)
    }

    fn lasts(&self) -> bool {
        false
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        vec![format!("[ -d {0} ] && [ ! -L {0} ]", word(&self.path))]
    }
}
