//! Failures as data: the step, its object, the reason, and what helps.
//!
//! An [`Error`] keeps its errno, so that a caller can react to it; only a front end turns it into text.
//! This file knows no subhost, no file and no namespace.

use std::fmt;
use std::io;

/// An errno, as nix names it (`errno(3)`).
pub use nix::errno::Errno;

/// The exit statuses of all tools, a part of their interface (`subhost(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command failed. What it did is undone, or the message says what is left.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The subhost is not running.
    NotRunning = 3,
    /// There is no such subhost.
    NoSubhost = 4,
    /// Its config or its state is invalid.
    Invalid = 5,
    /// An operation exceeded its time limit.
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

/// One failure, and the failures that followed during the cleanup.
#[derive(Debug, Clone)]
pub struct Error {
    /// The status that a tool exits with.
    pub exit: Exit,
    /// The failed operation with its object, or the whole sentence if there is no errno.
    pub what: String,
    /// The reason, as an errno of the kernel.
    pub errno: Option<Errno>,
    /// A remedy, for the administrator.
    pub hint: Option<String>,
    /// Further failures: of the undoing, or of other steps of a teardown.
    pub also: Vec<Error>,
}

/// The result type of the library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes a failure whose sentence says everything.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            errno: None,
            hint: None,
            also: Vec::new(),
        }
    }

    /// Makes the failure of a system call. `doing` completes "cannot ..." with verb and object.
    pub fn sys(doing: impl fmt::Display, errno: Errno) -> Self {
        Self {
            errno: Some(errno),
            ..Self::new(Exit::Failed, format!("cannot {doing}"))
        }
    }

    /// Sets the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the exit status.
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

    /// Combines failures into one; `Ok` if there are none.
    ///
    /// # Errors
    /// The first of `errors`; the others are in its `also`.
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

/// Converts the error types of system calls into an [`Error`] that names the failed operation.
pub trait Doing<T> {
    /// Names the failed operation: `what` completes "cannot ...".
    ///
    /// # Errors
    /// The failure of `self`, with the text of `what`.
    fn doing<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: IntoErrno> Doing<T> for std::result::Result<T, E> {
    fn doing<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| Error::sys(what(), e.into_errno()))
    }
}

/// An error of nix, rustix or std that holds an errno.
pub trait IntoErrno {
    /// Returns the errno; EIO if std made the error without one.
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

/// Tells whether a character is invisible and reverses the text after it, or ends a line.
fn misleads(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Makes a path or a word from outside safe to print. It escapes control characters, so that a hostile
/// name can neither control the terminal of the administrator nor look like another name.
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
