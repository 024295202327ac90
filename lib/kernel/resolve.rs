//! Opening paths in a hostile tree (`openat2(2)`), after the root of the tree has become ours. Symbolic links
//! then lead to files of the tree, except the magic links of /proc (`symlink(7)`): they lead to files that a
//! process has open, which may be on the host.

use crate::base::error::{Errno, IntoErrno};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Opens a path and follows symbolic links, but no magic links. A file made by O_CREAT has mode 0644.
///
/// # Errors
/// ELOOP if a magic link is on the way; the errno of the call.
pub fn open_without_magic_links(path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mode = match flags.contains(OFlags::CREATE) {
        true => Mode::from_raw_mode(0o644),
        false => Mode::empty(),
    };
    let flags = OFlags::CLOEXEC | flags;
    openat2(CWD, path.as_ref(), flags, mode, ResolveFlags::NO_MAGICLINKS)
        .map_err(IntoErrno::into_errno)
}

/// Opens a path below `dir` with O_PATH and follows no symbolic links. `resolve` restricts it further.
///
/// # Errors
/// ELOOP if a link is on the way; the errno of the call.
pub fn open_without_links(
    dir: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    // Without O_NOFOLLOW: with it, a link as the last component would be opened itself.
    let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
    let resolve = resolve | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(dir, path, flags, Mode::empty(), resolve).map_err(IntoErrno::into_errno)
}
