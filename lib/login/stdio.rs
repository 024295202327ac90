//! The standard descriptors of a program inside.

use super::own;
use crate::base::error::{Doing, Errno, Error, Result};
use crate::kernel::resolve::open_without_magic_links;
use crate::kernel::stdio::{is_null_device, standard};
use rustix::fs::OFlags;
use std::os::fd::OwnedFd;

/// What a program gets as one of its 0, 1 and 2. The null device of the host is replaced by that of the subhost:
/// root inside could change mode and owner of the host's device through the descriptor.
#[derive(Debug)]
pub enum StdioSource {
    /// The descriptor of this process.
    Inherit,
    /// The terminal inside.
    Terminal,
    /// The null device of the subhost.
    Null,
    /// This descriptor.
    Fd(OwnedFd),
}

impl StdioSource {
    /// Opens the descriptor for `number`, in the subhost whose root is ours; none if the program inherits ours.
    pub(super) fn open(self, number: usize, terminal: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
        match self {
            StdioSource::Inherit => null_instead(number),
            StdioSource::Terminal => {
                let slave = terminal.map(OwnedFd::try_clone).transpose();
                slave.doing(|| "duplicate the terminal")
            }
            StdioSource::Null => open_null().map(Some),
            StdioSource::Fd(fd) if is_null_device(&fd) => open_null().map(Some),
            StdioSource::Fd(fd) => Ok(Some(fd)),
        }
    }
}

/// Opens the null device of the subhost if our descriptor `number` is the null device; none otherwise.
///
/// # Errors
/// There is no null device inside.
pub fn null_instead(number: usize) -> Result<Option<OwnedFd>> {
    is_null_device(standard(number)).then(open_null).transpose()
}

fn open_null() -> Result<OwnedFd> {
    let doing = || "open /dev/null inside";
    // O_NONBLOCK: the path may be a FIFO, whose open would block.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let null = open_without_magic_links("/dev/null", flags)
        .doing(doing)
        .map_err(own)?;
    match is_null_device(&null) {
        true => Ok(null),
        false => Err(own(
            Error::sys(doing(), Errno::ENXIO).hint("something else was put in its place")
        )),
    }
}
