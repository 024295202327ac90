//! Root file systems: from settings to mount steps, and each step's present, act, undo and shell
//! form. Never follows a link below a subhost's own tree, never unmounts what it did not mount.

mod image;
mod mapped;
mod overlay;
mod partitions;
pub mod shell;
mod undo;

pub use undo::undo;
use undo::{slave, unmount};

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::mountinfo::Mark;
use crate::kernel::mountinfo::{self, Mount, Mounts, Table};
use crate::plan::{Planned, Presence, Step};
use crate::sys;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use sys_mount::{FilesystemType, MountFlags};

/// Is what a step makes there? Steps that are no mounts are answered for by their callers.
///
/// # Errors
/// The kernel could not be asked.
pub fn present(planned: Planned, mounts: &Mounts) -> Result<Presence> {
    if let Step::Directory { path, .. } = planned.step {
        return Ok(match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => Presence::Ours,
            Ok(_) => Presence::Foreign(format!("{} is not a directory", shown(path))),
            Err(_) => Presence::Absent,
        });
    }
    let Some(at) = mount_point(planned.step) else {
        return Ok(Presence::Absent);
    };
    match planned.mark {
        Some(mark) if mountinfo::is_marked(at, mark) => return Ok(Presence::Ours),
        // It may have been moved with its directory.
        Some(_) => {}
        None if mountinfo::is_mount_point(at) == Some(false) => return Ok(Presence::Absent),
        None => {}
    }
    Ok(match found(planned, mounts.table()?) {
        Found::Nothing => Presence::Absent,
        Found::Mount(_) => Presence::Ours,
        Found::Foreign(what) => Presence::Foreign(what),
    })
}

/// Can what is mounted at `path` have its ids mapped by a user namespace?
///
/// # Errors
/// The errno of the attempt.
pub fn can_map(path: &Path, userns: &OwnedFd) -> std::result::Result<(), Errno> {
    mapped::clone_of(path, false, 0, userns).map(drop)
}

/// The mount that a step made, if it is there.
pub fn mount_of<'a>(planned: Planned, table: &'a Table) -> Option<&'a Mount> {
    match found(planned, table) {
        Found::Mount(mount) => Some(mount),
        _ => None,
    }
}

/// The file behind a loop device `/dev/loopN`, as the device shows it; none if it has none.
pub fn backing_file(device: &Path) -> Option<PathBuf> {
    image::backing_file(&Path::new("/sys/block").join(device.file_name()?))
}

/// What is where a step mounts something.
enum Found<'a> {
    Nothing,
    Mount(&'a Mount),
    Foreign(String),
}

fn found<'a>(planned: Planned, table: &'a Table) -> Found<'a> {
    let step = planned.step;
    // A check leaves nothing that could be there; the others are no mounts.
    let Some(at) = mount_point(step) else {
        return Found::Nothing;
    };
    // Its directory may have been moved.
    if let Some(mount) = planned.mark.and_then(|mark| table.marked(mark)) {
        return Found::Mount(mount);
    }
    match table.at(at) {
        None => Found::Nothing,
        Some(mount) if makes(step, mount, table) => Found::Mount(mount),
        Some(mount) => Found::Foreign(format!(
            "{} is already a mount point: {}",
            shown(at),
            mount.describe()
        )),
    }
}

/// The mark of what a step made.
pub fn mark(step: &Step) -> Option<Mark> {
    mount_point(step).and_then(mountinfo::mark)
}

/// Where a step mounts something; none if it is another kind of step.
fn mount_point(step: &Step) -> Option<&Path> {
    match step {
        Step::Image { at, .. }
        | Step::Tmpfs { at, .. }
        | Step::Overlay { at, .. }
        | Step::Rbind { at, .. } => Some(at),
        _ => None,
    }
}

/// Is `mount` exactly what the step makes?
fn makes(step: &Step, mount: &Mount, table: &Table) -> bool {
    match step {
        Step::Image {
            file, read_only, ..
        } => image::backs(mount, file) && (!read_only || mount.is_read_only()),
        Step::Tmpfs { .. } => mount.fstype == "tmpfs" && mount.source == TMPFS_SOURCE,
        Step::Overlay {
            lowers,
            upper,
            ids: Some(base),
            ..
        } => {
            mount.fstype == "overlay"
                && mount.source == mapped::source(lowers, upper.as_ref(), *base)
        }
        Step::Overlay { lowers, upper, .. } => {
            let (is_lowers, is_upper, is_work) = mount.overlay_layers();
            let (upper, work) = upper.clone().unzip();
            mount.fstype == "overlay"
                && is_lowers == *lowers
                && is_upper == upper
                && is_work == work
        }
        Step::Rbind {
            source,
            read_only,
            ids,
            ..
        } => table.holding(source).is_some_and(|holding| {
            let below = source.strip_prefix(&holding.at).unwrap_or(Path::new(""));
            let root: PathBuf = holding.root.join(below).components().collect();
            mount.device == holding.device
                && mount.root == root
                && mount.is_mapped() == ids.is_some()
                && (!read_only || mount.is_read_only())
        }),
        _ => false,
    }
}

