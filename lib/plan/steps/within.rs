//! A check of what an image must hold: a directory to which no link leads.

use super::Kind;
use super::shell::{Host, word};
use crate::base::error::shown;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A check: the directory `path` exists below `at`, and no link leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// The image.
    pub file: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// The directory.
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
