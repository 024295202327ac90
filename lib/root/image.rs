//! Image files: finds the file system in the file, attaches a loop device, mounts it.
//!
//! An image is hostile input. Reads of its superblock and partition table are bounded, and only the file
//! system that the superblock or IMAGE_FSTYPE names is tried.

use super::mounted::{Mounted, mount_error, mount_flags};
use super::partitions::{Partition, fstype_at, partitions};
use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::loops::{all_attached, backing_file};
use crate::kernel::mountinfo::{Mount, Table};
use crate::plan::Step;
use crate::plan::steps::Access;
use crate::plan::steps::image::Image;
use crate::sys;
use loopdev::{LoopControl, LoopDevice};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use sys_mount::{FilesystemType, MountFlags};

impl Mounted for Image {
    fn at(&self) -> &Path {
        &self.at
    }

    fn makes(&self, mount: &Mount, _: &Table) -> bool {
        is_backed_by(mount, &self.file) && (!self.read_only || mount.is_read_only())
    }

    fn check(&self, _: &[Step]) -> Result<()> {
        let file = &self.file;
        if crate::kernel::privilege::has_entered() {
            let what = format!(
                "cannot mount the image {}: loop devices need root",
                shown(file)
            );
            return Err(Error::new(Exit::Failed, what).hint(
                "unpack it into a directory (unsquashfs, debugfs rdump), for LOWER or UPPER",
            ));
        }
        let opened = open(file, self.access())?;
        find_file_system(self, &opened)?;
        if !self.read_only
            && let Some(device) = loop_devices_of(file).first()
        {
            return Err(Error::new(
                Exit::Failed,
                format!("{} is attached to {} already", shown(file), shown(device)),
            )
            .hint("two writers corrupt a file system; detach it with losetup -d when it is not needed"));
        }
        Ok(())
    }

    fn mount(&self) -> Result<()> {
        mount(self)
    }
}

