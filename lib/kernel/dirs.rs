//! Directories: reading many names without an allocation for each, and making a directory that is missing.

use rustix::fs::{CWD, Mode, OFlags, RawDir, mkdirat, openat};
use rustix::path::Arg;
use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Calls `f` with each name except `.` and `..`, in the order of the kernel.
///
/// # Errors
/// The failed call.
pub fn each(dir: &Path, mut f: impl FnMut(&[u8])) -> std::io::Result<()> {
    each_with_buffer::<{ 32 << 10 }>(dir, |name| {
        f(name);
        ControlFlow::Continue(())
    })
}

/// Returns the first names, at most `count`. It reads with a small buffer: the kernel needs half a
/// millisecond to return a thousand names, and readdir(3) always asks for that many.
///
/// # Errors
/// The failed call.
pub fn first(dir: &Path, count: usize) -> std::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    each_with_buffer::<512>(dir, |name| {
        if names.len() == count {
            return ControlFlow::Break(());
        }
        names.push(OsStr::from_bytes(name).to_owned());
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

/// Makes a directory with `mode`, unless something with this name exists.
///
/// # Errors
/// The failed call; it is not EEXIST.
pub fn make_missing(dir: &Path, mode: u32) -> std::io::Result<()> {
    match DirBuilder::new().mode(mode).create(dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes the directory `name` in `dir` with `mode`, unless something with this name exists.
///
/// # Errors
/// The failed call; it is not EEXIST.
pub fn make_missing_at(dir: impl AsFd, name: impl Arg, mode: u32) -> rustix::io::Result<()> {
    match mkdirat(dir, name, Mode::from_raw_mode(mode)) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Calls `f` with each name except `.` and `..` until it breaks, and reads `BYTES` bytes at a time.
fn each_with_buffer<const BYTES: usize>(
    dir: &Path,
    mut f: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, dir, flags, Mode::empty())?;
    let mut space = [MaybeUninit::uninit(); BYTES];
    let mut entries = RawDir::new(&dir, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if ![&b"."[..], b".."].contains(&name) && f(name).is_break() {
            break;
        }
    }
    Ok(())
}
