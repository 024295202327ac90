//! What a program has as its 0, 1 and 2.

use super::{open_inside, own};
use crate::base::error::{Doing, Errno, Error, Result};
use rustix::fs::{FileType, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a program has as one of its 0, 1 and 2. Where that is the host's /dev/null it is the subhost's instead.
#[derive(Debug)]
pub enum Given {
    /// The same as we.
    Ours,
    /// Its terminal.
    Terminal,
    /// The subhost's /dev/null.
    Null,
    /// This.
    This(OwnedFd),
}

impl Given {
    /// What it is given as `number` instead of ours, in the subhost whose root is our root.
    pub(super) fn instead(
        self,
        number: usize,
        terminal: Option<&OwnedFd>,
    ) -> Result<Option<OwnedFd>> {
        match self {
            Given::Ours => null_instead(number),
            Given::Terminal => {
                let slave = terminal.map(OwnedFd::try_clone).transpose();
                slave.doing(|| "duplicate the terminal")
            }
            Given::Null => null().map(Some),
            Given::This(fd) if is_null(&fd) => null().map(Some),
            Given::This(fd) => Ok(Some(fd)),
        }
    }
}

/// The subhost's own /dev/null, if what we have as 0, 1 or 2 is one: by the host's, root inside could
/// change its mode and owner for the host.
///
/// # Errors
/// There is no such thing inside.
pub fn null_instead(number: usize) -> Result<Option<OwnedFd>> {
    is_null(standard(number)).then(null).transpose()
}

fn standard(number: usize) -> BorrowedFd<'static> {
    match number {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

fn is_null(fd: impl AsFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| {
        let char_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
        char_device && stat.st_rdev == rustix::fs::makedev(1, 3)
    })
}

fn null() -> Result<OwnedFd> {
    let doing = || "open /dev/null inside";
    // It may have been made a FIFO, which is not waited for.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let null = open_inside("/dev/null", flags).doing(doing).map_err(own)?;
    match is_null(&null) {
        true => Ok(null),
        false => Err(own(
            Error::sys(doing(), Errno::ENXIO).hint("something else was put in its place")
        )),
    }
}
