//! Terminals: pseudoterminals, window sizes, the controlling terminal (`ioctl_tty(2)`).

use crate::base::error::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Opens the slave of the terminal with this master (`TIOCGPTPEER`). It uses no path, which a process inside
/// could have replaced. Linux 4.13.
///
/// # Errors
/// The errno of the call.
pub fn open_pty_peer(master: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = nix::libc::O_RDWR | nix::libc::O_NOCTTY | nix::libc::O_CLOEXEC;
    // SAFETY: the ioctl takes flags by value and returns a new descriptor, which we own.
    unsafe {
        let fd = Errno::result(nix::libc::ioctl(
            master.as_fd().as_raw_fd(),
            nix::libc::TIOCGPTPEER,
            flags,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Unlocks the slave of the terminal with this master, so that it can be opened (`TIOCSPTLCK`,
/// `unlockpt(3)`).
///
/// # Errors
/// The errno of the call.
pub fn unlock_pty(master: impl AsFd) -> Result<(), Errno> {
    let unlock: nix::libc::c_int = 0;
    // SAFETY: the ioctl reads one int.
    let rc = unsafe {
        nix::libc::ioctl(
            master.as_fd().as_raw_fd(),
            nix::libc::TIOCSPTLCK,
            &raw const unlock,
        )
    };
    Errno::result(rc).map(drop)
}

/// Returns the window size of a terminal (`TIOCGWINSZ`).
///
/// # Errors
/// ENOTTY if `tty` is not a terminal; the errno of the call.
pub fn window_size(tty: impl AsFd) -> Result<nix::libc::winsize, Errno> {
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the ioctl writes one winsize.
    let rc = unsafe {
        nix::libc::ioctl(
            tty.as_fd().as_raw_fd(),
            nix::libc::TIOCGWINSZ,
            &raw mut size,
        )
    };
    Errno::result(rc).map(|_| size)
}

/// Sets the window size of a terminal; its foreground process group gets SIGWINCH (`TIOCSWINSZ`).
///
/// # Errors
/// The errno of the call.
pub fn set_window_size(tty: impl AsFd, size: &nix::libc::winsize) -> Result<(), Errno> {
    // SAFETY: the ioctl reads one winsize.
    let rc = unsafe {
        nix::libc::ioctl(
            tty.as_fd().as_raw_fd(),
            nix::libc::TIOCSWINSZ,
            std::ptr::from_ref(size),
        )
    };
    Errno::result(rc).map(drop)
}

/// Makes `tty` the controlling terminal of our session (`TIOCSCTTY`).
///
/// # Errors
/// The errno of the call.
pub fn set_controlling_tty(tty: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the argument is an integer.
    let rc = unsafe { nix::libc::ioctl(tty.as_fd().as_raw_fd(), nix::libc::TIOCSCTTY, 0) };
    Errno::result(rc).map(drop)
}
