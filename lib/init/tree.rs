//! The mount namespace of a subhost: its root, and the file systems that every system expects.
//!
//! The tree is hostile. So the mounts from the host are made detached first, then the root is changed for
//! good, and only then are paths inside resolved: no path leads back to the host, whatever symbolic links
//! it contains.

use super::masks::Masks;
use super::pick::{FileKind, Owner, Picked, Piece, mount_new, pick_up};
use super::spec::{Mount, Op, Own, RDONLY, SAFE, Spec, Way};
use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::kernel::dirs::make_missing_at;
use crate::kernel::mounts::{attach, mount_detached, open_directory, pivot_root};
use crate::kernel::proc::Namespace;
use crate::kernel::resolve::{open_without_links, open_without_magic_links};
use crate::kernel::{pinned, terminal};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Enters new namespaces, makes the root of the spec its root, and does the operations of the spec. `picked` are the
/// detached mounts if the caller has made them, as for a user namespace.
///
/// # Errors
/// The failed operation, with its object.
pub fn assemble(spec: &Spec, network: Option<&OwnedFd>, picked: Option<Picked>) -> Result<()> {
    if let Some(network) = network {
        setns(network, CloneFlags::CLONE_NEWNET).doing(|| "join the network namespace")?;
    }
    let base = match picked {
        // In a user namespace we cannot join the pinned mount namespace.
        Some(_) => Base::Current,
        None => Base::Pinned,
    };
    let Picked { root, mut pieces } = match picked {
        Some(picked) => picked,
        None => pick_up(spec, Owner::Us)?.0,
    };
    new_namespaces(&spec.namespaces, base)?;
    // A user namespace can mount /proc only while that of the host is fully visible, so before the root
    // changes.
    for (op, piece) in spec.ops.iter().zip(&mut pieces) {
        match op {
            Op::Mount(mount) if mount.fstype == "proc" && piece.is_none() => {
                *piece = Some(Piece::Mount(mount_new(mount)?));
            }
            _ => {}
        }
    }
    change_root(&root).doing(|| format!("make {} the root", shown(&spec.root)))?;
    let mut masks = Masks::default();
    for (op, piece) in spec.ops.iter().zip(pieces) {
        do_op(op, piece, &mut masks)?;
    }
    std::env::set_current_dir("/").doing(|| "change to / inside")
}

/// Does one operation. Our root is that of the subhost now, so that no path leads back to the host.
fn do_op(op: &Op, piece: Option<Piece>, masks: &mut Masks) -> Result<()> {
    match (op, piece) {
        (Op::Hostname(name), _) => {
            nix::unistd::sethostname(name).doing(|| format!("set the host name {name}"))
        }
        (Op::Mount(mount), piece) => mount_op(mount, piece, masks),
        (Op::Dev(_), Some(Piece::Dev(dev, nodes))) => {
            mount_over("/dev", &dev)?;
            if let Some(nodes) = nodes {
                nodes.bind(&dev)?;
            }
            masks.add_mount("/dev", dev);
            Ok(())
        }
        (Op::Bind(bind), Some(Piece::Bind(mount, kind))) => {
            let missing = match bind.make {
                true => Missing::Make(kind),
                false => Missing::Skip,
            };
            match mount_named(&mount, &bind.at, missing) {
                // A generated text is left out if the read-only tree does not have the file.
                Err(error) if bind.text && error.errno == Some(Errno::EROFS) => Ok(()),
                other => other,
            }
        }
        (Op::Mask(paths), _) => masks.mask(paths),
        (Op::ReadOnly { paths, but }, _) => masks.protect(paths, but.as_deref()),
        (Op::Cover(path), _) => cover_directory(path),
        // `pick_up` makes a mount for each of these.
        (Op::Dev(_) | Op::Bind(_), _) => Err(terminal::lost()),
    }
}

/// Mounts a file system of the kernel, or one that was mounted detached before.
fn mount_op(mount: &Mount, piece: Option<Piece>, masks: &mut Masks) -> Result<()> {
    let made = match piece {
        Some(Piece::Mount(made)) => Ok(made),
        _ => mount_new(mount),
    };
    let made = match made {
        Err(_) if mount.optional => return Ok(()),
        made => made?,
    };
    match mount.way {
        Way::Plain => mount_over(&mount.at, &made)?,
        Way::Named => mount_named(&made, &mount.at, Missing::Make(FileKind::Directory))?,
    }
    masks.add_mount(&mount.at, made);
    Ok(())
}

/// Covers a directory with an empty one that nobody may enter.
fn cover_directory(path: &str) -> Result<()> {
    let doing = || format!("cover {path} inside");
    let target = match open_plain(path, OFlags::DIRECTORY) {
        // It is not visible: it is on another file system, or hidden by what was written above it.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        other => other.doing(doing)?,
    };
    let attributes = MountAttrFlags::from_bits_retain(SAFE | RDONLY);
    let nothing = mount_detached("tmpfs", &[("mode", "0000"), ("size", "4k")], attributes)?;
    attach(&nothing, &target).doing(doing)
}

/// The mount namespace that the new one is a copy of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    /// The pinned one if there is one: the copy then takes almost no time.
    Pinned,
    /// That of this process.
    Current,
}

