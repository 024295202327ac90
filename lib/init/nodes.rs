//! Nodes of the host's devices in a subhost's /dev.

use crate::confine::devices::Node;
use crate::error::{Doing, IntoErrno, Result};
use rustix::fs::{AtFlags, FileType, Mode, chmodat, makedev, mkdirat, mknodat};
use std::os::fd::OwnedFd;

/// Makes them in a /dev that nobody sees yet.
///
/// # Errors
/// The failed call, with the node.
pub fn add(dev: &OwnedFd, nodes: &[Node]) -> Result<()> {
    for node in nodes {
        let make = || -> rustix::io::Result<()> {
            for (end, _) in node.path.match_indices('/') {
                match mkdirat(dev, &node.path[..end], Mode::from_raw_mode(0o755)) {
                    Err(rustix::io::Errno::EXIST) => {}
                    other => other?,
                }
            }
            let kind = match node.block {
                true => FileType::BlockDevice,
                false => FileType::CharacterDevice,
            };
            let device = makedev(node.major, node.minor);
            mknodat(dev, &node.path, kind, Mode::empty(), device)?;
            // Not by mknod, which the umask would cut.
            chmodat(
                dev,
                &node.path,
                Mode::from_raw_mode(node.mode),
                AtFlags::empty(),
            )
        };
        make()
            .map_err(IntoErrno::into_errno)
            .doing(|| format!("make /dev/{} inside", node.path))?;
    }
    Ok(())
}
