//! Namespaces: their identity, their owner, and descriptors for them.

use crate::base::error::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Returns the cookie of the network namespace of `socket` (SO_NETNS_COOKIE of
/// include/uapi/asm-generic/socket.h). Unlike the inode, the kernel never gives it to another namespace until
/// the host reboots. Linux 5.14.
///
/// # Errors
/// The errno of the call.
pub fn netns_cookie(socket: impl AsFd) -> Result<u64, Errno> {
    const SO_NETNS_COOKIE: nix::libc::c_int = 71;
    let mut cookie = 0u64;
    let mut size = size_of::<u64>() as nix::libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into cookie.
    let rc = unsafe {
        nix::libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            nix::libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    Errno::result(rc).map(|_| cookie)
}

/// Opens the user namespace that owns a namespace (`ioctl_ns(2)`, NS_GET_USERNS).
///
/// # Errors
/// The errno of the call.
pub fn owning_userns(namespace: impl AsFd) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: nix::libc::c_ulong = 0xb701;
    // SAFETY: the ioctl takes no argument and returns a new descriptor, which we own.
    unsafe {
        let fd = Errno::result(nix::libc::ioctl(
            namespace.as_fd().as_raw_fd(),
            NS_GET_USERNS as _,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Opens a namespace of the process or thread of a pidfd. `number` is that of `PIDFD_GET_*_NAMESPACE` in
/// include/uapi/linux/pidfd.h. Linux 6.11.
///
/// # Errors
/// ENOTTY or EINVAL before Linux 6.11; the errno of the call.
pub fn namespace_from_pidfd(pidfd: impl AsFd, number: u8) -> Result<OwnedFd, Errno> {
    const PIDFS_IOCTL_MAGIC: nix::libc::c_ulong = 0xff00;
    // SAFETY: the ioctl takes 0 as its argument and returns a new descriptor, which we own.
    unsafe {
        let fd = Errno::result(nix::libc::ioctl(
            pidfd.as_fd().as_raw_fd(),
            (PIDFS_IOCTL_MAGIC | nix::libc::c_ulong::from(number)) as _,
            0 as nix::libc::c_ulong,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// `struct file_handle` of `open_by_handle_at(2)`, with room for a handle of nsfs
/// (include/uapi/linux/nsfs.h).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NamespaceHandle {
    bytes: u32,
    kind: i32,
    handle: [u64; 2],
}

/// Returns a handle of the namespace at `fd`. No other namespace gets the same handle, and the handle does
/// not keep the namespace alive. Linux 6.18.
///
/// # Errors
/// EOPNOTSUPP before Linux 6.18.
pub fn namespace_handle(fd: impl AsFd) -> Result<NamespaceHandle, Errno> {
    let mut named = NamespaceHandle {
        bytes: size_of::<[u64; 2]>() as u32,
        kind: 0,
        handle: [0; 2],
    };
    let mut mount = 0i32;
    // SAFETY: the kernel reads an empty C string and writes at most `bytes` bytes into handle, and one
    // int.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_name_to_handle_at,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            &raw mut named,
            &raw mut mount,
            nix::libc::AT_EMPTY_PATH,
        )
    };
    Errno::result(rc).map(|_| named)
}

/// Opens the namespace of a handle.
///
/// # Errors
/// ESTALE if the namespace is gone; EPERM in a user namespace.
pub fn open_namespace(named: &NamespaceHandle) -> Result<OwnedFd, Errno> {
    // FD_NSFS_ROOT of include/uapi/linux/fcntl.h.
    const NSFS_ROOT: nix::libc::c_int = -10003;
    let flags = nix::libc::O_RDONLY | nix::libc::O_CLOEXEC;
    // SAFETY: the kernel reads the handle, whose size it carries; the new descriptor is ours.
    unsafe {
        let fd = nix::libc::syscall(
            nix::libc::SYS_open_by_handle_at,
            NSFS_ROOT,
            std::ptr::from_ref(named),
            flags,
        );
        Ok(OwnedFd::from_raw_fd(Errno::result(fd)? as RawFd))
    }
}
