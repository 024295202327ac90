//! Masked and read-only paths inside.
//!
//! Below /proc and /sys each path is resolved from the descriptor of a mount that PID 1 has made, so that
//! neither a symbolic link nor another mount can redirect it (CVE-2025-52881). The node that masks a file
//! is one that PID 1 has made as well (CVE-2025-31133).

use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::kernel::mounts::{Access, attach, mount_detached};
use crate::kernel::resolve::open_without_links;
use crate::kernel::stdio::is_null_device;
use crate::sys;
use rustix::fs::{FileType, OFlags, ResolveFlags, fstat};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The mounts that masking needs.
#[derive(Default)]
pub struct Masks {
    /// The mounts on /proc, /sys and /dev.
    kernel: [Option<OwnedFd>; 3],
    /// The empty directory that masks directories. All masks share one file system.
    empty: Option<OwnedFd>,
}

/// The mount points of `kernel`.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

impl Masks {
    /// Records a mount that has been made; only those on /proc, /sys and /dev are kept.
    pub fn add_mount(&mut self, at: &str, mount: OwnedFd) {
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

    /// Masks paths; a missing path is skipped.
    ///
    /// # Errors
    /// The failed call, with the path; ELOOP if a symbolic link is on the way; ENODEV if the spec has not
    /// mounted /proc, /sys or /dev.
    pub fn mask(&mut self, paths: &[String]) -> Result<()> {
        for path in paths {
            let below = |dir: &str| path.strip_prefix(dir).filter(|rest| !rest.is_empty());
            let open_in = |at, path: &str| {
                let from = self.kernel_mount(at)?;
                open(from, path, ResolveFlags::NO_XDEV)
            };
            let target = match (below("/proc/"), below("/sys/")) {
                (Some(path), _) => open_in("/proc", path),
                (_, Some(path)) => open_in("/sys", path),
                (None, None) => open(rustix::fs::CWD, path, ResolveFlags::empty()),
            };
            let doing = || format!("cover {} inside", shown(path));
            match target {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::ELOOP) => {
                    let error = Error::sys(doing(), Errno::ELOOP);
                    return Err(error.hint("a symbolic link is in the path: name its target"));
                }
                target => target
                    .and_then(|target| self.mask_one(&target))
                    .doing(doing)?,
            }
        }
        Ok(())
    }

    fn mask_one(&mut self, target: &OwnedFd) -> std::result::Result<(), Errno> {
        let meta = fstat(target).map_err(IntoErrno::into_errno)?;
        if FileType::from_raw_mode(meta.st_mode) != FileType::Directory {
            return attach(&self.clone_null()?, target);
        }
        match &self.empty {
            Some(empty) => attach(&clone_mount(empty, "", Access::ReadWrite)?, target),
            None => {
                let empty = mount_empty().map_err(|e| e.errno.unwrap_or(Errno::EINVAL))?;
                attach(&empty, target)?;
                self.empty = Some(empty);
                Ok(())
            }
        }
    }

    /// Clones the null device of the subhost.
    fn clone_null(&self) -> std::result::Result<OwnedFd, Errno> {
        let null = clone_mount(self.kernel_mount("/dev")?, "null", Access::ReadWrite)?;
        match is_null_device(&null) {
            true => Ok(null),
            false => Err(Errno::ENODEV),
        }
    }

    /// Makes paths below /proc read-only, except `but`, which stays writable.
    ///
    /// # Errors
    /// The failed call, with the path.
    pub fn protect(&self, paths: &[String], but: Option<&str>) -> Result<()> {
        let proc = self
            .kernel_mount("/proc")
            .doing(|| "protect parts of /proc inside")?;
        let below_proc = |path: &str| path.trim_start_matches("/proc/").to_owned();
        let but = but.map(below_proc).filter(|path| {
            let covered = paths.iter().any(|read_only| {
                let read_only = below_proc(read_only);
                path.starts_with(&format!("{read_only}/"))
            });
            covered && open(proc, path, ResolveFlags::NO_XDEV).is_ok()
        });
        let writable = but.map(|path| {
            let mount = clone_mount(proc, &path, Access::ReadWrite);
            mount.map(|mount| (path, mount))
        });
        let writable = writable
            .transpose()
            .doing(|| "keep the sysctls of the network")?;
        for path in paths {
            let path = below_proc(path);
            let doing = || format!("protect /proc/{path} inside");
            let target = match open(proc, &path, ResolveFlags::NO_XDEV) {
                Err(Errno::ENOENT) => continue,
                target => target.doing(doing)?,
            };
            let mount = clone_mount(proc, &path, Access::ReadOnly);
            mount
                .and_then(|mount| attach(&mount, &target))
                .doing(doing)?;
        }
        match writable {
            // Without NO_XDEV, as the path is on one of the read-only mounts now.
            Some((path, mount)) => open(proc, &path, ResolveFlags::empty())
                .and_then(|target| attach(&mount, &target))
                .doing(|| format!("let /proc/{path} be written inside")),
            None => Ok(()),
        }
    }
}

/// Opens a path below a descriptor; no symbolic link may be on the way.
fn open(from: impl AsFd, path: &str, flags: ResolveFlags) -> std::result::Result<OwnedFd, Errno> {
    open_without_links(from, Path::new(path), OFlags::empty(), flags)
}

/// Clones what is at a path below a descriptor, with all submounts, as a detached mount.
fn clone_mount(from: impl AsFd, path: &str, access: Access) -> std::result::Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(from, path, flags).map_err(IntoErrno::into_errno)?;
    if access == Access::ReadOnly {
        sys::mount_setattr_tree(&tree, access.attributes(), 0)?;
    }
    Ok(tree)
}

/// Mounts an empty, read-only directory, detached.
fn mount_empty() -> Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("mode", "0555"), ("size", "4k"), ("nr_inodes", "1")];
    mount_detached("tmpfs", &options, attributes)
}
