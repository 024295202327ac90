//! The mount namespace of a subhost: its root, and what every system expects below it.
//!
//! The tree is hostile. So what comes from the host is first picked up as detached mounts, then
//! the root is changed for good, and only then is anything inside looked at: from there no path,
//! whatever links it goes through, leads back to the host.

use super::dev::{self, Nodes};
use super::masks::{Kernel, Masks};
use super::nodes;
use super::pick::{self, Picked, clone_of, pick_up};
use super::spec::Spec;
use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::kernel::kept;
use crate::kernel::mounts::{attach, detached, directory, pivot};
use crate::kernel::proc::Namespace;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What is made on the host for those who are root in a user namespace only.
pub struct World {
    /// The root.
    pub live: OwnedFd,
    /// /sys.
    pub sys: OwnedFd,
    /// /dev.
    pub dev: OwnedFd,
    /// What the host gives.
    pub picked: Vec<Picked>,
}

/// Enters namespaces of its own and makes the root and all mounts.
///
/// # Errors
/// The step that failed, with its object.
pub fn assemble(spec: &Spec, network: Option<&OwnedFd>, world: Option<World>) -> Result<()> {
    if let Some(network) = network {
        setns(network, CloneFlags::CLONE_NEWNET).doing(|| "join the network namespace")?;
    }
    // What there is of the host is picked up before the root is changed, by the paths as our caller sees
    // them; no path of the tree is resolved before.
    let (world, proc, nodes) = match world {
        // In a user namespace there is a /proc to be had only where all of it is to be seen already.
        Some(world) => (world, None, None),
        None => {
            let (picked, _) = pick_up(spec, None)?;
            let live = pick::live(spec)?;
            let (Kernel { proc, sys, dev }, nodes) = kernel(spec)?;
            let world = World {
                live,
                sys,
                dev,
                picked,
            };
            (world, Some(proc), nodes)
        }
    };
    new_namespaces(proc.is_some())?;
    let proc = match proc {
        Some(proc) => proc,
        None => procfs()?,
    };
    change_root(&world.live).doing(|| format!("make {} the root", shown(&spec.live)))?;
    let World {
        sys, dev, picked, ..
    } = world;
    let kernel = Kernel { proc, sys, dev };
    nix::unistd::sethostname(&spec.hostname)
        .doing(|| format!("set the host name {}", spec.hostname))?;
    kernel_file_systems(&kernel, nodes)?;
    let mut masks = Masks::new(kernel);
    masks.cover(&spec.masked, false)?;
    // The sysctls of a network that is not ours alone are not ours to change.
    let own = spec.rights.has(CapabilitySet::NET_ADMIN);
    masks.read_only(&spec.read_only, own.then_some("/proc/sys/net"))?;
    if spec.ram_size > 0 {
        let size = spec.ram_size.to_string();
        let run = detached("tmpfs", &[("mode", "0755"), ("size", &size)], SAFE)?;
        cover("run", &run)?;
    }
    if spec.has_cgroup {
        // What an init would mount itself, if it could.
        cover("sys/fs/cgroup", &detached("cgroup2", &[], NOEXEC)?)?;
        if spec.ram_size > 0 {
            let lock = detached("tmpfs", &[("mode", "1777"), ("size", "5m")], NOEXEC)?;
            put(&lock, "/run/lock", true, true)?;
        }
    }
    for (target, bytes) in &spec.tmpfs {
        let size = bytes.map(|bytes| bytes.to_string());
        let mut options = vec![("mode", "1777")];
        options.extend(size.as_deref().map(|size| ("size", size)));
        let tmpfs = detached("tmpfs", &options, SAFE)?;
        put(&tmpfs, target, true, true)?;
    }
    for path in &spec.covers {
        let target = match resolve(path, OFlags::DIRECTORY) {
            // Not shown after all: on another file system, or hidden by what was written above it.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
            other => other.doing(|| format!("cover {path} inside"))?,
        };
        let nothing = detached("tmpfs", &[("mode", "0000"), ("size", "4k")], SAFE | RDONLY)?;
        attach(&nothing, &target).doing(|| format!("cover {path} inside"))?;
    }
    for one in picked {
        match put(&one.mount, &one.target, one.directory, one.make) {
            // A read-only tree without the file goes without ours.
            Err(error) if one.text && error.errno == Some(Errno::EROFS) => {}
            other => other?,
        }
    }
    masks.cover(&spec.masked, true)?;
    std::env::set_current_dir("/").doing(|| "change to / inside")
}

