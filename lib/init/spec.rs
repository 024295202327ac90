//! The inside of a subhost as data: what a process of ours has to do to be its PID 1.
//!
//! Nothing here knows a config. A config is compiled to this, and so may something else be that wants none of
//! a config's defaults: what is not said is not there.

use crate::confine::{Rights, devices::Node};
use crate::login::Program;
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Everything about a boot. It travels as a memfd, the first of the descriptors of the packet that tells PID 1
/// to go; the others are the file for the end of its run, and the network namespace if `joins_network`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Where the root is mounted on the host. A mount of files only: no device of it works inside.
    pub root: PathBuf,
    /// First id of its user namespace; none: it has none.
    pub ids: Option<u32>,
    /// A network namespace comes with this; else it has the one that the tool is in.
    pub joins_network: bool,
    /// Its own namespaces beside those of mounts and of processes.
    pub namespaces: Vec<Own>,
    /// What is made of the root, in order.
    pub ops: Vec<Op>,
    /// What PID 1 is then.
    pub process: Process,
}

/// One thing that makes the inside what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Its host name.
    Hostname(String),
    /// A file system of the kernel's, made anew.
    Mount(Mount),
    /// A tmpfs on /dev with the usual nodes and links, with these devices too.
    Dev(Vec<Node>),
    /// A directory or file of the host's.
    Bind(Bind),
    /// Paths that are covered by nothing. What is not there needs no cover; no link may lead to it. Those below
    /// /proc and /sys are found in the mounts that are there by then, and nowhere else.
    Mask(Vec<String>),
    /// Paths below /proc that can only be read, but for one that can be written as before.
    ReadOnly {
        /// What can only be read.
        paths: Vec<String>,
        /// What below these can be written.
        but: Option<String>,
    },
    /// A directory that is covered if it is there, because it shows what is the host's. Nobody may enter it.
    Cover(String),
}

/// A namespace of its own (`namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Own {
    /// Host name.
    Uts,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// The cgroup that PID 1 is in becomes its root.
    Cgroup,
}

/// A file system of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Its type.
    pub fstype: String,
    /// Its options, with values or empty ones.
    pub options: Vec<(String, String)>,
    /// `MOUNT_ATTR_*` of `mount_setattr(2)`.
    pub attributes: u32,
    /// Where inside.
    pub at: String,
    /// What of the tree is followed on the way there.
    pub way: Way,
    /// A kernel may be without it.
    pub optional: bool,
}

/// How the place of a mount is found in a tree that is hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// A directory that every tree has, made if it is missing: no link may be on the way.
    Plain,
    /// A path that the administrator named: links are followed inside, and what is missing is made.
    Named,
}

/// A directory or file of the host's that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside; links are followed there.
    pub at: String,
    /// Cannot be written through.
    pub read_only: bool,
    /// What there is to mount on is made where it is missing; else it is left out then.
    pub make: bool,
    /// It is a text of ours: a read-only tree that has no place for it goes without, and whose it is does not
    /// matter to anybody.
    pub text: bool,
}

/// What PID 1 is when the inside is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// What it does.
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

/// Attributes of a mount without privileges by files or devices.
pub const SAFE: u32 =
    MountAttrFlags::MOUNT_ATTR_NOSUID.bits() | MountAttrFlags::MOUNT_ATTR_NODEV.bits();
/// The same of one that nothing can be executed from.
pub const NOEXEC: u32 = SAFE | MountAttrFlags::MOUNT_ATTR_NOEXEC.bits();
/// That of one that cannot be written.
pub const RDONLY: u32 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits();

impl Mount {
    /// A file system of this type; `options` are pairs of name and value.
    pub fn new(fstype: &str, options: &[(&str, &str)], attributes: u32, at: &str) -> Self {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Self {
            fstype: fstype.to_owned(),
            options: options.iter().map(owned).collect(),
            attributes,
            at: at.to_owned(),
            way: Way::Plain,
            optional: false,
        }
    }
}

/// The kernel's own file systems as every system has them; with `devices` beside the usual ones in /dev.
pub fn kernel(devices: Vec<Node>) -> Vec<Op> {
    let pts = [
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", "5"),
    ];
    let nosuid_noexec =
        (MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC).bits();
    vec![
        Op::Mount(Mount::new("proc", &[], NOEXEC, "/proc")),
        Op::Mount(Mount::new("sysfs", &[], NOEXEC | RDONLY, "/sys")),
        Op::Dev(devices),
        Op::Mount(Mount::new("devpts", &pts, nosuid_noexec, "/dev/pts")),
        Op::Mount(Mount::new("tmpfs", &[("mode", "1777")], SAFE, "/dev/shm")),
        Op::Mount(Mount {
            optional: true,
            ..Mount::new("mqueue", &[], NOEXEC, "/dev/mqueue")
        }),
    ]
}
