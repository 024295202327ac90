//! The /dev of a subhost: the usual nodes, and the devices of the host that it gets.

use crate::base::error::{Doing, IntoErrno, Result};
use crate::confine::devices::Node;
use crate::kernel::dirs::make_missing_at;
use crate::kernel::mounts::mount_detached;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Uid, chmodat, chownat, makedev, mkdirat, mknodat, symlinkat,
};
use rustix::mount::MountAttrFlags;
use std::os::fd::OwnedFd;

/// The usual nodes: name, major and minor number (`null(4)`, `random(4)`, `tty(4)`).
pub const USUAL: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Makes a complete, detached /dev, so that nothing is written to the tree. All of it belongs to `owner`,
/// who may be root of a user namespace and unable to make nodes.
///
/// # Errors
/// The failed call.
pub fn make_dev(owner: u32, nodes: &[Node]) -> Result<OwnedFd> {
    let dev = make_dev_without_nodes(owner)?;
    add_usual_nodes(&dev, owner).doing(|| "make the nodes of /dev")?;
    add_nodes(&dev, nodes, owner)?;
    set_owner(&dev, "", owner).doing(|| "give /dev away")?;
    Ok(dev)
}

/// Makes a detached /dev with links and directories, but without nodes.
///
/// # Errors
/// The failed call.
pub fn make_dev_without_nodes(owner: u32) -> Result<OwnedFd> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = mount_detached("tmpfs", &[("mode", "0755"), ("size", "1m")], flags)?;
    add_links_and_directories(&dev, owner).doing(|| "make /dev for the inside")?;
    Ok(dev)
}

fn set_owner(dev: &OwnedFd, name: &str, owner: u32) -> rustix::io::Result<()> {
    if owner == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    chownat(dev, name, Some(uid), Some(gid), flags)
}

fn add_usual_nodes(dev: &OwnedFd, owner: u32) -> rustix::io::Result<()> {
    for (name, major, minor) in USUAL {
        let device = makedev(major, minor);
        mknodat(dev, name, FileType::CharacterDevice, Mode::empty(), device)?;
        // The umask applies to mknod(2), but not to chmod(2).
        chmodat(dev, name, Mode::from_raw_mode(0o666), AtFlags::empty())?;
        set_owner(dev, name, owner)?;
    }
    Ok(())
}

fn add_links_and_directories(dev: &OwnedFd, owner: u32) -> rustix::io::Result<()> {
    for (target, name) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        symlinkat(target, dev, name)?;
        set_owner(dev, name, owner)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
        set_owner(dev, name, owner)?;
    }
    Ok(())
}

fn add_nodes(dev: &OwnedFd, nodes: &[Node], owner: u32) -> Result<()> {
    for node in nodes {
        let make = || -> rustix::io::Result<()> {
            for (end, _) in node.path.match_indices('/') {
                make_missing_at(dev, &node.path[..end], 0o755)?;
                set_owner(dev, &node.path[..end], owner)?;
            }
            let kind = match node.block {
                true => FileType::BlockDevice,
                false => FileType::CharacterDevice,
            };
            let device = makedev(node.major, node.minor);
            mknodat(dev, &node.path, kind, Mode::empty(), device)?;
            // The umask applies to mknod(2), but not to chmod(2).
            chmodat(
                dev,
                &node.path,
                Mode::from_raw_mode(node.mode),
                AtFlags::empty(),
            )?;
            set_owner(dev, &node.path, owner)
        };
        make()
            .map_err(IntoErrno::into_errno)
            .doing(|| format!("make /dev/{} inside", node.path))?;
    }
    Ok(())
}
