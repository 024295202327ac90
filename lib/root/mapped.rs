//! Roots of subhosts with a user namespace: what has the ids 0 to 65535 on disk has those of the
//! subhost's range where it is mounted. Nothing on disk is changed for that.
//!
//! A bind is an id-mapped mount itself; an overlay cannot be one, but its layers can.

use super::mounted::{attach, mount_error};
use crate::base::error::{Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::mountinfo::Table;
use crate::kernel::userns;
use crate::plan::Step;
use crate::plan::steps::is_pending;
use crate::plan::steps::overlay::{Overlay, common};
use crate::sys;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstatvfs, mkdirat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

type Tried<T> = std::result::Result<T, Errno>;

/// A copy of the mount at `path`, and of all below it if `recursive`, with its ids mapped; mounted
/// nowhere yet.
pub(super) fn clone_of(
    path: &Path,
    recursive: bool,
    attributes: u64,
    userns: &OwnedFd,
) -> Tried<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(CWD, path, flags).map_err(IntoErrno::into_errno)?;
    sys::mount_map_tree(&tree, attributes, nix::libc::MS_SLAVE, userns)?;
    Ok(tree)
}

/// Can what the steps mount be mapped to other ids? As far as it is there already; what is not, or is not to be
/// had, is said when it is mounted.
///
/// # Errors
/// The mount that cannot be.
pub fn can_be_mapped(steps: &[Step], base: u32, table: &Table) -> Result<()> {
    let userns = userns::make(base)?;
    for step in steps {
        let (paths, recursive) = step.sources();
        if paths.iter().any(|path| is_pending(path, steps)) {
            continue;
        }
        for path in paths {
            if let Err(errno @ (Errno::EINVAL | Errno::EPERM)) =
                clone_of(path, recursive, 0, &userns)
            {
                return Err(impossible(path, recursive, errno, table, &userns));
            }
        }
    }
    Ok(())
}

/// Can what is mounted at `path` have its ids mapped by a user namespace?
///
/// # Errors
/// The errno of the attempt.
pub fn can_map(path: &Path, userns: &OwnedFd) -> Tried<()> {
    clone_of(path, false, 0, userns).map(drop)
}

/// Names the mount that cannot be mapped.
fn impossible(
    path: &Path,
    recursive: bool,
    errno: Errno,
    table: &Table,
    userns: &OwnedFd,
) -> Error {
    let holding = table.find_containing(path);
    let below = holding.iter().flat_map(|mount| table.below(mount.id));
    let below = below.filter(|mount| recursive && mount.at.starts_with(path));
    let bad = holding.into_iter().chain(below).find(|mount| {
        let at = if mount.at.starts_with(path) {
            mount.at.as_path()
        } else {
            path
        };
        clone_of(at, false, 0, userns).is_err()
    });
    let (fstype, at) = bad.map_or(("its file system", path), |mount| {
        (mount.fstype.as_str(), mount.at.as_path())
    });
    unmapped(&format!("{fstype} on {}", shown(at)), errno)
}

/// What the error of a mount that cannot be mapped begins with.
const UNMAPPED: &str = "map the ids of";

/// Is it the error of a mount whose ids cannot be mapped?
pub fn is_unmapped(error: &Error) -> bool {
    error.what.contains(UNMAPPED)
}

fn unmapped(what: &str, errno: Errno) -> Error {
    let error = Error::sys(format!("{UNMAPPED} {what}"), errno);
    match errno {
        Errno::EINVAL => error.hint("this kernel cannot do that with this file system: USERNS=no"),
        Errno::EPERM => error.hint("they are mapped already: USERNS=no"),
        _ => error,
    }
}

/// A tree with its submounts, mapped.
pub(super) fn rbind(source: &Path, read_only: bool, base: u32) -> Result<OwnedFd> {
    let attributes = if read_only { sys::RDONLY } else { 0 };
    let userns = userns::make(base)?;
    match clone_of(source, true, attributes, &userns) {
        Ok(tree) => Ok(tree),
        Err(errno @ (Errno::EINVAL | Errno::EPERM)) => {
            Err(impossible(source, true, errno, &Table::read()?, &userns))
        }
        Err(errno) => Err(mount_error(&shown(source), source, errno)),
    }
}

