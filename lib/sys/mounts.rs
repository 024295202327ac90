//! Mounts: attributes, id maps and propagation, and the ids that a thread makes files with.

use crate::base::error::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `MOUNT_ATTR_RDONLY`: the mount is read-only.
pub const RDONLY: u64 = 0x1;

/// `MOUNT_ATTR_NODEV`: device nodes on the mount cannot be opened.
pub const NODEV: u64 = 0x4;

/// `MOUNT_ATTR_IDMAP`: the mount has an id map.
const IDMAP: u64 = 0x0010_0000;

/// Sets the attributes `set` and, unless it is 0, the propagation (`MS_SLAVE`, ...) of the mount tree at `fd`
/// (`mount_setattr(2)` with `AT_EMPTY_PATH | AT_RECURSIVE`). Linux 5.12.
///
/// # Errors
/// The errno of the call.
pub fn mount_setattr_tree(fd: impl AsFd, set: u64, propagation: u64) -> Result<(), Errno> {
    setattr(
        fd,
        &MountAttr {
            attr_set: set,
            propagation,
            ..MountAttr::default()
        },
    )
}

/// Sets attributes and propagation like [`mount_setattr_tree`], and maps the ids of the mounts as the user
/// namespace `userns` maps its own (MOUNT_ATTR_IDMAP). The kernel changes the whole tree or nothing. Linux
/// 5.12; for tmpfs 6.3.
///
/// # Errors
/// EINVAL if a file system does not support id maps, EPERM if a mount has one already.
pub fn mount_map_tree(
    fd: impl AsFd,
    set: u64,
    propagation: u64,
    userns: impl AsFd,
) -> Result<(), Errno> {
    setattr(
        fd,
        &MountAttr {
            attr_set: set | IDMAP,
            propagation,
            userns_fd: userns.as_fd().as_raw_fd().unsigned_abs().into(),
            ..MountAttr::default()
        },
    )
}

/// `struct mnt_id_req` of include/uapi/linux/mount.h, in its first version.
#[repr(C)]
struct MountRequest {
    size: u32,
    spare: u32,
    id: u64,
    param: u64,
}

/// The first fields of `struct statmount`, up to `mnt_propagation`.
#[repr(C)]
#[derive(Default)]
struct MountStatus {
    size: u32,
    options: u32,
    mask: u64,
    device: [u32; 2],
    magic: u64,
    flags: u32,
    fstype: u32,
    id: u64,
    parent: u64,
    old_ids: [u32; 2],
    attributes: u64,
    propagation: u64,
    rest: [[u64; 25]; 2],
}

/// Returns the propagation (`MS_SHARED`, ...) of the mount with this unique id (`statmount(2)`). Linux 6.8.
///
/// # Errors
/// ENOSYS before Linux 6.8; ENOENT if this mount namespace has no such mount.
pub fn propagation(unique: u64) -> Result<u64, Errno> {
    const SYS_STATMOUNT: nix::libc::c_long = 457;
    const MNT_BASIC: u64 = 2;
    let request = MountRequest {
        size: size_of::<MountRequest>() as u32,
        spare: 0,
        id: unique,
        param: MNT_BASIC,
    };
    let mut status = MountStatus::default();
    // SAFETY: the kernel reads the request, whose size it contains, and writes at most the given size
    // into status.
    let rc = unsafe {
        nix::libc::syscall(
            SYS_STATMOUNT,
            &raw const request,
            &raw mut status,
            size_of::<MountStatus>(),
            0,
        )
    };
    Errno::result(rc)?;
    match status.mask & MNT_BASIC != 0 {
        true => Ok(status.propagation),
        false => Err(Errno::ENOSYS),
    }
}

fn setattr(fd: impl AsFd, attr: &MountAttr) -> Result<(), Errno> {
    // SAFETY: the path is a static C string; attr outlives the call, which gets its size.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            nix::libc::AT_EMPTY_PATH | nix::libc::AT_RECURSIVE,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    Errno::result(rc).map(drop)
}

/// Sets the ids with which the calling thread makes files to `id` (`setfsuid(2)`, `setfsgid(2)`), and keeps
/// its capabilities (SECBIT_NO_SETUID_FIXUP). Nothing restores the old ids: the thread should end afterwards.
///
/// # Errors
/// EPERM if the kernel did not set the ids.
pub fn make_files_as(id: u32) -> Result<(), Errno> {
    const NO_SETUID_FIXUP: nix::libc::c_ulong = 1 << 2;
    // SAFETY: the arguments are integers. setfsuid(2) and setfsgid(2) never report an error; with an
    // invalid id they return the current one.
    unsafe {
        Errno::result(nix::libc::prctl(
            nix::libc::PR_SET_SECUREBITS,
            NO_SETUID_FIXUP,
            0,
            0,
            0,
        ))?;
        nix::libc::setfsgid(id);
        nix::libc::setfsuid(id);
        let now = (
            nix::libc::setfsgid(u32::MAX).cast_unsigned(),
            nix::libc::setfsuid(u32::MAX).cast_unsigned(),
        );
        match now == (id, id) {
            true => Ok(()),
            false => Err(Errno::EPERM),
        }
    }
}
