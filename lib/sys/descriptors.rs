//! Descriptors that came from elsewhere or must go nowhere.

use crate::base::error::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// `close_range(2)` with `CLOSE_RANGE_CLOEXEC` from `first` on: nothing that we or our caller
/// opened reaches a program that we execute. Linux 5.11.
///
/// # Errors
/// The errno of the call.
pub fn cloexec_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: marks descriptors only; closes none that an owner holds.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_close_range,
            first,
            u32::MAX,
            nix::libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(rc).map(drop)
}

/// Takes over a descriptor number that we were started with.
///
/// # Errors
/// EBADF if nothing is open there.
pub fn adopt(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD reads flags; the descriptor is owned by nobody else in this program, as it
    // was inherited across exec and named on the command line.
    unsafe {
        Errno::result(nix::libc::fcntl(fd, nix::libc::F_GETFD))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Takes over a descriptor that came in a message.
pub fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made it for us with SCM_RIGHTS; nobody else has the number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Opens /dev/null as each of 0, 1 and 2 that is closed.
pub fn open_standard() {
    let mut fds = [0, 1, 2].map(|fd| nix::libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: an array of three, which the kernel fills; then a constant path, opened as the lowest
    // number that is free. Not to be had, it stays closed, as it was.
    unsafe {
        if nix::libc::poll(fds.as_mut_ptr(), 3, 0) <= 0 {
            return;
        }
        for fd in fds {
            if fd.revents & nix::libc::POLLNVAL != 0 {
                nix::libc::open(c"/dev/null".as_ptr(), nix::libc::O_RDWR);
            }
        }
    }
}

/// SIGPIPE is ignored: writing says EPIPE.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN is no function that could run.
    unsafe { nix::libc::signal(nix::libc::SIGPIPE, nix::libc::SIG_IGN) };
}
