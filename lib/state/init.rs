//! The record of PID 1. It exists from before PID 1 does anything until PID 1 is known to have ended.

use super::State;
use crate::base::error::{Doing, Error, Exit, Result};
use crate::config::Stop;
use crate::confine::Rights;
use crate::kernel::clock::boot_id;
use crate::kernel::lsm::Label;
use crate::kernel::proc::Identity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// The tool that booted a subhost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booter {
    /// The name of the tool.
    pub tool: String,
    /// Its pid, if PID 1 ends with it.
    pub pid: Option<i32>,
    /// The terminal of that tool.
    pub tty: Option<String>,
}

/// PID 1 of a booted subhost, with what it takes to end it and to join it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// The boot id of the host.
    pub boot: String,
    /// The version of the protocol that it speaks ([`PROTOCOL`](crate::base::protocol::PROTOCOL)).
    #[serde(default = "first_protocol")]
    pub protocol: u32,
    /// $SUBHOST.
    pub tree: PathBuf,
    /// Its process.
    pub identity: Identity,
    /// The tool that booted it.
    pub by: Booter,
    /// When it was booted, in seconds since the epoch.
    pub since: u64,
    /// Whether the boot is complete. Until then PID 1 may still see the host.
    pub up: bool,
    /// Whether a stop has asked it to end.
    pub asked: bool,
    /// Whether there is a plan of what was added while it ran ([`Part::Live`](crate::plan::Part::Live)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
    /// Whether it is the tree's own init, not ours.
    pub own: bool,
    /// The first host id of its user namespace. `None`: it has none.
    #[serde(default)]
    pub ids: Option<u32>,
    /// How a stop asks it to end.
    pub stop: Stop,
    /// How long it may take to end.
    pub stop_timeout: Duration,
    /// The variables of ENV_FILE and `ENV_*`, as they were at the boot.
    pub env: BTreeMap<String, String>,
    /// Capabilities and filters of what runs inside.
    pub rights: Rights,
    /// Labels of the host's security modules for what runs inside.
    pub labels: Vec<Label>,
    /// The logger of the console of an init in the background.
    pub console: Option<Identity>,
}

/// The version of 0.1.0, which did not record it.
fn first_protocol() -> u32 {
    1
}

/// A PID 1 that lives.
#[derive(Debug)]
pub struct Running {
    /// Its record.
    pub init: Init,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

impl State {
    /// Records PID 1.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&self, init: &Init) -> Result<()> {
        let text = serde_json::to_string(init)
            .map_err(|e| Error::new(Exit::Failed, format!("cannot record PID 1: {e}")))?;
        self.remember(|seen| seen.init = None);
        self.write(&self.dir.join("init"), text.as_bytes())?;
        self.remember(|seen| seen.init = Some(Some(init.clone())));
        Ok(())
    }

    /// Returns the record of PID 1, whether PID 1 lives or not.
    ///
    /// # Errors
    /// The record cannot be read: whether PID 1 lives is not known.
    pub fn init(&self) -> Result<Option<Init>> {
        if let Some(init) = self.recall(|seen| seen.init.clone()) {
            return Ok(init);
        }
        if self.is_not_booted() {
            return Ok(None);
        }
        let init = self.read_init()?;
        self.remember(|seen| seen.init = Some(init.clone()));
        Ok(init)
    }

    fn read_init(&self) -> Result<Option<Init>> {
        let damaged = |why: String| {
            Error::new(
                Exit::Invalid,
                format!("{} cannot be read: {why}", self.dir.join("init").display()),
            )
            .hint("look for its subhost-init with ps, end it, then remove the file")
        };
        let Some(text) = self.read("init")? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| damaged(e.to_string()))
    }

    /// Returns PID 1, if it lives.
    ///
    /// # Errors
    /// As [`State::init`].
    pub fn running(&self) -> Result<Option<Running>> {
        let Some(init) = self.init()? else {
            return Ok(None);
        };
        if init.boot != boot_id()? {
            return Ok(None);
        }
        let pid = init.identity.pid;
        let alive = init.identity.alive();
        let alive = alive.doing(|| format!("tell whether PID 1 (pid {pid}) lives"))?;
        Ok(alive.map(|pidfd| Running { init, pidfd }))
    }

    /// Removes the record of PID 1.
    pub fn forget(&self) {
        self.remember(|seen| seen.init = None);
        // If it stays, it is the record of a dead process.
        if std::fs::remove_file(self.dir.join("init")).is_ok() {
            self.remember(|seen| seen.init = Some(None));
        }
    }
}

/// Describes who booted it, for a message.
pub fn booter(running: &Running) -> String {
    let by = &running.init.by;
    let pid = running.init.identity.pid;
    match (by.pid, &by.tty) {
        (None, _) => format!("pid {pid}"),
        (Some(booter), None) => format!("booted by {} pid {booter}", by.tool),
        (Some(booter), Some(tty)) => format!("booted by {} pid {booter} on {tty}", by.tool),
    }
}
