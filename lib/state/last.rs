//! The record of how the last run ended. Our PID 1 writes it through a descriptor.

use super::State;
use crate::base::error::{Doing, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When it ended, in seconds since the epoch.
    pub when: u64,
    /// The exit status of RUN, of INIT or of the command that was booted for.
    #[serde(default)]
    pub exit: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Whether the kernel killed it because its cgroup was out of memory. `None`: not looked up yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<bool>,
    /// The processes that a stop killed after STOP_TIMEOUT: `COMMAND (pid PID)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub killed: Vec<String>,
}

impl State {
    pub(super) fn last_file(&self) -> PathBuf {
        self.dir.join("last")
    }

    /// Records how a run ended whose PID 1 could not do it.
    pub fn record_last(&self, last: &Last) {
        if let Ok(text) = serde_json::to_string(last) {
            // Nothing depends on it: it is for the administrator.
            let _ = self.write(&self.last_file(), text.as_bytes());
        }
    }

    /// Returns how the last run ended, as recorded.
    pub fn recorded_last(&self) -> Option<Last> {
        if self.is_not_booted() {
            return None;
        }
        serde_json::from_str(&self.read("last").ok()??).ok()
    }

    /// Opens the file for the end of the run, which PID 1 is given.
    ///
    /// # Errors
    /// The file cannot be opened.
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
