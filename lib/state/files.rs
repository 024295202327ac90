//! The files of a state: small texts in a directory of a tmpfs, read by those who may have to look at a
//! thousand of them.

use crate::base::error::{Doing, Result};
use crate::kernel::proc;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// State is small; whatever is larger is damaged.
const MAX: u64 = 4 << 20;

/// A small file of text; none if it is not there.
///
/// # Errors
/// It cannot be read: what it says is not known then.
pub(super) fn read(file: &Path) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let doing = || format!("read {}", file.display());
    let open = match openat(CWD, file, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        other => other.doing(doing)?,
    };
    let text = read_all(open.into()).doing(doing)?;
    // What is no text is damaged: who reads it says so.
    let damaged = |e: std::string::FromUtf8Error| String::from_utf8_lossy(e.as_bytes()).into();
    Ok(Some(String::from_utf8(text).unwrap_or_else(damaged)))
}

/// The same, of what nothing depends on.
pub(super) fn read_optional(file: &Path) -> Option<String> {
    read(file).ok().flatten()
}

/// Mostly one read is enough: a file of a tmpfs gives less than it is asked for only at its end.
fn read_all(open: File) -> std::io::Result<Vec<u8>> {
    let (mut text, is_all) = proc::read_first_page(&open)?;
    if !is_all {
        open.take(MAX).read_to_end(&mut text)?;
    }
    Ok(text)
}
