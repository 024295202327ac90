//! The record of PID 1: from before it does anything until it is known to have ended.

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

/// Who booted a subhost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booter {
    /// The tool.
    pub tool: String,
    /// Its pid, if the boot ends with it.
    pub pid: Option<i32>,
    /// Its terminal.
    pub tty: Option<String>,
}

/// PID 1 of a booted subhost, and what ending it and joining it need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Id of the boot of the host.
    pub boot: String,
    /// The version of what it can be told ([`PROTOCOL`](crate::base::protocol::PROTOCOL)).
    #[serde(default = "first_protocol")]
    pub protocol: u32,
    /// $SUBHOST.
    pub tree: PathBuf,
    /// The process.
    pub identity: Identity,
    /// Who booted it.
    pub by: Booter,
    /// When, seconds since the epoch.
    pub since: u64,
    /// The boot is complete: before, it may still be on the host.
    pub up: bool,
    /// A stop has asked it to end.
    pub asked: bool,
    /// Something was added to it while it ran, so that there is a plan of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
    /// It is the tree's own init, not ours.
    pub own: bool,
    /// First id of its user namespace; none: it has none.
    #[serde(default)]
    pub ids: Option<u32>,
    /// How it is asked to end.
    pub stop: Stop,
    /// How long that may take.
    pub stop_timeout: Duration,
    /// What ENV_FILE and `ENV_*` said at the boot.
    pub env: BTreeMap<String, String>,
    /// What those inside may do.
    pub rights: Rights,
    /// What the host's security modules confine what runs inside by.
    pub labels: Vec<Label>,
    /// The process that logs the console of an init in the background.
    pub console: Option<Identity>,
}

/// That of 0.1.0, which recorded none.
fn first_protocol() -> u32 {
    1
}

/// A subhost that runs.
#[derive(Debug)]
pub struct Running {
    /// Its record.
    pub init: Init,
    /// Its PID 1.
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

    /// The record of PID 1, whether it lives or not.
    ///
    /// # Errors
    /// It is there and cannot be read: whether something runs is then not known.
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
            .hint("see with ps whether its subhost-init lives, end it, then remove the file")
        };
        let Some(text) = self.read("init")? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| damaged(e.to_string()))
    }

    /// The record of PID 1 and a pidfd of it, if it lives.
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

    /// Forgets PID 1.
    pub fn forget(&self) {
        self.remember(|seen| seen.init = None);
        // If it stays, it is the record of a dead process.
        if std::fs::remove_file(self.dir.join("init")).is_ok() {
            self.remember(|seen| seen.init = Some(None));
        }
    }
}

/// Who booted it, in words.
pub fn booter(running: &Running) -> String {
    let by = &running.init.by;
    let pid = running.init.identity.pid;
    match (by.pid, &by.tty) {
        (None, _) => format!("pid {pid}"),
        (Some(booter), None) => format!("booted by {} pid {booter}", by.tool),
        (Some(booter), Some(tty)) => format!("booted by {} pid {booter} on {tty}", by.tool),
    }
}
