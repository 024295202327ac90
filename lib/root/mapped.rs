//! Roots of subhosts with a user namespace. Files with the ids 0 to 65535 on disk show the ids of the
//! subhost's range at the mount point. Nothing on disk changes.
//!
//! A bind is itself an id-mapped mount (`mount_setattr(2)`). overlayfs does not support that, but its layers
//! can be id-mapped mounts.

use super::mounted::{attach, fsmount_flags, mount_error, setattr_attributes};
use crate::base::error::{Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::mountinfo::Table;
use crate::kernel::userns;
use crate::plan::Step;
use crate::plan::steps::overlay::{Overlay, common};
use crate::plan::steps::rbind::Rbind;
use crate::plan::steps::{Access, Submounts, is_pending};
use crate::sys;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstatvfs, mkdirat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

type ErrnoResult<T> = std::result::Result<T, Errno>;

/// Tells whether an errno of mount_setattr(2) says that the ids of a mount cannot be mapped: its file system
/// does not support that (EINVAL), or the mount is id-mapped already (EPERM).
fn is_unmappable(errno: Errno) -> bool {
    matches!(errno, Errno::EINVAL | Errno::EPERM)
}

/// Copies the mount at `path` and maps the ids of the copy to those of `userns`. The copy is attached
/// nowhere. `attributes` are those of mount_setattr(2).
fn clone_mapped(
    path: &Path,
    submounts: Submounts,
    attributes: u64,
    userns: &OwnedFd,
) -> ErrnoResult<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if submounts == Submounts::Included {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(CWD, path, flags).map_err(IntoErrno::into_errno)?;
    sys::mount_map_tree(&tree, attributes, nix::libc::MS_SLAVE, userns)?;
    Ok(tree)
}

/// Checks that the ids of all sources of the steps can be mapped. It skips sources that the steps have yet to
/// mount, and ignores missing ones: the mount itself reports those.
///
/// # Errors
/// The mount whose ids cannot be mapped.
pub fn check_mappable(steps: &[Step], base: u32, table: &Table) -> Result<()> {
    let userns = userns::make(base)?;
    for step in steps {
        let (paths, submounts) = step.sources();
        if paths.iter().any(|path| is_pending(path, steps)) {
            continue;
        }
        for path in paths {
            if let Err(errno) = clone_mapped(path, submounts, 0, &userns)
                && is_unmappable(errno)
            {
                let at_fault = find_unmappable(path, submounts, table, &userns);
                return Err(unmapped_error(&at_fault, errno));
            }
        }
    }
    Ok(())
}

/// Checks that the ids of the mount at `path` can be mapped to those of a user namespace.
///
/// # Errors
/// The errno of the attempt.
pub fn can_map(path: &Path, userns: &OwnedFd) -> ErrnoResult<()> {
    clone_mapped(path, Submounts::Excluded, 0, userns).map(drop)
}

/// Finds the mount at or below `path` whose ids cannot be mapped, and describes it: `TYPE on PATH`.
fn find_unmappable(path: &Path, submounts: Submounts, table: &Table, userns: &OwnedFd) -> String {
    let holding = table.find_containing(path);
    let below = holding.iter().flat_map(|mount| table.below(mount.id));
    let below =
        below.filter(|mount| submounts == Submounts::Included && mount.at.starts_with(path));
    let bad = holding.into_iter().chain(below).find(|mount| {
        let at = if mount.at.starts_with(path) {
            mount.at.as_path()
        } else {
            path
        };
        can_map(at, userns).is_err()
    });
    let (fstype, at) = bad.map_or(("its file system", path), |mount| {
        (mount.fstype.as_str(), mount.at.as_path())
    });
    format!("{fstype} on {}", shown(at))
}

/// The text that marks the error of [`unmapped_error`].
const UNMAPPED: &str = "map the ids of";

/// Tells whether an error says that the ids of a mount cannot be mapped.
pub fn is_unmapped(error: &Error) -> bool {
    error.what.contains(UNMAPPED)
}

fn unmapped_error(what: &str, errno: Errno) -> Error {
    let error = Error::sys(format!("{UNMAPPED} {what}"), errno);
    match errno {
        Errno::EINVAL => error.hint("this kernel cannot do that with this file system: USERNS=no"),
        Errno::EPERM => error.hint("they are mapped already: USERNS=no"),
        _ => error,
    }
}

/// Makes the error for a path whose ids cannot be mapped. It names the mount at fault.
fn unmapped_error_at(path: &Path, submounts: Submounts, errno: Errno, userns: &OwnedFd) -> Error {
    match Table::read() {
        Ok(table) => unmapped_error(&find_unmappable(path, submounts, &table, userns), errno),
        Err(error) => error,
    }
}

/// Copies the source of `rbind` with its submounts, with mapped ids and with the access of the step.
///
/// # Errors
/// The mount whose ids cannot be mapped; the failed call.
pub(super) fn clone_rbind(rbind: &Rbind, base: u32) -> Result<OwnedFd> {
    let source = rbind.source.as_path();
    let attributes = setattr_attributes(rbind.access());
    let userns = userns::make(base)?;
    clone_mapped(source, Submounts::Included, attributes, &userns).map_err(|errno| {
        match is_unmappable(errno) {
            true => unmapped_error_at(source, Submounts::Included, errno, &userns),
            false => mount_error(&shown(source), source, errno),
        }
    })
}

/// Mounts an overlay over id-mapped layers, whose ids begin at `base`. `options` are further options of
/// overlayfs.
///
/// # Errors
/// The outer error is that of mapping the layers, the inner one that of overlayfs.
pub(super) fn mount_overlay(
    overlay: &Overlay,
    options: &[(&str, &str)],
    base: u32,
) -> Result<ErrnoResult<()>> {
    let layers = Layers::clone_mapped(overlay, base)?;
    let creation = Creation {
        source: overlay.source(base),
        access: overlay.access(),
        options,
        base,
    };
    let made = match on_own_thread(|| creation.create(&layers.by_descriptor())) {
        // Before Linux 6.15 overlayfs takes no detached mount as a layer.
        Err(Errno::EINVAL) => on_own_thread(|| creation.create(&layers.by_path()?)),
        other => other,
    };
    let mount = match made {
        Ok(mount) => mount,
        Err(errno) => return Ok(Err(errno)),
    };
    let is_read_only =
        fstatvfs(&mount).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    if overlay.access() == Access::ReadWrite && is_read_only {
        return Err(Error::new(
            Exit::Failed,
            format!("the overlay on {} came up read-only", shown(&overlay.at)),
        )
        .hint("the kernel's log says why: dmesg"));
    }
    Ok(attach(&mount, &overlay.at))
}

/// Id-mapped copies of the layers of an overlay.
#[derive(Default)]
struct Layers {
    lowers: Vec<OwnedFd>,
    /// A copy of the mount that holds upper and work directory.
    tree: Option<OwnedFd>,
    /// The upper and the work directory: option of overlayfs, directory, path in `tree`.
    upper: Vec<(&'static str, OwnedFd, PathBuf)>,
}

/// An option of overlayfs that names a layer or layers.
enum LayerOption<'a> {
    Directory(&'static str, &'a OwnedFd),
    Text(&'static str, String),
}

impl Layers {
    fn clone_mapped(overlay: &Overlay, base: u32) -> Result<Self> {
        let userns = userns::make(base)?;
        let copy = |path: &Path| {
            let tree = clone_mapped(path, Submounts::Excluded, 0, &userns);
            tree.map_err(|errno| match is_unmappable(errno) {
                true => unmapped_error_at(path, Submounts::Excluded, errno, &userns),
                false => mount_error("an overlay", &overlay.at, errno),
            })
        };
        let mut layers = Self::default();
        for lower in &overlay.lowers {
            layers.lowers.push(copy(lower)?);
        }
        if let Some((upper, work)) = &overlay.upper {
            // overlayfs wants upper and work directory on one mount.
            let common = common(upper, work);
            let tree = copy(&common)?;
            for (key, path) in [("upperdir", upper), ("workdir", work)] {
                let below = path.strip_prefix(&common).unwrap_or(path);
                let dir = openat2(
                    &tree,
                    Path::new(".").join(below),
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                    ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
                );
                let dir =
                    dir.map_err(|e| Error::sys(format!("use {}", shown(path)), e.into_errno()));
                layers.upper.push((key, dir?, below.to_owned()));
            }
            layers.tree = Some(tree);
        }
        Ok(layers)
    }

    fn by_descriptor(&self) -> Vec<LayerOption<'_>> {
        let lowers = self.lowers.iter();
        let lowers = lowers.map(|layer| LayerOption::Directory("lowerdir+", layer));
        let upper = self.upper.iter();
        let upper = upper.map(|(key, dir, _)| LayerOption::Directory(key, dir));
        lowers.chain(upper).collect()
    }

    /// Attaches the layers at short paths in a new mount namespace of the calling thread.
    fn by_path(&self) -> ErrnoResult<Vec<LayerOption<'_>>> {
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
        let mut settings = vec![LayerOption::Text("lowerdir", paths.join(":"))];
        if let Some(tree) = &self.tree {
            put(tree, "/tmp/u")?;
        }
        for (key, _, below) in &self.upper {
            let path = Path::new("/tmp/u").join(below);
            settings.push(LayerOption::Text(key, path.to_string_lossy().into_owned()));
        }
        Ok(settings)
    }
}

