//! Mounts by file descriptor: new detached mounts, attaching them, and changing the root.

use crate::base::error::{Doing, Errno, IntoErrno, Result};
use nix::mount::{MntFlags, umount2};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Whether a mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Access {
    /// Returns the access of a setting `read_only`.
    pub(crate) fn new(read_only: bool) -> Self {
        match read_only {
            true => Self::ReadOnly,
            false => Self::ReadWrite,
        }
    }

    /// Returns the attributes for `mount_setattr(2)`.
    pub(crate) fn attributes(self) -> u64 {
        match self {
            Self::ReadOnly => crate::sys::RDONLY,
            Self::ReadWrite => 0,
        }
    }
}

/// Opens a directory without following a symbolic link (`O_PATH`).
///
/// # Errors
/// The errno of the call.
pub(crate) fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Makes `root` the root of this mount namespace and detaches the old root (`pivot_root(2)`, notes). After a
/// mere chroot, `nsenter -t 1 -m` inside would be on the host.
///
/// # Errors
/// The errno of the failed call.
pub(crate) fn pivot_root(root: &OwnedFd) -> std::result::Result<(), Errno> {
    nix::unistd::fchdir(root)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")
}

/// Mounts a new file system detached, that is, nowhere yet. An option with an empty value is a flag.
///
/// # Errors
/// The failed call.
pub(crate) fn mount_detached(
    fstype: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let make = || -> rustix::io::Result<OwnedFd> {
        let fs = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(fs.as_fd(), "source", "subhost")?;
        for (key, value) in options {
            match value.is_empty() {
                true => rustix::mount::fsconfig_set_flag(fs.as_fd(), *key)?,
                false => fsconfig_set_string(fs.as_fd(), *key, *value)?,
            }
        }
        fsconfig_create(fs.as_fd())?;
        fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make().doing(|| format!("mount a {fstype} for the subhost"))
}

/// Attaches a detached mount to `target`.
///
/// # Errors
/// The errno of the call.
pub(crate) fn attach(mount: &OwnedFd, target: &OwnedFd) -> std::result::Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags).map_err(IntoErrno::into_errno)
}