const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
const SAFE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Mount, UTS, IPC and cgroup namespaces of our own; the cgroup that we are in becomes the root of the
/// last. By way of the kept mount namespace if `may` be: what is copied is then next to nothing.
fn new_namespaces(may: bool) -> Result<()> {
    let doing = || "make namespaces";
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    if let Some(kept) = may.then(kept::find).flatten()
        && setns(&kept, CloneFlags::CLONE_NEWNS).is_ok()
    {
        return unshare(all).doing(doing);
    }
    unshare(all).doing(doing)?;
    // Our caller may be in a chroot; the mount namespace's own root is what is to be changed, as
    // joining a mount namespace leads there. Joining the one that one is in does, too.
    let namespace = Namespace::Mnt.ours().doing(|| "open our mount namespace")?;
    setns(&namespace, CloneFlags::CLONE_NEWNS).doing(|| "go to the root of our mount namespace")?;
    // Slave, not private: a private copy would pin what the host unmounts. All of it: what stayed
    // shared would be unmounted on the host when we let go of it.
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .doing(|| "make our mounts slaves of the host's")
}

fn change_root(live: &OwnedFd) -> std::result::Result<(), Errno> {
    let here = directory(Path::new("/")).map_err(IntoErrno::into_errno)?;
    attach(live, &here)?;
    pivot(live)
}

const NOEXEC: MountAttrFlags = SAFE.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

fn procfs() -> Result<OwnedFd> {
    detached("proc", &[], NOEXEC).map_err(|error| match error.errno {
        Some(Errno::EPERM) => error.hint(
            "in a user namespace only where nothing is mounted over parts of the host's /proc",
        ),
        _ => error,
    })
}

/// The kernel's file systems before they are mounted, and nodes for /dev where none can be made: in a
/// user's world. There /proc and /sys are only to be had while the host's own are in sight.
fn kernel(spec: &Spec) -> Result<(Kernel, Option<Nodes>)> {
    let proc = procfs()?;
    if !crate::kernel::proc::in_user_namespace() {
        let (sys, dev) = (sysfs()?, nodes::devices(0, &spec.devices)?);
        return Ok((Kernel { proc, sys, dev }, None));
    }
    let sys = match sysfs() {
        // The network is not the world's: the host's own /sys shows it as well.
        Err(error) if error.errno == Some(Errno::EPERM) => {
            clone_of(Path::new("/sys"), true).doing(|| "bind the host's /sys")?
        }
        other => other?,
    };
    let given = dev::pick_up(&spec.devices)?;
    let dev = nodes::without_nodes(0)?;
    given.make_room(&dev)?;
    Ok((Kernel { proc, sys, dev }, Some(given)))
}

/// /sys as the network namespace that we are in shows it.
///
/// # Errors
/// The kernel makes none.
pub(super) fn sysfs() -> Result<OwnedFd> {
    detached("sysfs", &[], NOEXEC | RDONLY)
}

/// /proc, /sys and /dev, made anew.
fn kernel_file_systems(kernel: &Kernel, nodes: Option<Nodes>) -> Result<()> {
    cover("proc", &kernel.proc)?;
    cover("sys", &kernel.sys)?;
    cover("dev", &kernel.dev)?;
    if let Some(nodes) = nodes {
        nodes.bind(&kernel.dev)?;
    }
    let pts = [
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", "5"),
    ];
    let nosuid_noexec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    cover("dev/pts", &detached("devpts", &pts, nosuid_noexec)?)?;
    cover("dev/shm", &detached("tmpfs", &[("mode", "1777")], SAFE)?)?;
    if let Ok(mqueue) = detached("mqueue", &[], NOEXEC) {
        cover("dev/mqueue", &mqueue)?; // A kernel may be without.
    }
    Ok(())
}

