//! A subhost's /dev: the usual nodes, and those of the host's devices that it is given.

use crate::base::error::{Doing, IntoErrno, Result};
use crate::confine::devices::Node;
use crate::kernel::mounts::mount_detached;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Uid, chmodat, chownat, makedev, mkdirat, mknodat, symlinkat,
};
use rustix::mount::MountAttrFlags;
use std::os::fd::OwnedFd;

/// The usual nodes, with their numbers (`null(4)`, `random(4)`, `tty(4)`).
pub const USUAL: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// /dev, complete before it is seen: nothing is written into the tree's own. All of it belongs to
/// `owner`, who may be unable to make it.
///
/// # Errors
/// The failed call.
pub fn devices(owner: u32, nodes: &[Node]) -> Result<OwnedFd> {
    let dev = without_nodes(owner)?;
    usual(&dev, owner).doing(|| "make the nodes of /dev")?;
    add(&dev, nodes, owner)?;
    give(&dev, "", owner).doing(|| "give /dev away")?;
    Ok(dev)
}

/// /dev with all but nodes.
///
/// # Errors
/// The failed call.
pub fn without_nodes(owner: u32) -> Result<OwnedFd> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = mount_detached("tmpfs", &[("mode", "0755"), ("size", "1m")], flags)?;
    others(&dev, owner).doing(|| "make /dev for the inside")?;
    Ok(dev)
}

fn give(dev: &OwnedFd, name: &str, owner: u32) -> rustix::io::Result<()> {
    if owner == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    chownat(dev, name, Some(uid), Some(gid), flags)
}

fn usual(dev: &OwnedFd, owner: u32) -> rustix::io::Result<()> {
    for (name, major, minor) in USUAL {
        let device = makedev(major, minor);
        mknodat(dev, name, FileType::CharacterDevice, Mode::empty(), device)?;
        // Not by mknod, which the umask would cut.
        chmodat(dev, name, Mode::from_raw_mode(0o666), AtFlags::empty())?;
        give(dev, name, owner)?;
    }
    Ok(())
}

fn others(dev: &OwnedFd, owner: u32) -> rustix::io::Result<()> {
    for (target, name) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        symlinkat(target, dev, name)?;
        give(dev, name, owner)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
        give(dev, name, owner)?;
    }
    Ok(())
}

fn add(dev: &OwnedFd, nodes: &[Node], owner: u32) -> Result<()> {
    for node in nodes {
        let make = || -> rustix::io::Result<()> {
            for (end, _) in node.path.match_indices('/') {
                match mkdirat(dev, &node.path[..end], Mode::from_raw_mode(0o755)) {
                    Err(rustix::io::Errno::EXIST) => {}
                    other => other?,
                }
                give(dev, &node.path[..end], owner)?;
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
            )?;
            give(dev, &node.path, owner)
        };
        make()
            .map_err(IntoErrno::into_errno)
            .doing(|| format!("make /dev/{} inside", node.path))?;
    }
    Ok(())
}
