//! How the last run ended: PID 1 writes it, by a descriptor that it was given.

use super::State;
use crate::base::error::{Doing, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When, seconds since the epoch.
    pub when: u64,
    /// Exit status of RUN, INIT or the command that was its init.
    #[serde(default)]
    pub exit: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// The kernel sent that for want of memory; none: nobody has looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<bool>,
}

impl State {
    pub(super) fn last_file(&self) -> PathBuf {
        self.dir.join("last")
    }

    /// Records how a run ended that could not say so itself.
    pub fn record_last(&self, last: &Last) {
        if let Ok(text) = serde_json::to_string(last) {
            // For the administrator's eyes only: nothing depends on it.
            let _ = self.write(&self.last_file(), text.as_bytes());
        }
    }

    /// How the last run ended, as it was recorded.
    pub fn recorded_last(&self) -> Option<Last> {
        if self.is_not_booted() {
            return None;
        }
        serde_json::from_str(&self.read("last").ok()??).ok()
    }

    /// The file that PID 1 writes by descriptor: the end of the run.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn for_init(&self) -> Result<File> {
        let path = self.last_file();
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .doing(|| format!("open {}", path.display()))
    }
}
