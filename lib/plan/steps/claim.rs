//! A claim: the exclusive use of a writable layer or image among all subhosts of the host.

use super::Kind;
use super::shell::Host;
use crate::base::error::shown;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The exclusive use of a writable layer or image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The directory of the layer, or the file of the image.
    pub path: PathBuf,
}

impl Kind for Claim {
    fn title(&self) -> String {
        format!("the claim of {}", shown(&self.path))
    }

    fn lasts(&self) -> bool {
        false
    }

    /// A script makes no claim: claims are files of the state, which only the tools write.
    fn shell_up(&self, _: &Host) -> Vec<String> {
        Vec::new()
    }
}
