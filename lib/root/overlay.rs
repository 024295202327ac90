//! Overlay mounts over any number of layers, whose paths may hold any characters, and the failures of
//! overlayfs explained.

use super::mapped;
use super::mounted::{Mounted, attach, fsmount_flags, mount_error, mount_flags, must_be_directory};
use crate::base::error::{Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::mountinfo::{Mount, Table};
use crate::kernel::proc::is_in_user_namespace;
use crate::plan::Step;
use crate::plan::steps::is_pending;
use crate::plan::steps::overlay::{MOUNT_DATA_MAX, Overlay, USER_OPTION, Xattrs, upper_options};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_string, fsmount,
    fsopen,
};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys_mount::FilesystemType;

/// The longest value that fsconfig(FSCONFIG_SET_STRING) takes, in bytes (fs/fsopen.c).
const FSCONFIG_MAX: usize = 255;

/// Checks that no other overlay in our mount namespace has the upper or the work directory.
fn check_unused(upper: Option<&(PathBuf, PathBuf)>) -> Result<()> {
    let Some((upper, work)) = upper else {
        return Ok(());
    };
    let table = Table::read()?;
    for mount in table.all().iter().filter(|mount| mount.fstype == "overlay") {
        let (_, other_upper, other_work) = mount.overlay_layers();
        for used in [other_upper, other_work].into_iter().flatten() {
            if used == *upper || used == *work {
                return Err(in_use_error(upper, &mount.at));
            }
        }
    }
    Ok(())
}

fn in_use_error(upper: &Path, by: &Path) -> Error {
    Error::new(
        Exit::Failed,
        format!("{} is in use by the overlay on {}", shown(upper), shown(by)),
    )
    .hint("two overlays that write to one layer corrupt it")
}

impl Mounted for Overlay {
    fn at(&self) -> &Path {
        &self.at
    }

    fn makes(&self, mount: &Mount, _: &Table) -> bool {
        if mount.fstype != "overlay" {
            return false;
        }
        if let Some(base) = self.ids {
            return mount.source == self.source(base);
        }
        let (upper, work) = self.upper.clone().unzip();
        mount.overlay_layers() == (self.lowers.clone(), upper, work)
    }

    fn check(&self, all: &[Step]) -> Result<()> {
        for lower in self.lowers.iter().filter(|lower| !is_pending(lower, all)) {
            must_be_directory(
                lower,
                "LOWER names directories or image files, topmost first",
            )?;
        }
        match &self.upper {
            Some((upper, _)) if !is_pending(upper, all) => must_be_directory(
                upper,
                "the writable layer is never made silently: mkdir it, or set UPPER",
            ),
            _ => Ok(()),
        }
    }

    fn mount(&self) -> Result<()> {
        if let Some((upper, work)) = &self.upper {
            must_be_directory(upper, "the writable layer")?;
            must_be_directory(work, "WORK must be a directory on the file system of UPPER")?;
        }
        // The kernel may still be destroying the previous overlay on this upper: retry for 127 ms.
        let mut waits = [1u64, 2, 4, 8, 16, 32, 64].iter();
        let mut index = "on";
        loop {
            let result = match self.ids {
                Some(base) => {
                    let options = upper_options(index);
                    let options = if self.upper.is_some() {
                        &options[..]
                    } else {
                        &[]
                    };
                    mapped::mount_overlay(self, options, base)?
                }
                None => try_mount(self, index),
            };
            let errno = match result {
                Ok(()) => return Ok(()),
                Err(errno) => errno,
            };
            // The index in the work directory records the layers that it was made over. After a change of
            // LOWER or a copy of the tree they differ, and the overlay needs no index.
            if errno == Errno::ESTALE && index == "on" && self.upper.is_some() {
                // With index=off the kernel only warns of an upper in use, so the check is ours.
                check_unused(self.upper.as_ref())?;
                index = "off";
                continue;
            }
            if errno == Errno::EBUSY
                && let Some(wait) = waits.next()
            {
                check_unused(self.upper.as_ref())?;
                std::thread::sleep(Duration::from_millis(*wait));
                continue;
            }
            return Err(explained_error(self, errno));
        }
    }
}

