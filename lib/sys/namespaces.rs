//! Namespaces: which one, and whose.

use crate::base::error::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The cookie of the network namespace that `socket` is in (SO_NETNS_COOKIE, include/uapi/asm-generic/
/// socket.h), unlike its inode never given again in a boot. Linux 5.14.
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

/// The user namespace that owns a namespace (`ioctl_ns(2)`, NS_GET_USERNS).
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

/// A namespace of the process or thread of a pidfd (`PIDFD_GET_*_NAMESPACE` of include/uapi/linux/pidfd.h, by
/// its number there). Linux 6.11.
///
/// # Errors
/// ENOTTY or EINVAL before; the errno of the call.
pub fn namespace_of(pidfd: impl AsFd, number: u8) -> Result<OwnedFd, Errno> {
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

/// `struct file_handle` of `open_by_handle_at(2)` with room for one of nsfs (include/uapi/linux/nsfs.h).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NamespaceHandle {
    bytes: u32,
    kind: i32,
    handle: [u64; 2],
}

/// A name for the namespace at `fd` that no other gets and that does not keep it. Linux 6.18.
///
/// # Errors
/// EOPNOTSUPP before.
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

/// The namespace of a handle, if something keeps it alive.
///
/// # Errors
/// ESTALE if it is gone; EPERM in a user namespace.
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