/// Makes and mounts an overlay over mapped layers.
///
/// The outer error is for what only mapping needs, the inner one is overlayfs's.
pub(super) fn overlay(overlay: &Overlay, options: &[(&str, &str)], base: u32) -> Result<Tried<()>> {
    let Overlay {
        lowers, upper, at, ..
    } = overlay;
    let userns = userns::make(base)?;
    let mapped = |path: &Path| match clone_of(path, false, 0, &userns) {
        Err(errno @ (Errno::EINVAL | Errno::EPERM)) => {
            Err(impossible(path, false, errno, &Table::read()?, &userns))
        }
        Err(errno) => Err(mount_error("an overlay", at, errno)),
        Ok(tree) => Ok(tree),
    };
    let mut layers = Layers::default();
    for lower in lowers {
        layers.lowers.push(mapped(lower)?);
    }
    if let Some((upper, work)) = upper {
        // They must be of one mount.
        let common = common(upper, work);
        let tree = mapped(&common)?;
        for (key, path) in [("upperdir", upper), ("workdir", work)] {
            let below = path.strip_prefix(&common).unwrap_or(path);
            let dir = openat2(
                &tree,
                Path::new(".").join(below),
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
            );
            let dir = dir.map_err(|e| Error::sys(format!("use {}", shown(path)), e.into_errno()));
            layers.upper.push((key, dir?, below.to_owned()));
        }
        layers.tree = Some(tree);
    }
    let source = overlay.source(base);
    let make = |given: &[Given]| create(given, &source, upper.is_none(), options, base);
    let made = match aside(|| make(&layers.by_descriptor())) {
        // Before 6.15 layers must be mounted somewhere.
        Err(Errno::EINVAL) => aside(|| make(&layers.by_path()?)),
        other => other,
    };
    let overlay = match made {
        Ok(overlay) => overlay,
        Err(errno) => return Ok(Err(errno)),
    };
    let read_only =
        fstatvfs(&overlay).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    if upper.is_some() && read_only {
        return Err(Error::new(
            Exit::Failed,
            format!("the overlay on {} came up read-only", shown(at)),
        )
        .hint("the kernel's log says why: dmesg"));
    }
    Ok(attach(&overlay, at))
}

/// Mapped copies of all that an overlay is made of.
#[derive(Default)]
struct Layers {
    lowers: Vec<OwnedFd>,
    /// What upper and work directory lie in.
    tree: Option<OwnedFd>,
    /// These two: key, directory, and where in `tree`.
    upper: Vec<(&'static str, OwnedFd, PathBuf)>,
}

/// A setting of overlayfs.
enum Given<'a> {
    Directory(&'static str, &'a OwnedFd),
    Text(&'static str, String),
}

impl Layers {
    fn by_descriptor(&self) -> Vec<Given<'_>> {
        let lowers = self.lowers.iter();
        let lowers = lowers.map(|layer| Given::Directory("lowerdir+", layer));
        let upper = self.upper.iter();
        let upper = upper.map(|(key, dir, _)| Given::Directory(key, dir));
        lowers.chain(upper).collect()
    }

    /// Puts the layers into a mount namespace of the calling thread's own, at short paths.
    fn by_path(&self) -> Tried<Vec<Given<'_>>> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none)?;
        mount(none, "/tmp", Some("tmpfs"), MsFlags::empty(), none)?;
        let put = |tree: &OwnedFd, path: &str| {
            mkdirat(CWD, path, Mode::from_raw_mode(0o700)).map_err(IntoErrno::into_errno)?;
            attach(tree, Path::new(path))
        };
        let mut paths = Vec::new();
        for (index, layer) in self.lowers.iter().enumerate() {
            let path = format!("/tmp/{index}");
            put(layer, &path)?;
            paths.push(path);
        }
        let mut given = vec![Given::Text("lowerdir", paths.join(":"))];
        if let Some(tree) = &self.tree {
            put(tree, "/tmp/u")?;
        }
        for (key, _, below) in &self.upper {
            let path = Path::new("/tmp/u").join(below);
            given.push(Given::Text(key, path.to_string_lossy().into_owned()));
        }
        Ok(given)
    }
}

/// Does `work` on a thread whose credentials and namespaces nobody gets back.
fn aside<T: Send>(work: impl FnOnce() -> Tried<T> + Send) -> Tried<T> {
    std::thread::scope(
        |scope| match std::thread::Builder::new().spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or(Err(Errno::EIO)),
            Err(e) => Err(e.into_errno()),
        },
    )
}

/// An overlay, mounted nowhere yet. It makes its files in the work directory as who made it, and our
/// own ids have no place in that: it would come up read-only.
fn create(
    given: &[Given],
    source: &str,
    read_only: bool,
    options: &[(&str, &str)],
    base: u32,
) -> Tried<OwnedFd> {
    sys::make_files_as(base)?;
    let make = || -> rustix::io::Result<OwnedFd> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(fs.as_fd(), "source", source)?;
        for setting in given {
            match setting {
                Given::Directory(key, dir) => fsconfig_set_fd(fs.as_fd(), *key, dir.as_fd())?,
                Given::Text(key, text) => fsconfig_set_string(fs.as_fd(), *key, text.as_str())?,
            }
        }
        for (key, value) in options {
            fsconfig_set_string(fs.as_fd(), *key, *value)?;
        }
        fsconfig_create(fs.as_fd())?;
        let attributes = match read_only {
            true => MountAttrFlags::MOUNT_ATTR_RDONLY,
            false => MountAttrFlags::empty(),
        };
        fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make().map_err(IntoErrno::into_errno)
}
