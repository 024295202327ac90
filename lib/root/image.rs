//! Files with a file system in them: what is in the file, the loop device, the mount.
//!
//! An image is hostile input: its superblock and its partition table are read with bounds, and no
//! file system is tried that its superblock does not name.

use super::mounted::{Mounted, mount_error, read_only_flag};
use super::partitions::{Partition, partitions, superblock};
use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::kernel::loops::{all_attached, backing_file};
use crate::kernel::mountinfo::{Mount, Table};
use crate::plan::Step;
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
        backs(mount, &self.file) && (!self.read_only || mount.is_read_only())
    }

    fn check(&self, _: &[Step]) -> Result<()> {
        let file = &self.file;
        if crate::kernel::privilege::has_entered() {
            let what = format!(
                "cannot mount the image {}: loop devices are root's",
                shown(file)
            );
            return Err(Error::new(Exit::Failed, what).hint(
                "unpack it into a directory (unsquashfs, debugfs rdump), for LOWER or UPPER",
            ));
        }
        let opened = open(file, self.read_only)?;
        found(self, &opened)?;
        if !self.read_only
            && let Some(device) = attached_to(file).first()
        {
            return Err(Error::new(
                Exit::Failed,
                format!("{} is attached to {} already", shown(file), shown(device)),
            )
            .hint("two writers destroy a file system; losetup -d it when nobody needs it"));
        }
        Ok(())
    }

    fn mount(&self) -> Result<()> {
        mount(self)
    }
}

/// Opens the file without following a link in its last part; a FIFO or device is refused.
fn open(file: &Path, read_only: bool) -> Result<File> {
    let access = if read_only {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
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

/// Where in the file the file system lies, and its type.
struct Found {
    offset: u64,
    /// Bytes; 0: to the end of the file.
    size: u64,
    fstype: String,
}

fn found(image: &Image, opened: &File) -> Result<Found> {
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
                .hint(listed(&partitions(opened)))
            })?,
    };
    let fstype = match &image.fstype {
        Some(fstype) if is_no_disk(fstype) => {
            let what = format!("{fstype} is no file system that an image could hold");
            return Err(Error::new(Exit::Invalid, what).hint("IMAGE_FSTYPE"));
        }
        Some(fstype) => fstype.clone(),
        None => superblock(opened, offset)
            .ok_or_else(|| unknown(image, opened))?
            .to_owned(),
    };
    Ok(Found {
        offset,
        size,
        fstype,
    })
}

/// Does the kernel know the type as one that needs no device?
fn is_no_disk(fstype: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let mut lines = known.lines().filter_map(|line| line.strip_prefix("nodev"));
    lines.any(|name| name.trim() == fstype)
}

fn unknown(image: &Image, opened: &File) -> Error {
    let error = Error::new(
        Exit::Failed,
        format!(
            "no file system is recognised in the image {}",
            shown(&image.file)
        ),
    );
    let parts = partitions(opened);
    if image.partition.is_none() && !parts.is_empty() {
        return error.hint(format!(
            "it is partitioned: set IMAGE_PARTITION, {}",
            listed(&parts)
        ));
    }
    error.hint("make one, such as mkfs.ext4, or set IMAGE_FSTYPE")
}

fn listed(parts: &[Partition]) -> String {
    let numbers: Vec<String> = parts.iter().map(|part| part.number.to_string()).collect();
    match numbers.len() {
        0 => "it has no partition table".into(),
        _ => format!("it has partition {}", numbers.join(", ")),
    }
}

fn mount(image: &Image) -> Result<()> {
    let Image {
        file,
        at,
        options,
        read_only,
        ..
    } = image;
    let read_only = *read_only;
    let opened = open(file, read_only)?;
    let found = found(image, &opened)?;
    // The device is kept open until the mount holds it: it clears itself when both are gone.
    let device = attach(&opened, &found, read_only)
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
    let (flags, data) = parted(options.as_deref().unwrap_or_default());
    let flags = flags | read_only_flag(read_only);
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

/// Options of mount(8) as flags for all file systems (`mount(2)`) and the rest, which is the file
/// system's own.
fn parted(options: &str) -> (MountFlags, String) {
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

/// In one step with the flag that lets the device go when nobody uses it: loopdev's own attach sets
/// it in a second one, and a kill between would leave the device for good.
fn attach(file: &File, found: &Found, read_only: bool) -> std::io::Result<LoopDevice> {
    let control = LoopControl::open()?;
    let read_only = if read_only { sys::LOOP_READ_ONLY } else { 0 };
    // Which number is free and taking it are two calls: others may be faster.
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

/// Loop devices whose backing file is `file`, by whatever path they were given it.
fn attached_to(file: &Path) -> Vec<PathBuf> {
    let meta = std::fs::metadata(file).ok();
    let own = meta.map(|meta| (meta.dev(), meta.ino()));
    let backs = |device: &Path| {
        let device = File::open(device).ok()?;
        Some(sys::loop_backing(&device).ok() == own)
    };
    let all = all_attached().into_iter();
    all.filter(|(device, path)| path == file || (own.is_some() && backs(device) == Some(true)))
        .map(|(device, _)| device)
        .collect()
}

/// Is `file` what `mount` shows?
fn backs(mount: &Mount, file: &Path) -> bool {
    mount
        .source
        .strip_prefix("/dev/loop")
        .and_then(|number| backing_file(&Path::new("/dev").join(format!("loop{number}"))))
        .is_some_and(|backing| {
            // Deleted, replaced or renamed while it is mounted, it is still what we mounted.
            let mut deleted = file.as_os_str().to_owned();
            deleted.push(" (deleted)");
            backing == file || backing.as_os_str() == deleted || !file.exists()
        })
}