/// Opens a path below our root, which is the subhost's; no link may be on the way.
fn resolve(path: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    openat2(
        CWD,
        Path::new("/").join(path.trim_start_matches('/')),
        OFlags::PATH | OFlags::CLOEXEC | flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(IntoErrno::into_errno)
}

/// Mounts over a directory or file that every tree has; a missing directory is made.
fn cover(path: &str, mount: &OwnedFd) -> Result<()> {
    let target = match resolve(path, OFlags::empty()) {
        Err(Errno::ENOENT) => {
            mkdirat(CWD, Path::new("/").join(path), Mode::from_raw_mode(0o755)).map_err(|e| {
                Error::sys(format!("make /{path} inside"), e.into_errno())
                    .hint("the tree needs the directories dev, proc, run and sys")
            })?;
            resolve(path, OFlags::empty())
        }
        other => other,
    };
    target
        .and_then(|target| attach(mount, &target))
        .map_err(|errno| {
            let error = Error::sys(format!("mount on /{path} inside"), errno);
            match errno {
                Errno::ELOOP => error.hint(format!(
                    "/{path} is a link in this tree: make it a directory"
                )),
                Errno::ENOTDIR | Errno::EINVAL => {
                    error.hint(format!("/{path} is not a directory in this tree"))
                }
                _ => error,
            }
        })
}

/// Mounts on a path that the administrator named; links inside are followed inside. What is
/// missing is made, so that there is something to mount on.
fn put(mount: &OwnedFd, target: &str, directory: bool, make: bool) -> Result<()> {
    let doing = || format!("mount on {} inside", shown(target));
    let path = Path::new(target);
    let open = || within(path, OFlags::PATH);
    let found = match open() {
        Err(Errno::ENOENT) if make => {
            make_missing(path, directory).doing(doing)?;
            open()
        }
        Err(Errno::ENOENT) => return Ok(()),
        other => other,
    };
    let found = found.doing(doing)?;
    attach(mount, &found).map_err(|errno| {
        let error = Error::sys(doing(), errno);
        match errno {
            Errno::EINVAL | Errno::ENOTDIR => {
                error.hint("a directory goes on a directory, a file on a file")
            }
            _ => error,
        }
    })
}

/// Opens a path inside. Links are followed, but for those of /proc that are no paths: they lead to
/// whatever a process has open, which may be the host's.
fn within(path: &Path, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    openat2(
        CWD,
        path,
        OFlags::CLOEXEC | flags,
        match flags.contains(OFlags::CREATE) {
            true => Mode::from_raw_mode(0o644),
            false => Mode::empty(),
        },
        ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(IntoErrno::into_errno)
}

fn make_missing(path: &Path, directory: bool) -> std::result::Result<(), Errno> {
    if directory {
        return make_directories(path);
    }
    // A dangling link is common: /etc/resolv.conf into /run.
    let real = std::fs::read_link(path).map_or_else(
        |_| path.to_owned(),
        |link| path.parent().unwrap_or(Path::new("/")).join(link),
    );
    if let Some(parent) = real.parent() {
        make_directories(parent)?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
    within(&real, flags).map(drop)
}

fn make_directories(path: &Path) -> std::result::Result<(), Errno> {
    let Err(Errno::ENOENT) = within(path, OFlags::PATH | OFlags::DIRECTORY) else {
        return Ok(()); // There, or not to be made: opening it says why.
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::ENOENT); // Ends in `..`.
    };
    make_directories(parent)?;
    let parent = within(parent, OFlags::PATH | OFlags::DIRECTORY)?;
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => other.map_err(IntoErrno::into_errno),
    }
}

/// Binds a terminal's slave on /dev/console.
///
/// # Errors
/// The failed call.
pub fn console(slave: &OwnedFd) -> Result<()> {
    let bind = || -> std::result::Result<(), Errno> {
        let path = Path::new("/dev/console");
        File::create_new(path).map_err(IntoErrno::into_errno)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let mount = open_tree(slave, "", flags).map_err(IntoErrno::into_errno)?;
        attach(&mount, &resolve("dev/console", OFlags::empty())?)
    };
    bind().doing(|| "make /dev/console")
}
