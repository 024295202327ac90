//! The nodes of /dev in a user namespace, where none can be made: nodes of the host are bound in their
//! place. They are opened before the root is changed.
//!
//! Their owner on the host has no id inside, so their modes stay as they are.

use super::nodes::USUAL;
use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result};
use crate::confine::devices::Node;
use crate::kernel::dirs::make_missing_at;
use crate::kernel::mounts::attach;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat, openat2};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::OwnedFd;

/// Detached bind mounts of nodes of the host, by their paths below /dev.
pub struct Nodes(Vec<(String, OwnedFd)>);

/// Opens the usual nodes and `more` on the host.
///
/// # Errors
/// The host has another device with that name, or its node admits more users than `more` says.
pub fn open_nodes(more: &[Node]) -> Result<Nodes> {
    let usual = USUAL.map(|(path, major, minor)| Node {
        path: path.into(),
        block: false,
        major,
        minor,
        mode: 0o666,
    });
    let all = usual.iter().chain(more);
    all.map(|node| Ok((node.path.clone(), clone_node(node)?)))
        .collect::<Result<_>>()
        .map(Nodes)
}

fn clone_node(node: &Node) -> Result<OwnedFd> {
    let path = format!("/dev/{}", node.path);
    let doing = || format!("give {path} of the host's inside");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = open_tree(CWD, &path, flags).doing(doing)?;
    let meta = fstat(&clone).doing(doing)?;
    let kind = match node.block {
        true => FileType::BlockDevice,
        false => FileType::CharacterDevice,
    };
    let is = FileType::from_raw_mode(meta.st_mode) == kind
        && meta.st_rdev == makedev(node.major, node.minor);
    if !is {
        return Err(Error::sys(doing(), Errno::ENODEV));
    }
    if meta.st_mode & 0o666 & !node.mode != 0 {
        let what = format!("DEVICES: without root, {path} can only have the mode of the host");
        return Err(Error::new(Exit::Failed, what).hint("leave out :r and :w"));
    }
    Ok(clone)
}

impl Nodes {
    /// Makes files in a /dev that is not mounted yet, as mount points of the nodes.
    ///
    /// # Errors
    /// The failed call, with the node.
    pub fn make_mount_points(&self, dev: &OwnedFd) -> Result<()> {
        for (path, _) in &self.0 {
            let make = || -> rustix::io::Result<()> {
                for (end, _) in path.match_indices('/') {
                    make_missing_at(dev, &path[..end], 0o755)?;
                }
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(dev, path, flags, Mode::from_raw_mode(0o444)).map(drop)
            };
            make().doing(|| format!("make room for /dev/{path} inside"))?;
        }
        Ok(())
    }

    /// Binds the nodes in that /dev, which is mounted now.
    ///
    /// # Errors
    /// The failed call, with the node.
    pub fn bind(self, dev: &OwnedFd) -> Result<()> {
        for (path, node) in self.0 {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let safe = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            openat2(dev, &path, flags, Mode::empty(), safe)
                .map_err(IntoErrno::into_errno)
                .and_then(|place| attach(&node, &place))
                .doing(|| format!("bind /dev/{path} inside"))?;
        }
        Ok(())
    }
}
