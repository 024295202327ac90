//! Overlay mounts: layers of any number and name, and the ways overlayfs says no.

use super::mountinfo::Table;
use super::{attach, directory, is_pending, mapped, mount_error, read_only_flag};
use crate::base::error::{Errno, Error, Exit, IntoErrno, Result, shown};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_string, fsmount, fsopen,
};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys_mount::FilesystemType;

/// What mount(2) takes: a page less its final NUL.
const MOUNT_DATA_MAX: usize = 4095;
/// What fsconfig(FSCONFIG_SET_STRING) takes.
const FSCONFIG_MAX: usize = 255;

pub(super) fn check(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    pending: &[&Path],
) -> Result<()> {
    for lower in lowers {
        if !is_pending(lower, pending) {
            directory(
                lower,
                "LOWER names directories or image files, topmost first",
            )?;
        }
    }
    match upper {
        Some((upper, _)) if !is_pending(upper, pending) => directory(
            upper,
            "the writable layer is never made silently: mkdir it, or set UPPER",
        ),
        _ => Ok(()),
    }
}

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

pub(super) fn mount(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    at: &Path,
    ids: Option<u32>,
) -> Result<()> {
    if let Some((upper, work)) = upper {
        directory(upper, "the writable layer")?;
        directory(work, "WORK must be a directory on the file system of UPPER")?;
    }
    // The previous overlay on this upper may still be on its way out of the kernel.
    let mut waits = [1u64, 2, 4, 8, 16, 32, 64].iter();
    let mut index = "on";
    loop {
        let tried = match ids {
            Some(base) => {
                let options = with_upper(index);
                let options = if upper.is_some() { &options[..] } else { &[] };
                mapped::overlay(lowers, upper, at, options, base)?
            }
            None => try_mount(lowers, upper, at, index),
        };
        let errno = match tried {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        };
        // The index knows which layers it was made over. With others, as after LOWER changed or
        // the tree was copied, the overlay is right without it.
        if errno == Errno::ESTALE && index == "on" && upper.is_some() {
            // The kernel itself would only warn from now on.
            check_unused(upper)?;
            index = "off";
            continue;
        }
        if errno == Errno::EBUSY
            && let Some(wait) = waits.next()
        {
            check_unused(upper)?;
            std::thread::sleep(Duration::from_millis(*wait));
            continue;
        }
        return Err(explained(lowers, upper, at, errno));
    }
}

fn explained(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    at: &Path,
    errno: Errno,
) -> Error {
    let error = mount_error("an overlay", at, errno);
    let names = || {
        let all = lowers.iter().chain(upper.map(|(upper, _)| upper));
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

/// `index=on`: the kernel itself then refuses an upper that another mount uses, in whatever mount
/// namespace. `metacopy=off`: what a layer holds does not depend on the distribution's default.
fn with_upper(index: &str) -> [(&'static str, &str); 2] {
    [("index", index), ("metacopy", "off")]
}

/// In a user namespace overlayfs keeps its notes where a user may write them. Linux 5.11.
fn user_option() -> Option<&'static str> {
    crate::kernel::proc::in_user_namespace().then_some("userxattr")
}

fn try_mount(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    at: &Path,
    index: &str,
) -> std::result::Result<(), Errno> {
    if let Some(data) = plain_with(lowers, upper, index) {
        return classic(&data, upper.is_none(), at);
    }
    match by_descriptor(lowers, upper, at, index) {
        // Before 6.5 there is no lowerdir+: escape for mount(2), if it fits.
        Err(Errno::EINVAL) => {
            let data = options(lowers, upper, index, &escaped);
            if data.len() > MOUNT_DATA_MAX {
                return Err(Errno::E2BIG);
            }
            classic(&data, upper.is_none(), at)
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

fn by_descriptor(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    at: &Path,
    index: &str,
) -> std::result::Result<(), Errno> {
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
    if let Some(key) = user_option() {
        rustix::mount::fsconfig_set_flag(fs.as_fd(), key).map_err(fail)?;
    }
    fsconfig_create(fs.as_fd()).map_err(fail)?;
    let attributes = match upper {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(fail)?;
    attach(&mount, at)
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

fn options(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    index: &str,
    name: &dyn Fn(&Path) -> String,
) -> String {
    let lowers: Vec<String> = lowers.iter().map(|path| name(path)).collect();
    let mut options = format!("lowerdir={}", lowers.join(":"));
    if let Some((upper, work)) = upper {
        options += &format!(",upperdir={},workdir={}", name(upper), name(work));
        for (key, value) in with_upper(index) {
            options += &format!(",{key}={value}");
        }
    }
    if let Some(key) = user_option() {
        options += &format!(",{key}");
    }
    options
}

fn escaped(path: &Path) -> String {
    let text = path.to_string_lossy();
    let escape = |c| matches!(c, '\\' | ':' | ',');
    text.chars()
        .flat_map(|c| escape(c).then_some('\\').into_iter().chain(Some(c)))
        .collect()
}

/// The options as one text, if no path in them needs escaping and it is short enough.
pub(super) fn plain_options(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
) -> Option<String> {
    plain_with(lowers, upper, "on")
}

fn plain_with(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    index: &str,
) -> Option<String> {
    let paths = lowers
        .iter()
        .chain(upper.iter().flat_map(|(upper, work)| [upper, work]));
    let plain = |path: &PathBuf| !path.to_string_lossy().contains(['\\', ':', ',', '"']);
    if !paths.clone().all(plain) {
        return None;
    }
    let data = options(lowers, upper, index, &|path| {
        path.to_string_lossy().into_owned()
    });
    (data.len() <= MOUNT_DATA_MAX).then_some(data)
}

/// The options as one text with what overlayfs needs escaped.
pub(super) fn escaped_options(lowers: &[PathBuf], upper: Option<&(PathBuf, PathBuf)>) -> String {
    options(lowers, upper, "on", &escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_plain_or_escaped() {
        let upper = (PathBuf::from("/u"), PathBuf::from("/w"));
        let plain = plain_options(&["/a b".into(), "/c".into()], Some(&upper)).unwrap();
        assert_eq!(
            plain,
            "lowerdir=/a b:/c,upperdir=/u,workdir=/w,index=on,metacopy=off"
        );
        assert_eq!(plain_options(&["/a:b".into()], None), None);
        assert_eq!(plain_options(&vec!["/long".into(); 1000], None), None);
        assert_eq!(
            escaped_options(&["/a:b,c\\d".into()], None),
            "lowerdir=/a\\:b\\,c\\\\d"
        );
    }
}
