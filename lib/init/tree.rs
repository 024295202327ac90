//! The mount namespace of a subhost: its root, and what every system expects below it.
//!
//! The tree is hostile. So what comes from the host is first picked up as detached mounts, then
//! the root is changed for good, and only then is anything inside looked at: from there no path,
//! whatever links it goes through, leads back to the host.

use super::masks::Masks;
use super::pick::{For, Picked, Piece, make, pick_up};
use super::spec::{Op, Own, RDONLY, SAFE, Spec, Way};
use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::kernel::mounts::{attach, mount_detached, open_directory, pivot_root};
use crate::kernel::proc::Namespace;
use crate::kernel::{pinned, terminal};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Enters namespaces of its own, makes the root its root, and does what the spec says of it. `picked`: what has been
/// picked up before, by who could.
///
/// # Errors
/// The operation that failed, with its object.
pub fn assemble(spec: &Spec, network: Option<&OwnedFd>, picked: Option<Picked>) -> Result<()> {
    if let Some(network) = network {
        setns(network, CloneFlags::CLONE_NEWNET).doing(|| "join the network namespace")?;
    }
    let crosses = picked.is_some();
    let Picked { root, pieces } = match picked {
        Some(picked) => picked,
        None => pick_up(spec, For::Us)?.0,
    };
    new_namespaces(&spec.namespaces, !crosses)?;
    // In the user namespace there is a /proc to be had only where all of the host's is to be seen.
    let mut pieces = pieces;
    for (op, piece) in spec.ops.iter().zip(&mut pieces) {
        match op {
            Op::Mount(mount) if mount.fstype == "proc" && piece.is_none() => {
                *piece = Some(Piece::Mount(make(mount)?));
            }
            _ => {}
        }
    }
    change_root(&root).doing(|| format!("make {} the root", shown(&spec.root)))?;
    let mut masks = Masks::default();
    for (op, piece) in spec.ops.iter().zip(pieces) {
        operate(op, piece, &mut masks)?;
    }
    std::env::set_current_dir("/").doing(|| "change to / inside")
}

/// Does one operation; our root is the subhost's by now, so that no path leads back to the host.
fn operate(op: &Op, piece: Option<Piece>, masks: &mut Masks) -> Result<()> {
    match (op, piece) {
        (Op::Hostname(name), _) => {
            nix::unistd::sethostname(name).doing(|| format!("set the host name {name}"))
        }
        (Op::Mount(mount), piece) => {
            let made = match piece {
                Some(Piece::Mount(made)) => Ok(made),
                _ => make(mount),
            };
            let made = match made {
                Err(_) if mount.optional => return Ok(()),
                made => made?,
            };
            match mount.way {
                Way::Plain => cover(&mount.at, &made)?,
                Way::Named => put(&made, &mount.at, true, true)?,
            }
            masks.has(&mount.at, made);
            Ok(())
        }
        (Op::Dev(_), Some(Piece::Dev(dev, nodes))) => {
            cover("/dev", &dev)?;
            if let Some(nodes) = nodes {
                nodes.bind(&dev)?;
            }
            masks.has("/dev", dev);
            Ok(())
        }
        (Op::Bind(bind), Some(Piece::Bind(mount, directory))) => {
            match put(&mount, &bind.at, directory, bind.make) {
                // A read-only tree without the file goes without ours.
                Err(error) if bind.text && error.errno == Some(Errno::EROFS) => Ok(()),
                other => other,
            }
        }
        (Op::Mask(paths), _) => masks.cover(paths),
        (Op::ReadOnly { paths, but }, _) => masks.read_only(paths, but.as_deref()),
        (Op::Cover(path), _) => {
            let target = match resolve(path, OFlags::DIRECTORY) {
                // Not shown after all: on another file system, or hidden by what was written above it.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
                other => other.doing(|| format!("cover {path} inside"))?,
            };
            let attributes = MountAttrFlags::from_bits_retain(SAFE | RDONLY);
            let nothing = mount_detached("tmpfs", &[("mode", "0000"), ("size", "4k")], attributes)?;
            attach(&nothing, &target).doing(|| format!("cover {path} inside"))
        }
        // What nobody has picked up is lost on the way.
        (Op::Dev(_) | Op::Bind(_), _) => Err(terminal::lost()),
    }
}

/// A mount namespace of our own, and those of `own`. By way of the kept mount namespace if `may` be: what is
/// copied is then next to nothing.
fn new_namespaces(own: &[Own], may: bool) -> Result<()> {
    let doing = || "make namespaces";
    let flag = |kind: &Own| match kind {
        Own::Uts => CloneFlags::CLONE_NEWUTS,
        Own::Ipc => CloneFlags::CLONE_NEWIPC,
        Own::Cgroup => CloneFlags::CLONE_NEWCGROUP,
    };
    let all = own.iter().map(flag).collect::<CloneFlags>() | CloneFlags::CLONE_NEWNS;
    if let Some(pinned) = may.then(pinned::open).flatten()
        && setns(&pinned, CloneFlags::CLONE_NEWNS).is_ok()
    {
        return unshare(all).doing(doing);
    }
    unshare(all).doing(doing)?;
    // Our caller may be in a chroot; the mount namespace's own root is what is to be changed, as
    // joining a mount namespace leads there. Joining the one that one is in does, too.
    let namespace = Namespace::Mnt
        .open_own()
        .doing(|| "open our mount namespace")?;
    setns(&namespace, CloneFlags::CLONE_NEWNS).doing(|| "go to the root of our mount namespace")?;
    // Slave, not private: a private copy would pin what the host unmounts. All of it: what stayed
    // shared would be unmounted on the host when we let go of it.
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .doing(|| "make our mounts slaves of the host's")
}

fn change_root(live: &OwnedFd) -> std::result::Result<(), Errno> {
    let here = open_directory(Path::new("/")).map_err(IntoErrno::into_errno)?;
    attach(live, &here)?;
    pivot_root(live)
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
    let path = path.trim_start_matches('/');
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
    let open = || open_inside(path, OFlags::PATH);
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
fn open_inside(path: &Path, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
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
    open_inside(&real, flags).map(drop)
}

fn make_directories(path: &Path) -> std::result::Result<(), Errno> {
    let Err(Errno::ENOENT) = open_inside(path, OFlags::PATH | OFlags::DIRECTORY) else {
        return Ok(()); // There, or not to be made: opening it says why.
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::ENOENT); // Ends in `..`.
    };
    make_directories(parent)?;
    let parent = open_inside(parent, OFlags::PATH | OFlags::DIRECTORY)?;
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