/// Makes the error of a failed overlay mount, with a hint that says what the errno means for overlayfs.
fn explained_error(overlay: &Overlay, errno: Errno) -> Error {
    let error = mount_error("an overlay", &overlay.at, errno);
    let Overlay { lowers, upper, .. } = overlay;
    let names = || {
        let all = lowers.iter().chain(upper.iter().map(|(upper, _)| upper));
        all.map(shown).collect::<Vec<_>>().join(" ")
    };
    match (errno, upper) {
        (Errno::ELOOP, _) => error.hint(format!("layers contain each other: {}", names())),
        (Errno::EBUSY, Some((upper, _))) => error.hint(format!(
            "{} is in use by another overlay, perhaps in another mount namespace",
            shown(upper)
        )),
        (Errno::ESTALE, Some((_, work))) => error.hint(format!(
            "the work directory {} belongs to another layer: empty it",
            shown(work)
        )),
        (Errno::EINVAL, _) if crate::kernel::privilege::has_entered() && lowers.iter().any(has_mounts) => error
            .hint("without root no mount may lie below a layer, as below /"),
        (Errno::EXDEV | Errno::EINVAL, Some((upper, work))) => error.hint(format!(
            "{} and {} must be apart, on one file system that has extended attributes and is no \
             overlay itself",
            shown(upper),
            shown(work)
        )),
        (Errno::E2BIG, _) => error.hint(
            "before Linux 6.5 all layers' paths together may have 4095 bytes: fewer or shorter ones",
        ),
        (Errno::ENOENT | Errno::ENOTDIR, _) => error.hint(format!("layers: {}", names())),
        _ => error,
    }
}

/// Tells whether a mount lies below the layer. The kernel refuses such a layer in a user namespace, because
/// the overlay would reveal the files that the mount covers.
fn has_mounts(layer: &PathBuf) -> bool {
    let table = Table::read().unwrap_or_default();
    let mut mounts = table.all().iter();
    mounts.any(|mount| mount.at != *layer && mount.at.starts_with(layer))
}

/// Mounts the overlay with mount(2), or with fsconfig(2) where mount(2) cannot take the paths.
fn try_mount(overlay: &Overlay, index: &str) -> std::result::Result<(), Errno> {
    let xattrs = match is_in_user_namespace() {
        true => Xattrs::User,
        false => Xattrs::Trusted,
    };
    if let Some(data) = overlay.plain_options(index, xattrs) {
        return mount_by_options(overlay, &data);
    }
    match mount_by_fsconfig(overlay, index, xattrs) {
        // Before Linux 6.5 there is no lowerdir+: escape the paths for mount(2), if they fit.
        Err(Errno::EINVAL) => {
            let data = overlay.escaped_options(index, xattrs);
            if data.len() > MOUNT_DATA_MAX {
                return Err(Errno::E2BIG);
            }
            mount_by_options(overlay, &data)
        }
        other => other,
    }
}

fn mount_by_options(overlay: &Overlay, data: &str) -> std::result::Result<(), Errno> {
    sys_mount::Mount::builder()
        .fstype(FilesystemType::Manual("overlay"))
        .flags(mount_flags(overlay.access()))
        .data(data)
        .mount("overlay", &overlay.at)
        .map(drop)
        .map_err(IntoErrno::into_errno)
}

fn mount_by_fsconfig(
    overlay: &Overlay,
    index: &str,
    xattrs: Xattrs,
) -> std::result::Result<(), Errno> {
    let Overlay { lowers, upper, .. } = overlay;
    let fail = IntoErrno::into_errno;
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail)?;
    fsconfig_set_string(fs.as_fd(), "source", "overlay").map_err(fail)?;
    for lower in lowers {
        set_path(fs.as_fd(), "lowerdir+", lower)?;
    }
    if let Some((upper, work)) = upper {
        set_path(fs.as_fd(), "upperdir", upper)?;
        set_path(fs.as_fd(), "workdir", work)?;
        for (key, value) in upper_options(index) {
            fsconfig_set_string(fs.as_fd(), key, value).map_err(fail)?;
        }
    }
    if xattrs == Xattrs::User {
        rustix::mount::fsconfig_set_flag(fs.as_fd(), USER_OPTION).map_err(fail)?;
    }
    fsconfig_create(fs.as_fd()).map_err(fail)?;
    let attributes = fsmount_flags(overlay.access());
    let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(fail)?;
    attach(&mount, &overlay.at)
}

/// Sets an option of overlayfs to a path.
fn set_path(
    fs: std::os::fd::BorrowedFd<'_>,
    key: &str,
    path: &Path,
) -> std::result::Result<(), Errno> {
    let mut text = path.to_string_lossy().into_owned();
    if key != "lowerdir+" {
        // overlayfs removes escapes from upperdir and workdir, as with mount(2), but not from lowerdir+.
        text = text.replace('\\', "\\\\");
    }
    if text.len() <= FSCONFIG_MAX {
        return fsconfig_set_string(fs, key, text).map_err(IntoErrno::into_errno);
    }
    // A longer path needs a descriptor, which overlayfs takes from Linux 6.13 on.
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let dir =
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(IntoErrno::into_errno)?;
    fsconfig_set_fd(fs, key, dir.as_fd()).map_err(IntoErrno::into_errno)
}
