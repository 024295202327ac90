//! What the booting tool tells the process that becomes PID 1, and what that answers: packets on a
//! socket pair, descriptors beside them.

use crate::base::error::{Errno, Error, Exit};
use crate::config::Bind;
use crate::confine::{Rights, devices::Node};
use crate::login::Program;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Everything about a boot. It travels as a memfd, the first of the descriptors of a [`Go`](crate::kernel::packets::Go); the
/// others are `last`, and the network namespace if `joins_network`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Where the root is mounted on the host.
    pub live: PathBuf,
    /// First id of its user namespace; none: it has none.
    pub ids: Option<u32>,
    /// Host name.
    pub hostname: String,
    /// It is to have the cgroup that it is in as /sys/fs/cgroup.
    pub has_cgroup: bool,
    /// A network namespace comes with this.
    pub joins_network: bool,
    /// Directories inside that are covered, because they show the host's $SUBHOST.
    pub covers: Vec<String>,
    /// Paths inside that are covered by nothing.
    pub masked: Vec<String>,
    /// Paths below /proc that can only be read.
    pub read_only: Vec<String>,
    /// Devices beside the usual ones.
    pub devices: Vec<Node>,
    /// Host directories and files inside.
    pub binds: Vec<Bind>,
    /// Texts bound read-only over files inside: source on the host, path inside, and whether a
    /// missing file is made to be covered.
    pub texts: Vec<(PathBuf, String, bool)>,
    /// Temporary file systems inside: path and bytes.
    pub tmpfs: Vec<(String, Option<u64>)>,
    /// Size of /run, bytes; 0: none.
    pub ram_size: u64,
    /// What PID 1 does.
    pub main: Main,
    /// What those inside may do.
    pub rights: Rights,
    /// The signal that asks the command to end.
    pub stop_signal: i32,
    /// How long that may take.
    pub stop_timeout: Duration,
    /// What the command writes goes to our standard output, the log, which may become this large,
    /// bytes; none: the command has what we have.
    pub log_max: Option<u64>,
    /// Which of 0, 1 and 2 become the slave of a terminal made inside.
    pub slaves: [bool; 3],
    /// The boot ends with the booting tool.
    pub tied: bool,
}

/// The second, sent when all of its network is there. Before it nothing of the tree's runs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Proceed;

/// The first packet to a process that is to become PID 1 in a user namespace, before it is one: beside
/// it the spec, the user namespace, and the network namespace if there is one to join. That does not
/// come with the [`Go`](crate::kernel::packets::Go) then.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cross;

/// What PID 1 does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Main {
    /// Runs nothing and holds until stop.
    Hold,
    /// Runs a command; ends when it ends.
    Run(Program),
    /// Becomes the tree's own init.
    Init(Program),
}

/// From PID 1 to the tool. A terminal's master comes beside `Terminal`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// The terminal inside.
    Terminal,
    /// PID 1 in a user namespace has been made, by one that ends now.
    Born {
        /// Its pid on the host.
        pid: i32,
        /// What of the host's could not be given other ids.
        unmapped: Vec<String>,
    },
    /// Up: what was to run runs.
    Up,
    /// Not up.
    Failed {
        /// As in [`Error`].
        exit: u8,
        /// As in [`Error`].
        what: String,
        /// As in [`Error`].
        errno: Option<i32>,
        /// As in [`Error`].
        hint: Option<String>,
    },
}

impl Report {
    /// A failure as a packet.
    pub fn failed(error: Error) -> Self {
        Report::Failed {
            exit: error.exit as u8,
            // It must fit into a packet, whatever the command was.
            what: error.what.chars().take(2000).collect(),
            errno: error.errno.map(|errno| errno as i32),
            hint: error.hint,
        }
    }

    /// The failure in a packet; none if it is none.
    pub fn error(self) -> Option<Error> {
        let Report::Failed {
            exit,
            what,
            errno,
            hint,
        } = self
        else {
            return None;
        };
        let known = [
            Exit::Invalid,
            Exit::TimedOut,
            Exit::Own,
            Exit::CannotRun,
            Exit::NotFound,
        ];
        let exit = known.into_iter().find(|known| *known as u8 == exit);
        Some(Error {
            exit: exit.unwrap_or(Exit::Failed),
            what,
            errno: errno.map(Errno::from_raw),
            hint,
            also: Vec::new(),
        })
    }
}

/// From the tool to PID 1: a signal for the command.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Hand(pub i32);
