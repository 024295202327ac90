//! The standard descriptors 0, 1 and 2 of this process, and the null device.

use crate::base::error::{Errno, IntoErrno};
use rustix::fs::{FileType, fstat, makedev};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Borrows a standard descriptor; each number but 0 and 1 is standard error.
pub fn standard(number: usize) -> BorrowedFd<'static> {
    match number {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

/// Makes a standard descriptor a duplicate of `fd` (`dup2(2)`); each number but 0 and 1 is standard error.
///
/// # Errors
/// The errno of the call.
pub fn replace_standard(number: usize, fd: &OwnedFd) -> Result<(), Errno> {
    let replaced = match number {
        0 => rustix::stdio::dup2_stdin(fd),
        1 => rustix::stdio::dup2_stdout(fd),
        _ => rustix::stdio::dup2_stderr(fd),
    };
    replaced.map_err(IntoErrno::into_errno)
}

/// Tells whether a descriptor is of the null device (`null(4)`).
pub fn is_null_device(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|stat| {
        let is_char_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
        is_char_device && stat.st_rdev == makedev(1, 3)
    })
}