/// Enters a new mount namespace and the namespaces of `own`.
fn new_namespaces(own: &[Own], base: Base) -> Result<()> {
    let doing = || "make namespaces";
    let flag = |kind: &Own| match kind {
        Own::Uts => CloneFlags::CLONE_NEWUTS,
        Own::Ipc => CloneFlags::CLONE_NEWIPC,
        Own::Cgroup => CloneFlags::CLONE_NEWCGROUP,
    };
    let all = own.iter().map(flag).collect::<CloneFlags>() | CloneFlags::CLONE_NEWNS;
    if base == Base::Pinned
        && let Some(pinned) = pinned::open()
        && setns(&pinned, CloneFlags::CLONE_NEWNS).is_ok()
    {
        return unshare(all).doing(doing);
    }
    unshare(all).doing(doing)?;
    // The tool may be in a chroot. Joining a mount namespace, even our own, leads to its root, which is the
    // one to change.
    let namespace = Namespace::Mnt
        .open_own()
        .doing(|| "open our mount namespace")?;
    setns(&namespace, CloneFlags::CLONE_NEWNS).doing(|| "go to the root of our mount namespace")?;
    // Slave, because a private copy would keep mounts that the host unmounts. Recursively, because
    // unmounting a shared mount here would unmount it on the host.
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .doing(|| "make our mounts slaves of the host's")
}

/// Mounts the root on / and makes it our root.
fn change_root(live: &OwnedFd) -> std::result::Result<(), Errno> {
    let here = open_directory(Path::new("/")).map_err(IntoErrno::into_errno)?;
    attach(live, &here)?;
    pivot_root(live)
}

/// Opens a path inside; no symbolic link may be on the way.
fn open_plain(path: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    let path = Path::new("/").join(path.trim_start_matches('/'));
    open_without_links(CWD, &path, flags, ResolveFlags::empty())
}

/// Mounts on a directory or file that every tree has. A missing directory is made.
fn mount_over(path: &str, mount: &OwnedFd) -> Result<()> {
    let path = path.trim_start_matches('/');
    let target = match open_plain(path, OFlags::empty()) {
        Err(Errno::ENOENT) => {
            mkdirat(CWD, Path::new("/").join(path), Mode::from_raw_mode(0o755)).map_err(|e| {
                Error::sys(format!("make /{path} inside"), e.into_errno())
                    .hint("the tree needs the directories dev, proc, run and sys")
            })?;
            open_plain(path, OFlags::empty())
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

/// What to do about a missing mount point.
#[derive(Clone, Copy)]
enum Missing {
    /// Make a directory or an empty file.
    Make(FileKind),
    /// Leave the mount out.
    Skip,
}

/// Mounts on a path that the administrator chose. Symbolic links are followed inside.
fn mount_named(mount: &OwnedFd, target: &str, missing: Missing) -> Result<()> {
    let doing = || format!("mount on {} inside", shown(target));
    let path = Path::new(target);
    let open = || open_without_magic_links(path, OFlags::PATH);
    let found = match (open(), missing) {
        (Err(Errno::ENOENT), Missing::Make(kind)) => {
            make_mount_point(path, kind).doing(doing)?;
            open()
        }
        (Err(Errno::ENOENT), Missing::Skip) => return Ok(()),
        (other, _) => other,
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

/// Makes a mount point and the directories above it.
fn make_mount_point(path: &Path, kind: FileKind) -> std::result::Result<(), Errno> {
    if kind == FileKind::Directory {
        return make_directories(path);
    }
    // A dangling symbolic link is common: /etc/resolv.conf points into /run. The file is made where it
    // points.
    let real = std::fs::read_link(path).map_or_else(
        |_| path.to_owned(),
        |link| path.parent().unwrap_or(Path::new("/")).join(link),
    );
    if let Some(parent) = real.parent() {
        make_directories(parent)?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
    open_without_magic_links(&real, flags).map(drop)
}

/// Makes a directory and those above it, unless they exist.
fn make_directories(path: &Path) -> std::result::Result<(), Errno> {
    let Err(Errno::ENOENT) = open_without_magic_links(path, OFlags::PATH | OFlags::DIRECTORY)
    else {
        return Ok(()); // It exists, or the mount reports the error.
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::ENOENT); // The path ends in `..`.
    };
    make_directories(parent)?;
    let parent = open_without_magic_links(parent, OFlags::PATH | OFlags::DIRECTORY)?;
    make_missing_at(&parent, name, 0o755).map_err(IntoErrno::into_errno)
}

/// Binds the slave of a terminal on /dev/console.
///
/// # Errors
/// The failed call.
pub fn bind_console(slave: &OwnedFd) -> Result<()> {
    let bind = || -> std::result::Result<(), Errno> {
        let path = Path::new("/dev/console");
        File::create_new(path).map_err(IntoErrno::into_errno)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let mount = open_tree(slave, "", flags).map_err(IntoErrno::into_errno)?;
        attach(&mount, &open_plain("dev/console", OFlags::empty())?)
    };
    bind().doing(|| "make /dev/console")
}
