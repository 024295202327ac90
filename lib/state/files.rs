//! Reads the files of a state: small texts on a tmpfs. A list of a thousand subhosts reads thousands of them.

use crate::base::error::{Doing, Result};
use crate::kernel::proc;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The most that is read of a file, in bytes. A larger one is damaged.
const MAX: u64 = 4 << 20;

/// Reads a file. Returns `None` if it does not exist.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(file: &Path) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let doing = || format!("read {}", file.display());
    let open = match openat(CWD, file, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        other => other.doing(doing)?,
    };
    let text = read_all(open.into()).doing(doing)?;
    // The caller reports what is not UTF-8 as damaged.
    let damaged = |e: std::string::FromUtf8Error| String::from_utf8_lossy(e.as_bytes()).into();
    Ok(Some(String::from_utf8(text).unwrap_or_else(damaged)))
}

/// Reads a file that nothing depends on. Returns `None` if it cannot be read.
pub(super) fn read_optional(file: &Path) -> Option<String> {
    read(file).ok().flatten()
}

/// Reads to the end. One read is usually enough: a tmpfs returns less than was asked for only at the end of a file.
fn read_all(open: File) -> std::io::Result<Vec<u8>> {
    let (mut text, is_all) = proc::read_first_page(&open)?;
    if !is_all {
        open.take(MAX).read_to_end(&mut text)?;
    }
    Ok(text)
}