/// Does `work` on a thread of its own, because it changes the credentials and the mount namespace of the
/// thread.
fn on_own_thread<T: Send>(work: impl FnOnce() -> ErrnoResult<T> + Send) -> ErrnoResult<T> {
    std::thread::scope(
        |scope| match std::thread::Builder::new().spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or(Err(Errno::EIO)),
            Err(e) => Err(e.into_errno()),
        },
    )
}

/// The properties of an overlay to create, besides its layers.
struct Creation<'a> {
    source: String,
    access: Access,
    /// Further options of overlayfs.
    options: &'a [(&'a str, &'a str)],
    /// The first host id of the layers.
    base: u32,
}

impl Creation<'_> {
    /// Creates the overlay, attached nowhere. It changes the filesystem ids of the calling thread: overlayfs
    /// makes files in the work directory with the credentials of the mounter, and ids that the layers do not
    /// map would make the overlay read-only.
    fn create(&self, layers: &[LayerOption]) -> ErrnoResult<OwnedFd> {
        sys::make_files_as(self.base)?;
        let make = || -> rustix::io::Result<OwnedFd> {
            let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(fs.as_fd(), "source", self.source.as_str())?;
            for layer in layers {
                match layer {
                    LayerOption::Directory(key, dir) => {
                        fsconfig_set_fd(fs.as_fd(), *key, dir.as_fd())?;
                    }
                    LayerOption::Text(key, text) => {
                        fsconfig_set_string(fs.as_fd(), *key, text.as_str())?;
                    }
                }
            }
            for (key, value) in self.options {
                fsconfig_set_string(fs.as_fd(), *key, *value)?;
            }
            fsconfig_create(fs.as_fd())?;
            let attributes = fsmount_flags(self.access);
            fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        };
        make().map_err(IntoErrno::into_errno)
    }
}