/// Is it the error of a mount whose ids cannot be mapped?
pub fn is_unmapped(error: &Error) -> bool {
    mapped::is_unmapped(error)
}

/// Can what the steps mount be mapped to other ids? As far as it is there already.
///
/// # Errors
/// The mount that cannot be.
pub fn can_be_mapped(steps: &[Step], base: u32, table: &Table) -> Result<()> {
    let userns = crate::kernel::userns::make(base)?;
    let pending = pending(steps);
    let ready = |step: &&Step| match step {
        Step::Rbind { source, .. } => !is_pending(source, &pending),
        Step::Overlay { lowers, upper, .. } => {
            let upper = upper.iter().map(|(upper, _)| upper);
            !lowers
                .iter()
                .chain(upper)
                .any(|path| is_pending(path, &pending))
        }
        _ => false,
    };
    let mut steps = steps.iter().filter(ready);
    steps.try_for_each(|step| mapped::possible(step, table, &userns))
}

/// The source that our tmpfs mounts show, so that they can be told from others'.
pub const TMPFS_SOURCE: &str = "subhost";

/// What must hold before anything is touched: sources exist, are what they should be, and are
/// used by nobody else.
///
/// `pending` are the places that earlier steps of the plan will make; what lies below them cannot
/// be looked at yet.
///
/// # Errors
/// The missing or busy object, with the remedy.
pub fn check(step: &Step, pending: &[&Path]) -> Result<()> {
    match step {
        Step::Image { file, .. } if crate::kernel::privilege::has_entered() => {
            let what = format!(
                "cannot mount the image {}: loop devices are root's",
                shown(file)
            );
            Err(Error::new(Exit::Failed, what)
                .hint("unpack it into a directory (unsquashfs, debugfs rdump), for LOWER or UPPER"))
        }
        Step::Image {
            file,
            partition,
            fstype,
            read_only,
            ..
        } => image::check(file, *partition, fstype.as_deref(), *read_only),
        Step::Overlay { lowers, upper, .. } => overlay::check(lowers, upper.as_ref(), pending),
        Step::Rbind { source, .. } if is_pending(source, pending) => Ok(()),
        Step::Rbind { source, .. } => directory(
            source,
            "the root is never made silently: make it, or set UPPER or LOWER",
        ),
        Step::Claim { path } => match std::fs::symlink_metadata(path) {
            // What of it is missing the step that uses it says, and how it is to be had.
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).doing(|| format!("use {}", shown(path)))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// All loop devices that have a file behind them, with its path as whoever attached it saw it.
pub fn all_loops() -> Vec<(PathBuf, PathBuf)> {
    image::all_attached()
}

/// Detaches a loop device; one that is in use detaches itself later.
///
/// # Errors
/// It cannot be opened or has no file.
pub fn detach_loop(device: &Path) -> Result<()> {
    image::detach(device)
}

/// The places that the steps will make, for [`check`].
pub fn pending(steps: &[Step]) -> Vec<&Path> {
    let place = |step| match step {
        &Step::Image { ref at, .. } | &Step::Tmpfs { ref at, .. } => Some(at.as_path()),
        _ => None,
    };
    steps.iter().filter_map(place).collect()
}

fn is_pending(path: &Path, pending: &[&Path]) -> bool {
    pending.iter().any(|at| path.starts_with(at))
}

fn directory(path: &Path, hint: &str) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Error::sys(format!("use {}", shown(path)), Errno::ENOTDIR)),
        Err(e) => Err(Error::sys(format!("use {}", shown(path)), e.into_errno()).hint(hint)),
    }
}

