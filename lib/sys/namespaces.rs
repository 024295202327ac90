//! Namespaces: which one, and whose.

use crate::error::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

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
