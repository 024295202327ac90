//! What can go wrong, as data: which step, which object, why, and what helps.
//!
//! An [`Error`] keeps its errno to the top so that callers can react to it; it becomes words only
//! when a tool prints it. This file knows no subhost, no file and no namespace.

use std::fmt;
use std::io;

/// errno as nix names it (`errno(3)`).
pub use nix::errno::Errno;

/// Exit statuses of all tools, part of their interface (see `subhost(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Failed: what the run did is undone, or the message says what is left.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The subhost is not running.
    NotRunning = 3,
    /// There is no such subhost.
    NoSubhost = 4,
    /// Its config or its state is invalid.
    Invalid = 5,
    /// Something took longer than it may.
    TimedOut = 6,
    /// Another command holds the subhost.
    Busy = 75,
    /// `subhost-enter` itself failed, not the command inside.
    Own = 125,
    /// The command inside cannot be run.
    CannotRun = 126,
    /// The command inside was not found.
    NotFound = 127,
}

/// One failure, and those that came after it while cleaning up.
#[derive(Debug, Clone)]
pub struct Error {
    /// The status a tool exits with.
    pub exit: Exit,
    /// What could not be done and to which object, or the whole sentence if there is no errno.
    pub what: String,
    /// Why, in the kernel's words.
    pub errno: Option<Errno>,
    /// What helps.
    pub hint: Option<String>,
    /// Further failures, of undoing or of the other steps of a teardown.
    pub also: Vec<Error>,
}

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure told in full by its sentence.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            errno: None,
            hint: None,
            also: Vec::new(),
        }
    }

    /// A failed system call: `doing` completes "cannot ...", with verb and object.
    pub fn sys(doing: impl fmt::Display, errno: Errno) -> Self {
        Self {
            errno: Some(errno),
            ..Self::new(Exit::Failed, format!("cannot {doing}"))
        }
    }

    /// Adds what helps.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Changes the status.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Adds failures that followed this one.
    #[must_use]
    pub fn also(mut self, others: impl IntoIterator<Item = Error>) -> Self {
        self.also.extend(others);
        self
    }

    /// Many failures as one, the first leading; `Ok` if there are none.
    ///
    /// # Errors
    /// The first of `errors`, with the others behind it.
    pub fn collect(errors: Vec<Error>) -> Result<()> {
        let mut errors = errors.into_iter();
        match errors.next() {
            None => Ok(()),
            Some(first) => Err(first.also(errors)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", errno.desc())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns the many error types of system calls into [`Error`] with the step's name.
pub trait Doing<T> {
    /// `what` completes "cannot ...".
    ///
    /// # Errors
    /// The failure of `self`, told with `what`.
    fn doing<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: IntoErrno> Doing<T> for std::result::Result<T, E> {
    fn doing<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| Error::sys(what(), e.into_errno()))
    }
}

/// The errno in an error of nix, rustix or std.
pub trait IntoErrno {
    /// The errno; EIO where std made up an error of its own.
    fn into_errno(self) -> Errno;
}

impl IntoErrno for Errno {
    fn into_errno(self) -> Errno {
        self
    }
}

impl IntoErrno for io::Error {
    fn into_errno(self) -> Errno {
        Errno::from_raw(self.raw_os_error().unwrap_or(Errno::EIO as i32))
    }
}

impl IntoErrno for rustix::io::Errno {
    fn into_errno(self) -> Errno {
        Errno::from_raw(self.raw_os_error())
    }
}

/// Characters that are not seen and turn the text after them around, or end a line.
fn misleads(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A path or a word of the outside, fit to print: control characters made visible, so that a
/// hostile name cannot write to the administrator's terminal nor look like another.
pub fn shown(text: impl AsRef<std::ffi::OsStr>) -> String {
    text.as_ref()
        .to_string_lossy()
        .chars()
        .flat_map(|c| {
            let visible: Vec<char> = if c.is_control() || misleads(c) {
                c.escape_default().collect()
            } else {
                vec![c]
            };
            visible
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_object_reason_and_hint() {
        let e = Error::sys("mount overlay on /x/live", Errno::ENOSPC).hint("too many mounts");
        assert_eq!(
            e.to_string(),
            "cannot mount overlay on /x/live: No space left on device (too many mounts)"
        );
    }

    #[test]
    fn collect_keeps_all() {
        assert!(Error::collect(vec![]).is_ok());
        let e = Error::collect(vec![
            Error::new(Exit::Failed, "a"),
            Error::new(Exit::Busy, "b"),
        ])
        .unwrap_err();
        assert_eq!(
            (e.what.as_str(), e.exit, e.also.len()),
            ("a", Exit::Failed, 1)
        );
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(shown("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
    }
}