/// Does the step; what it makes is not there yet. If it fails it leaves nothing.
///
/// # Errors
/// The failed call with its object.
pub fn act(step: &Step) -> Result<()> {
    match step {
        Step::Directory { path, .. } => {
            let made = std::fs::DirBuilder::new().mode(0o755).create(path);
            match made {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                other => other.doing(|| format!("make the directory {}", shown(path))),
            }
        }
        Step::Image {
            file,
            at,
            partition,
            fstype,
            options,
            read_only,
        } => image::mount(
            file,
            at,
            *partition,
            fstype.as_deref(),
            options.as_deref(),
            *read_only,
        ),
        Step::Within { file, at, path } => within(file, at, path),
        Step::Tmpfs { at, size } => sys_mount::Mount::builder()
            .fstype(FilesystemType::Manual("tmpfs"))
            .data(&tmpfs_options(*size))
            .mount(TMPFS_SOURCE, at)
            .map(drop)
            .map_err(|e| mount_error("a tmpfs", at, e.into_errno())),
        Step::Overlay {
            lowers,
            upper,
            at,
            ids,
        } => overlay::mount(lowers, upper.as_ref(), at, *ids),
        Step::Rbind {
            source,
            at,
            read_only,
            ids,
        } => rbind(source, at, *read_only, *ids),
        Step::Claim { .. }
        | Step::Netns { .. }
        | Step::Cable { .. }
        | Step::Helper { .. }
        | Step::Routes { .. } => Ok(()),
    }
}

/// Options of the tmpfs of a volatile root.
pub(super) fn tmpfs_options(size: Option<u64>) -> String {
    let size = size.map_or(String::new(), |size| format!(",size={size}"));
    format!("mode=0755{size}")
}

fn rbind(source: &Path, at: &Path, read_only: bool, ids: Option<u32>) -> Result<()> {
    let fail = |errno| mount_error(&shown(source), at, errno);
    let tree = match ids {
        Some(base) => mapped::rbind(source, read_only, base)?,
        None => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let tree = open_tree(CWD, source, flags).map_err(|e| fail(e.into_errno()))?;
            // Set while the tree is still detached: it is never visible in a wrong state, and only
            // mount_setattr reaches submounts (a bind ignores MS_RDONLY).
            let attributes = if read_only { sys::RDONLY } else { 0 };
            sys::mount_setattr_tree(&tree, attributes, nix::libc::MS_SLAVE).map_err(fail)?;
            tree
        }
    };
    attach(&tree, at).map_err(fail)?;
    // It would keep the mount busy.
    drop(tree);
    // Attaching it to a shared parent made it shared as well.
    slave(at).map_err(|error| {
        // It gives nothing back to its source, so that it can be taken apart as it is.
        let left = Table::read().and_then(|table| {
            let top = table.at(at).map_or(0, |mount| mount.id);
            table
                .below(top)
                .iter()
                .try_for_each(|below| unmount(&below.at, false))
        });
        error.also(left.and_then(|()| unmount(at, false)).err())
    })
}

/// Moves a detached mount to a place that must not be a link.
fn attach(tree: impl std::os::fd::AsFd, at: &Path) -> std::result::Result<(), Errno> {
    move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(IntoErrno::into_errno)
}

fn within(file: &Path, at: &Path, path: &Path) -> Result<()> {
    let inner = path.strip_prefix(at).unwrap_or(path);
    let no_such = |errno: Errno| {
        let error = Error::sys(format!("use {}", shown(path)), errno);
        match errno {
            Errno::ELOOP | Errno::EXDEV => {
                error.hint("an image's own directories must not be links")
            }
            _ => error.hint(format!(
                "the image {} must hold the directories /root and /work: mount it and make /{}",
                shown(file),
                shown(inner)
            )),
        }
    };
    let dir = rustix::fs::open(
        at,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| no_such(e.into_errno()))?;
    openat2(
        &dir,
        inner,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
    )
    .map(drop)
    .map_err(|e| no_such(e.into_errno()))
}

/// A failed mount, where errno misleads with what it means there (`mount(2)` is silent on most).
pub(crate) fn mount_error(what: &str, at: &Path, errno: Errno) -> Error {
    let error = Error::sys(format!("mount {what} on {}", shown(at)), errno);
    match errno {
        Errno::ENOSPC => error.hint("perhaps too many mounts: see /proc/sys/fs/mount-max"),
        Errno::ENODEV => error.hint("the kernel does not know this file system"),
        Errno::EPERM => error.hint("needs CAP_SYS_ADMIN in this mount namespace"),
        _ => error,
    }
}

pub(crate) fn read_only_flag(read_only: bool) -> MountFlags {
    if read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    }
}
