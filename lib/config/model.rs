//! What settings mean: the parts of a [`Config`](super::Config), as plain data.

use super::{Cidr, Mac};
use crate::confine::{Filter, caps, devices::Device, hidden::Hidden};
use crate::kernel::lsm::Label;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the root file system is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it is mounted.
    pub live: PathBuf,
    /// The file tree, or the overlay's writable layer.
    pub upper: PathBuf,
    /// The overlay's work directory, or where the tmpfs of a volatile root is mounted.
    pub work: PathBuf,
    /// Read-only layers, topmost first; empty: the root is a recursive bind of `upper`.
    pub lowers: Vec<Layer>,
    /// The image that holds `upper` and `work`.
    pub image: Option<Image>,
    /// Nothing can be written.
    pub read_only: bool,
    /// What is written is gone at stop.
    pub volatile: bool,
    /// Bytes that may be written, where that is a bound of the root's own to keep.
    pub disk: Option<u64>,
}

/// One read-only layer of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// A directory.
    Directory(PathBuf),
    /// A file with a file system in it (squashfs, erofs, ext4 ...), mounted read-only.
    Image(PathBuf),
}

/// A file with a file system in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub file: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// Number of the partition, from 1; none: the whole file.
    pub partition: Option<u32>,
    /// File system type; none: recognised by its superblock.
    pub fstype: Option<String>,
    /// Mount options of the file system.
    pub options: Option<String>,
}

/// How the network is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Net {
    /// The host's own.
    Host,
    /// A named namespace of somebody else's.
    Named(String),
    /// A named namespace of its own.
    Private(Private),
}

/// A network namespace of the subhost's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    /// Its cables, by index.
    pub cables: Vec<Cable>,
    /// Default gateways, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// Further routes.
    pub routes: Vec<(Cidr, IpAddr)>,
    /// An ordinary user's helper carries what goes in and out.
    pub helper: bool,
}

/// A veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cable {
    /// Its number.
    pub index: usize,
    /// Name of the host end.
    pub host: String,
    /// Name of the inner end.
    pub inner: String,
    /// The bridge that the host end belongs to.
    pub bridge: Option<String>,
    /// Address of the inner end; none only where there is no machine-id and none was assigned.
    pub mac: Mac,
    /// MTU of both ends, bytes.
    pub mtu: Option<u32>,
    /// Addresses of the inner end.
    pub addresses: Vec<Cidr>,
}

/// What runs in a subhost, and how it is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its host name.
    pub hostname: String,
    /// What our PID 1 runs; empty: it holds until stop.
    pub command: Vec<String>,
    /// The tree's own init instead of our PID 1; empty: ours.
    pub init: Vec<String>,
    /// User inside that `command` runs as.
    pub user: String,
    /// Directory inside that `command` runs in.
    pub dir: String,
    /// Further environment.
    pub env: BTreeMap<String, String>,
    /// How RUN or INIT is asked to end.
    pub stop: Stop,
    /// How long that may take.
    pub stop_timeout: Duration,
    /// What the host's security modules confine it all by.
    pub labels: Vec<Label>,
    /// Host directories and files that appear inside.
    pub binds: Vec<Bind>,
    /// Temporary file systems inside: path and size in bytes.
    pub tmpfs: Vec<(String, Option<u64>)>,
    /// How large the log of what runs in the background may become, bytes.
    pub log_max: u64,
    /// Size of the tmpfs on /run, bytes; 0: none.
    pub ram_size: u64,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
}

/// What those inside may do, against what they usually may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confine {
    /// Capabilities more and less.
    pub caps: caps::Change,
    /// Nothing that is executed gives more rights.
    pub no_new_privs: bool,
    /// System calls.
    pub seccomp: Filter,
    /// What is covered, and what can only be read.
    pub hidden: Hidden,
    /// Devices beside the usual ones.
    pub devices: Vec<Device>,
}

/// Has it a user namespace, with ids of its own?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Userns {
    /// No: its users are the host's.
    No,
    /// Yes, or it does not come up.
    Yes,
    /// Where kernel and file systems can.
    Auto,
}

/// A host directory or file that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: String,
    /// Cannot be written through.
    pub read_only: bool,
}

/// How RUN or INIT is asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// By what the init in the tree understands; TERM for RUN.
    Usual,
    /// By a signal, its number.
    Signal(i32),
    /// By a command run inside.
    Command(Vec<String>),
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Phase {
    Premount,
    Postmount,
    Prenet,
    Postnet,
    Prestop,
    Poststop,
}

impl Phase {
    /// The key that sets its hook.
    pub fn key(self) -> String {
        self.as_str().to_uppercase()
    }

    /// As PHASE says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Premount => "premount",
            Phase::Postmount => "postmount",
            Phase::Prenet => "prenet",
            Phase::Postnet => "postnet",
            Phase::Prestop => "prestop",
            Phase::Poststop => "poststop",
        }
    }
}

impl Root {
    /// `image`, `overlay` or `rbind`.
    pub fn kind(&self) -> &'static str {
        match (&self.image, self.lowers.is_empty()) {
            (Some(_), _) => "image",
            (None, false) => "overlay",
            (None, true) => "rbind",
        }
    }
}
