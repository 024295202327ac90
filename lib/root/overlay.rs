//! Overlay mounts: layers of any number and name, and the ways overlayfs says no.

use super::mapped;
use super::mounted::{Mounted, attach, mount_error, must_be_directory, read_only_flag};
use crate::base::error::{Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::mountinfo::{Mount, Table};
use crate::kernel::proc::is_in_user_namespace;
use crate::plan::Step;
use crate::plan::steps::is_pending;
use crate::plan::steps::overlay::{MOUNT_DATA_MAX, Overlay, USER_OPTION, with_upper};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_string, fsmount, fsopen,
};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys_mount::FilesystemType;

/// What fsconfig(FSCONFIG_SET_STRING) takes.
const FSCONFIG_MAX: usize = 255;

/// Another overlay that we see must not have the writable layer or the work directory.
fn check_unused(upper: Option<&(PathBuf, PathBuf)>) -> Result<()> {
    let Some((upper, work)) = upper else {
        return Ok(());
    };
    let table = Table::read()?;
    for mount in table.all().iter().filter(|mount| mount.fstype == "overlay") {
        let (_, other_upper, other_work) = mount.overlay_layers();
        for used in [other_upper, other_work].into_iter().flatten() {
            if used == *upper || used == *work {
                return Err(in_use(upper, &mount.at));
            }
        }
    }
    Ok(())
}

fn in_use(upper: &Path, by: &Path) -> Error {
    Error::new(
        Exit::Failed,
        format!("{} is in use by the overlay on {}", shown(upper), shown(by)),
    )
    .hint("two overlays that write to one layer destroy it")
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
        let (is_lowers, is_upper, is_work) = mount.overlay_layers();
        let (upper, work) = self.upper.clone().unzip();
        is_lowers == self.lowers && is_upper == upper && is_work == work
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
        // The previous overlay on this upper may still be on its way out of the kernel.
        let mut waits = [1u64, 2, 4, 8, 16, 32, 64].iter();
        let mut index = "on";
        loop {
            let tried = match self.ids {
                Some(base) => {
                    let options = with_upper(index);
                    let options = if self.upper.is_some() {
                        &options[..]
                    } else {
                        &[]
                    };
                    mapped::overlay(self, options, base)?
                }
                None => try_mount(self, index),
            };
            let errno = match tried {
                Ok(()) => return Ok(()),
                Err(errno) => errno,
            };
            // The index knows which layers it was made over. With others, as after LOWER changed or
            // the tree was copied, the overlay is right without it.
            if errno == Errno::ESTALE && index == "on" && self.upper.is_some() {
                // The kernel itself would only warn from now on.
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
            return Err(explained(self, errno));
        }
    }
}

fn explained(overlay: &Overlay, errno: Errno) -> Error {
    let error = mount_error("an overlay", &overlay.at, errno);
    let Overlay { lowers, upper, .. } = overlay;
    let names = || {
        let all = lowers.iter().chain(upper.iter().map(|(upper, _)| upper));
        all.map(shown).collect::<Vec<_>>().join(" ")
    };
    match (errno, upper) {
        (Errno::ELOOP, _) => error.hint(format!("layers lie in each other: {}", names())),
        (Errno::EBUSY, Some((upper, _))) => error.hint(format!(
            "{} is in use by another overlay, perhaps in another mount namespace",
            shown(upper)
        )),
        (Errno::ESTALE, Some((_, work))) => error.hint(format!(
            "the work directory {} is another layer's: empty it",
            shown(work)
        )),
        (Errno::EINVAL, _) if crate::kernel::privilege::has_entered() && lowers.iter().any(has_mounts) => error
            .hint("without root no layer may have mounts of the host's below it, as / has"),
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

/// Is something mounted below it?
fn has_mounts(layer: &PathBuf) -> bool {
    let table = Table::read().unwrap_or_default();
    let mut mounts = table.all().iter();
    mounts.any(|mount| mount.at != *layer && mount.at.starts_with(layer))
}

fn try_mount(overlay: &Overlay, index: &str) -> std::result::Result<(), Errno> {
    let (is_user, read_only) = (is_in_user_namespace(), overlay.upper.is_none());
    if let Some(data) = overlay.plain_options(index, is_user) {
        return classic(&data, read_only, &overlay.at);
    }
    match by_descriptor(overlay, index, is_user) {
        // Before 6.5 there is no lowerdir+: escape for mount(2), if it fits.
        Err(Errno::EINVAL) => {
            let data = overlay.escaped_options(index, is_user);
            if data.len() > MOUNT_DATA_MAX {
                return Err(Errno::E2BIG);
            }
            classic(&data, read_only, &overlay.at)
        }
        other => other,
    }
}

fn classic(data: &str, read_only: bool, at: &Path) -> std::result::Result<(), Errno> {
    sys_mount::Mount::builder()
        .fstype(FilesystemType::Manual("overlay"))
        .flags(read_only_flag(read_only))
        .data(data)
        .mount("overlay", at)
        .map(drop)
        .map_err(IntoErrno::into_errno)
}

fn by_descriptor(overlay: &Overlay, index: &str, is_user: bool) -> std::result::Result<(), Errno> {
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
        for (key, value) in with_upper(index) {
            fsconfig_set_string(fs.as_fd(), key, value).map_err(fail)?;
        }
    }
    if is_user {
        rustix::mount::fsconfig_set_flag(fs.as_fd(), USER_OPTION).map_err(fail)?;
    }
    fsconfig_create(fs.as_fd()).map_err(fail)?;
    let attributes = match upper {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(fail)?;
    attach(&mount, &overlay.at)
}

fn set_path(
    fs: std::os::fd::BorrowedFd<'_>,
    key: &str,
    path: &Path,
) -> std::result::Result<(), Errno> {
    let mut text = path.to_string_lossy().into_owned();
    if key != "lowerdir+" {
        // These two are still unescaped as mount(2)'s are; lowerdir+ is taken as it is.
        text = text.replace('\\', "\\\\");
    }
    if text.len() <= FSCONFIG_MAX {
        return fsconfig_set_string(fs, key, text).map_err(IntoErrno::into_errno);
    }
    // Longer than a text may be: by descriptor (6.13).
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let dir =
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(IntoErrno::into_errno)?;
    fsconfig_set_fd(fs, key, dir.as_fd()).map_err(IntoErrno::into_errno)
}
