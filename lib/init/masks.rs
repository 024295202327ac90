//! What is covered inside, and what can only be read there.
//!
//! Below /proc and /sys everything is found from the descriptors of the mounts that we made: nothing
//! that is on the way can be a link, or a mount of somebody else's (CVE-2025-52881), and what covers a
//! file is the node that we made ourselves (CVE-2025-31133).

use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::kernel::mounts::{attach, mount_detached};
use crate::sys;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat2};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What covers, and the file systems of the kernel's that it is done in.
#[derive(Default)]
pub struct Masks {
    /// On /proc, /sys and /dev.
    kernel: [Option<OwnedFd>; 3],
    /// An empty directory that is mounted somewhere: one file system for all.
    empty: Option<OwnedFd>,
}

/// Where those are.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

impl Masks {
    /// This is mounted there now; of use are those of /proc, /sys and /dev.
    pub fn has(&mut self, at: &str, mount: OwnedFd) {
        if let Some(index) = KERNEL.iter().position(|known| *known == at) {
            self.kernel[index] = Some(mount);
        }
    }

    fn kernel_mount(&self, at: &str) -> std::result::Result<&OwnedFd, Errno> {
        let index = KERNEL.iter().position(|known| *known == at);
        index
            .and_then(|index| self.kernel[index].as_ref())
            .ok_or(Errno::ENODEV)
    }

    /// Covers these paths. What is not there needs no cover.
    ///
    /// # Errors
    /// The failed call, with the path; a link on the way; ENODEV where the file system of the kernel's is not ours.
    pub fn cover(&mut self, paths: &[String]) -> Result<()> {
        for path in paths {
            let below = |dir: &str| path.strip_prefix(dir).filter(|rest| !rest.is_empty());
            let within = |at, path| {
                let from = self.kernel_mount(at)?;
                found(from, path, ResolveFlags::NO_XDEV)
            };
            let found = match (below("/proc/"), below("/sys/")) {
                (Some(path), _) => within("/proc", path),
                (_, Some(path)) => within("/sys", path),
                (None, None) => found(rustix::fs::CWD, path, ResolveFlags::empty()),
            };
            let doing = || format!("cover {} inside", shown(path));
            match found {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::ELOOP) => {
                    let error = Error::sys(doing(), Errno::ELOOP);
                    return Err(error.hint("a link is on the way: name where it leads"));
                }
                found => found
                    .and_then(|found| self.cover_one(&found))
                    .doing(doing)?,
            }
        }
        Ok(())
    }

    fn cover_one(&mut self, target: &OwnedFd) -> std::result::Result<(), Errno> {
        let meta = fstat(target).map_err(IntoErrno::into_errno)?;
        if FileType::from_raw_mode(meta.st_mode) != FileType::Directory {
            return attach(&self.null()?, target);
        }
        match &self.empty {
            Some(empty) => attach(&clone_of(empty, "", false)?, target),
            None => {
                let empty = empty().map_err(|e| e.errno.unwrap_or(Errno::EINVAL))?;
                attach(&empty, target)?;
                self.empty = Some(empty);
                Ok(())
            }
        }
    }

    /// The subhost's /dev/null.
    fn null(&self) -> std::result::Result<OwnedFd, Errno> {
        let null = clone_of(self.kernel_mount("/dev")?, "null", false)?;
        let meta = fstat(&null).map_err(IntoErrno::into_errno)?;
        let is = FileType::from_raw_mode(meta.st_mode) == FileType::CharacterDevice;
        match is && meta.st_rdev == makedev(1, 3) {
            true => Ok(null),
            false => Err(Errno::ENODEV),
        }
    }

    /// Lets these paths below /proc only be read; all of `but` can be written as before.
    ///
    /// # Errors
    /// The failed call, with the path.
    pub fn read_only(&self, paths: &[String], but: Option<&str>) -> Result<()> {
        let proc = self
            .kernel_mount("/proc")
            .doing(|| "protect parts of /proc inside")?;
        let within = |path: &str| path.trim_start_matches("/proc/").to_owned();
        let but = but.map(within).filter(|path| {
            let covered = paths.iter().any(|read_only| {
                let read_only = within(read_only);
                path.starts_with(&format!("{read_only}/"))
            });
            covered && found(proc, path, ResolveFlags::NO_XDEV).is_ok()
        });
        let kept = but.map(|path| clone_of(proc, &path, false).map(|mount| (path, mount)));
        let kept = kept
            .transpose()
            .doing(|| "keep the sysctls of the network")?;
        for path in paths {
            let path = within(path);
            let doing = || format!("protect /proc/{path} inside");
            let target = match found(proc, &path, ResolveFlags::NO_XDEV) {
                Err(Errno::ENOENT) => continue,
                found => found.doing(doing)?,
            };
            let mount = clone_of(proc, &path, true);
            mount
                .and_then(|mount| attach(&mount, &target))
                .doing(doing)?;
        }
        match kept {
            // Below a mount of our own by now.
            Some((path, mount)) => found(proc, &path, ResolveFlags::empty())
                .and_then(|target| attach(&mount, &target))
                .doing(|| format!("let /proc/{path} be written inside")),
            None => Ok(()),
        }
    }
}

/// Opens what is at a path from a descriptor on.
fn found(from: impl AsFd, path: &str, flags: ResolveFlags) -> std::result::Result<OwnedFd, Errno> {
    openat2(
        from,
        Path::new(path),
        // No O_NOFOLLOW: with it a link at the end would be opened itself.
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        flags | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(IntoErrno::into_errno)
}

/// What is at a path from a descriptor on as a detached mount, with all submounts.
fn clone_of(from: impl AsFd, path: &str, read_only: bool) -> std::result::Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(from, path, flags).map_err(IntoErrno::into_errno)?;
    if read_only {
        sys::mount_setattr_tree(&tree, sys::RDONLY, 0)?;
    }
    Ok(tree)
}

fn empty() -> Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("mode", "0555"), ("size", "4k"), ("nr_inodes", "1")];
    mount_detached("tmpfs", &options, attributes)
}
