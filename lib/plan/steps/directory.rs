//! A directory that serves as a mount point, or as upper or work directory of an overlay.

use super::Kind;
use super::shell::{Host, word};
use crate::base::error::shown;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A directory, made if it is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// Undoing the step leaves it.
    pub keep: bool,
}

impl Kind for Directory {
    fn title(&self) -> String {
        shown(&self.path)
    }

    fn lasts(&self) -> bool {
        false
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        let path = word(&self.path);
        vec![match self.keep {
            true => format!("[ -d {path} ] || mkdir {path}"),
            false => format!("mkdir -p {path}"),
        }]
    }

    fn shell_down(&self) -> Vec<String> {
        let line = || {
            format!(
                "rmdir -p --ignore-fail-on-non-empty {} 2>/dev/null || :",
                word(&self.path)
            )
        };
        (!self.keep).then(line).into_iter().collect()
    }
}
