//! Directories that may have a thousand names: read without an allocation for each, and no further than asked for.

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Calls `f` with each name but `.` and `..`, in the kernel's order.
///
/// # Errors
/// The failed call.
pub fn each(dir: &Path, mut f: impl FnMut(&[u8])) -> std::io::Result<()> {
    each_with_buffer::<{ 32 << 10 }>(dir, |name| {
        f(name);
        ControlFlow::Continue(())
    })
}

/// The first names, at most `count`; fewer are all. To tell of a thousand takes the kernel half a millisecond,
/// and readdir(3) always asks for as many.
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

/// In portions of so many bytes, until `f` breaks.
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
