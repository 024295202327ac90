//! The boot of a subhost as data: the steps by which a process becomes its PID 1.
//!
//! Nothing here knows a config. `boot` compiles a config to a spec; another front end may compile something
//! else. A spec has no defaults: what it does not contain is not done.

use crate::confine::{Rights, devices::Node};
use crate::login::Program;
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A complete boot. PID 1 gets it as a memfd, the first descriptor of the packet `Go`. The others are the
/// file for the record of its end and, if `joins_network`, the network namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The mount point of the root on the host. Devices on it cannot be opened inside.
    pub root: PathBuf,
    /// The first id of its user namespace; none if it has no user namespace.
    pub ids: Option<u32>,
    /// Whether it joins a network namespace of the packet; else it stays in that of the tool.
    pub joins_network: bool,
    /// The new namespaces, besides those of mounts and pids.
    pub namespaces: Vec<Own>,
    /// The steps after the change of the root, in order.
    pub ops: Vec<Op>,
    /// What PID 1 does then.
    pub process: Process,
}

/// One step that sets up the inside of a subhost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Sets the host name.
    Hostname(String),
    /// Mounts a new file system of the kernel.
    Mount(Mount),
    /// Mounts a tmpfs on /dev, with the usual nodes and links and with these devices.
    Dev(Vec<Node>),
    /// Bind-mounts a directory or file of the host.
    Bind(Bind),
    /// Masks paths. A missing path is skipped; a symbolic link on the way is an error. Paths below /proc
    /// and /sys are resolved in the mounts of this spec.
    Mask(Vec<String>),
    /// Makes paths below /proc read-only, except one below them.
    ReadOnly {
        /// The read-only paths.
        paths: Vec<String>,
        /// The path below these that stays writable.
        but: Option<String>,
    },
    /// Covers a directory with an empty, inaccessible one if it exists, because it shows files of the host.
    Cover(String),
}

/// A namespace that PID 1 gets anew (`namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Own {
    /// The UTS namespace.
    Uts,
    /// The IPC namespace.
    Ipc,
    /// The cgroup namespace: the cgroup of PID 1 becomes its root.
    Cgroup,
}

/// A file system of the kernel to mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The type.
    pub fstype: String,
    /// The options as pairs of key and value; the value of a flag is empty.
    pub options: Vec<(String, String)>,
    /// `MOUNT_ATTR_*` of `mount_setattr(2)`.
    pub attributes: u32,
    /// The mount point inside.
    pub at: String,
    /// How the mount point is resolved.
    pub way: Way,
    /// Whether a kernel may lack the file system.
    pub optional: bool,
}

/// How the mount point of a file system is resolved in a hostile tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// A directory that every tree has. It is made if it is missing; no symbolic link may be on the way.
    Plain,
    /// A path that the administrator chose. Symbolic links are followed inside; missing directories are
    /// made.
    Named,
}

/// A directory or file of the host that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The path on the host.
    pub source: PathBuf,
    /// The mount point inside; symbolic links are followed.
    pub at: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Whether a missing mount point is made; else the mount is left out.
    pub make: bool,
    /// Whether it is a generated text file, such as /etc/hosts. It is left out if it has no mount point and
    /// the tree is read-only, and its owner inside does not matter.
    pub text: bool,
}

/// What PID 1 does after the steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// The command or init.
    pub main: Main,
    /// The rights of processes inside.
    pub rights: Rights,
    /// The signal that asks the command to end.
    pub stop_signal: i32,
    /// The time limit for that.
    pub stop_timeout: Duration,
    /// The largest size of the log in bytes; PID 1 writes the output of the command to its own standard
    /// output, which is the log. Without it, the command inherits the standard output.
    pub log_max: Option<u64>,
    /// Those of 0, 1 and 2 that become the slave of a terminal inside.
    pub slaves: [bool; 3],
    /// Whether PID 1 ends when the booting tool has ended.
    pub tied: bool,
}

/// The command or init of PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Main {
    /// Runs nothing and waits for the stop.
    Hold,
    /// Runs a command and ends with it.
    Run(Program),
    /// Executes the init of the tree.
    Init(Program),
}

/// The attributes of a mount without setuid files and devices.
pub const SAFE: u32 =
    MountAttrFlags::MOUNT_ATTR_NOSUID.bits() | MountAttrFlags::MOUNT_ATTR_NODEV.bits();
/// The attributes of such a mount from which nothing can be executed.
pub const NOEXEC: u32 = SAFE | MountAttrFlags::MOUNT_ATTR_NOEXEC.bits();
/// The attribute of a read-only mount.
pub const RDONLY: u32 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits();

impl Mount {
    /// Makes a mount of a required file system on a directory that every tree has. `options` are pairs of
    /// key and value.
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

/// Returns the steps that mount the usual file systems of the kernel, with `devices` besides the usual ones
/// in /dev.
pub fn kernel_mounts(devices: Vec<Node>) -> Vec<Op> {
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