/// Opens the image file. It refuses anything but a regular file, and does not block on a FIFO or a device.
///
/// # Errors
/// The file is missing, cannot be opened, or is not a regular file.
fn open(file: &Path, access: Access) -> Result<File> {
    let access = match access {
        Access::ReadOnly => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let real = std::fs::canonicalize(file).doing(|| format!("use the image {}", shown(file)))?;
    let opened: OwnedFd = openat2(
        CWD,
        &real,
        access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .doing(|| format!("open the image {}", shown(file)))?;
    let opened = File::from(opened);
    let meta = opened
        .metadata()
        .doing(|| format!("look at the image {}", shown(file)))?;
    if !meta.is_file() {
        return Err(Error::new(
            Exit::Failed,
            format!("the image {} is not a regular file", shown(file)),
        ));
    }
    Ok(opened)
}

/// A file system in an image file.
struct FileSystem {
    /// Its start in the file, in bytes.
    offset: u64,
    /// Its size in bytes; 0 if it ends with the file.
    size: u64,
    fstype: String,
}

/// Finds the file system that the step mounts.
///
/// # Errors
/// The partition is missing, or the file system is unknown or takes no device.
fn find_file_system(image: &Image, opened: &File) -> Result<FileSystem> {
    let file = &image.file;
    let (offset, size) = match image.partition {
        None => (0, 0),
        Some(number) => partitions(opened)
            .into_iter()
            .find(|part| part.number == number)
            .map(|part| (part.start, part.size))
            .ok_or_else(|| {
                Error::new(
                    Exit::Failed,
                    format!("the image {} has no partition {number}", shown(file)),
                )
                .hint(list_partitions(&partitions(opened)))
            })?,
    };
    let fstype = match &image.fstype {
        Some(fstype) if takes_no_device(fstype) => {
            let what = format!("{fstype} is not a file system for an image");
            return Err(Error::new(Exit::Invalid, what).hint("IMAGE_FSTYPE"));
        }
        Some(fstype) => fstype.clone(),
        None => fstype_at(opened, offset)
            .ok_or_else(|| unknown_error(image, opened))?
            .to_owned(),
    };
    Ok(FileSystem {
        offset,
        size,
        fstype,
    })
}

/// Tells whether the kernel lists the type as `nodev`. Such a file system, as proc or overlay, would ignore
/// the image.
fn takes_no_device(fstype: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let mut lines = known.lines().filter_map(|line| line.strip_prefix("nodev"));
    lines.any(|name| name.trim() == fstype)
}

fn unknown_error(image: &Image, opened: &File) -> Error {
    let error = Error::new(
        Exit::Failed,
        format!("found no file system in the image {}", shown(&image.file)),
    );
    let parts = partitions(opened);
    if image.partition.is_none() && !parts.is_empty() {
        return error.hint(format!(
            "it is partitioned: set IMAGE_PARTITION, {}",
            list_partitions(&parts)
        ));
    }
    error.hint("make one, such as mkfs.ext4, or set IMAGE_FSTYPE")
}

fn list_partitions(parts: &[Partition]) -> String {
    let numbers: Vec<String> = parts.iter().map(|part| part.number.to_string()).collect();
    match numbers.len() {
        0 => "it has no partition table".into(),
        _ => format!("it has partition {}", numbers.join(", ")),
    }
}

fn mount(image: &Image) -> Result<()> {
    let Image {
        file, at, options, ..
    } = image;
    let access = image.access();
    let opened = open(file, access)?;
    let found = find_file_system(image, &opened)?;
    // Our descriptor keeps the device until the mount does: without either it detaches itself
    // (LO_FLAGS_AUTOCLEAR).
    let device = attach(&opened, &found, access)
        .doing(|| format!("attach the image {} to a loop device", shown(file)))
        .map_err(|error| match error.errno {
            Some(Errno::ENOENT | Errno::ENOTTY | Errno::ENXIO) => {
                error.hint("is there a /dev/loop-control? modprobe loop")
            }
            _ => error,
        })?;
    let path = device
        .path()
        .ok_or_else(|| Error::sys("tell the name of a loop device", Errno::ENODEV))?;
    let (flags, data) = split_options(options.as_deref().unwrap_or_default());
    let flags = flags | mount_flags(access);
    let fail = |e: std::io::Error| {
        let what = format!("{} ({})", shown(file), found.fstype);
        let error = mount_error(&what, at, e.into_errno());
        match error.errno {
            Some(Errno::EROFS) => {
                error.hint("its journal must be replayed: mount it writable once")
            }
            Some(Errno::EINVAL) if !data.is_empty() => {
                error.hint("does the file system know all of IMAGE_OPTIONS?")
            }
            _ => error,
        }
    };
    let mut builder = sys_mount::Mount::builder()
        .fstype(FilesystemType::Manual(&found.fstype))
        .flags(flags);
    if !data.is_empty() {
        builder = builder.data(&data);
    }
    builder.mount(&path, at).map(drop).map_err(fail)
}

/// Splits options of mount(8) into flags of mount(2) and the options of the file system itself.
fn split_options(options: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut rest = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        flags |= match option {
            "ro" => MountFlags::RDONLY,
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            "sync" => MountFlags::SYNCHRONOUS,
            "dirsync" => MountFlags::DIRSYNC,
            "noatime" => MountFlags::NOATIME,
            "nodiratime" => MountFlags::NODIRATIME,
            "relatime" => MountFlags::RELATIME,
            "strictatime" => MountFlags::STRICTATIME,
            "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "atime" => MountFlags::empty(),
            own => {
                rest.push(own);
                MountFlags::empty()
            }
        };
    }
    (flags, rest.join(","))
}

/// Attaches a free loop device to the file system. One call (LOOP_CONFIGURE) sets the autoclear flag as well.
/// The crate loopdev uses a second call for the flag, and a kill between the two would leave the device
/// attached for ever.
fn attach(file: &File, found: &FileSystem, access: Access) -> std::io::Result<LoopDevice> {
    let control = LoopControl::open()?;
    let read_only = match access {
        Access::ReadOnly => sys::LOOP_READ_ONLY,
        Access::ReadWrite => 0,
    };
    // Another process can take the free device between the two calls: retry.
    for _ in 0..1000 {
        let device = control.next_free()?;
        let range = sys::LoopRange {
            offset: found.offset,
            size: found.size,
            flags: sys::LOOP_AUTOCLEAR | read_only,
        };
        match sys::configure_loop(device.as_raw_fd(), file, range) {
            Ok(()) => return Ok(device),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EBUSY.into())
}

/// Returns the loop devices whose backing file is `file`. It compares device and inode, because the file may
/// have been attached by another path.
fn loop_devices_of(file: &Path) -> Vec<PathBuf> {
    let meta = std::fs::metadata(file).ok();
    let identity = meta.map(|meta| (meta.dev(), meta.ino()));
    let is_same_file = |device: &Path| {
        let device = File::open(device).ok()?;
        Some(sys::loop_backing(&device).ok() == identity)
    };
    let all = all_attached().into_iter();
    all.filter(|(device, path)| {
        path == file || (identity.is_some() && is_same_file(device) == Some(true))
    })
    .map(|(device, _)| device)
    .collect()
}

/// Tells whether `mount` is on a loop device whose backing file is `file`.
fn is_backed_by(mount: &Mount, file: &Path) -> bool {
    mount
        .source
        .strip_prefix("/dev/loop")
        .and_then(|number| backing_file(&Path::new("/dev").join(format!("loop{number}"))))
        .is_some_and(|backing| {
            // The mount remains ours if the file was deleted, replaced or renamed since.
            let mut deleted = file.as_os_str().to_owned();
            deleted.push(" (deleted)");
            backing == file || backing.as_os_str() == deleted || !file.exists()
        })
}
