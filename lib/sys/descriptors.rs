//! File descriptors: inheritance, ownership of numbers, and the standard three.

use crate::base::error::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Marks all descriptors from `first` on close-on-exec (`close_range(2)` with `CLOSE_RANGE_CLOEXEC`), so that
/// no executed program inherits a descriptor of ours or of our caller. Linux 5.11.
///
/// # Errors
/// The errno of the call.
pub fn cloexec_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: the call sets a flag; it closes no descriptor.
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

/// Takes ownership of a descriptor that this program was started with.
///
/// # Errors
/// EBADF if the number is not open.
pub fn adopt(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD reads flags. Nobody else in this program owns the descriptor: it was inherited across
    // exec, and the number is from the command line or the environment.
    unsafe {
        Errno::result(nix::libc::fcntl(fd, nix::libc::F_GETFD))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Takes ownership of a descriptor that came in a message.
pub fn adopt_received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made the number for us with SCM_RIGHTS; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Opens /dev/null as each of 0, 1 and 2 that is closed. If that fails, the number stays closed.
pub fn open_standard() {
    let mut fds = [0, 1, 2].map(|fd| nix::libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the kernel writes into an array of three. open(2) gets a constant path and returns the
    // lowest free number.
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

/// Ignores SIGPIPE, so that a write to a closed pipe fails with EPIPE.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN is not a function that could run.
    unsafe { nix::libc::signal(nix::libc::SIGPIPE, nix::libc::SIG_IGN) };
}
