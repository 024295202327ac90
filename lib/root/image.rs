//! Files with a file system in them: what is in the file, the loop device, the mount.
//!
//! An image is hostile input: its superblock and its partition table are read with bounds, and no
//! file system is tried that its superblock does not name.

use super::mountinfo::{Mount, Table};
use super::{mount_error, read_only_flag};
use crate::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use loopdev::{LoopControl, LoopDevice};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use sys_mount::{FilesystemType, MountFlags};

/// A sector of partition tables, bytes.
const SECTOR: u64 = 512;

pub(super) fn check(
    file: &Path,
    partition: Option<u32>,
    fstype: Option<&str>,
    read_only: bool,
) -> Result<()> {
    let opened = open(file, read_only)?;
    found(file, &opened, partition, fstype)?;
    if !read_only && let Some(device) = attached_to(file).first() {
        return Err(Error::new(
            Exit::Failed,
            format!("{} is attached to {} already", shown(file), shown(device)),
        )
        .hint("two writers destroy a file system; losetup -d it when nobody needs it"));
    }
    Ok(())
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

fn found(
    file: &Path,
    opened: &File,
    partition: Option<u32>,
    fstype: Option<&str>,
) -> Result<Found> {
    let (offset, size) = match partition {
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
    let fstype = match fstype {
        Some(fstype) => fstype.to_owned(),
        None => superblock(opened, offset)
            .ok_or_else(|| unknown(file, opened, partition))?
            .to_owned(),
    };
    Ok(Found {
        offset,
        size,
        fstype,
    })
}

fn unknown(file: &Path, opened: &File, partition: Option<u32>) -> Error {
    let error = Error::new(
        Exit::Failed,
        format!("no file system is recognised in the image {}", shown(file)),
    );
    let parts = partitions(opened);
    if partition.is_none() && !parts.is_empty() {
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

/// The file systems that we know, by where their superblocks keep which bytes.
const SUPERBLOCKS: &[(&str, u64, &[u8])] = &[
    ("squashfs", 0, b"hsqs"),
    ("xfs", 0, b"XFSB"),
    ("erofs", 0x400, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("ext4", 0x438, &[0x53, 0xef]),
    ("f2fs", 0x400, &[0x10, 0x20, 0xf5, 0xf2]),
    ("iso9660", 0x8001, b"CD001"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
];

fn superblock(file: &File, offset: u64) -> Option<&'static str> {
    SUPERBLOCKS.iter().find_map(|(fstype, at, magic)| {
        let mut bytes = vec![0; magic.len()];
        file.read_exact_at(&mut bytes, offset.checked_add(*at)?)
            .ok()?;
        (bytes == *magic).then_some(*fstype)
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Partition {
    number: u32,
    /// Bytes.
    start: u64,
    /// Bytes.
    size: u64,
}

/// The partitions of a GPT (UEFI 5.3) or of an MBR that lie in the file.
fn partitions(file: &File) -> Vec<Partition> {
    let length = file.metadata().map_or(0, |meta| meta.len());
    let inside = |part: &Partition| {
        part.size > 0
            && part.start > 0
            && part
                .start
                .checked_add(part.size)
                .is_some_and(|end| end <= length)
    };
    let mut mbr = [0; 512];
    if file.read_exact_at(&mut mbr, 0).is_err() || mbr[510..] != [0x55, 0xaa] {
        return Vec::new();
    }
    gpt(file)
        .unwrap_or_else(|| primary(file, &mbr))
        .into_iter()
        .filter(inside)
        .collect()
}

/// Types of the entry that holds further, logical partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// Entry `number` (from 1) of a boot record, and its type.
fn entry(record: &[u8; 512], number: u32) -> (Partition, u8) {
    let at = 446 + 16 * (number as usize - 1);
    let word = |at: usize| u64::from(le32(&record[at..]));
    let partition = Partition {
        number,
        start: word(at + 8) * SECTOR,
        size: word(at + 12) * SECTOR,
    };
    (partition, record[at + 4])
}

fn primary(file: &File, mbr: &[u8; 512]) -> Vec<Partition> {
    let mut parts = Vec::new();
    for (part, kind) in (1..=4).map(|number| entry(mbr, number)) {
        if EXTENDED.contains(&kind) {
            parts.extend(logical(file, part.start));
        } else {
            parts.push(part);
        }
    }
    parts
}

/// The chain of extended boot records from `first` on: each holds one partition, by its distance
/// from the record, and the next record, by its distance from the first. A chain may lie and go in
/// circles: 60 links are more than any tool makes.
fn logical(file: &File, first: u64) -> Vec<Partition> {
    let mut parts = Vec::new();
    let mut at = first;
    for number in 5..65 {
        let mut record = [0; 512];
        if file.read_exact_at(&mut record, at).is_err() || record[510..] != [0x55, 0xaa] {
            break;
        }
        let ((part, _), (next, _)) = (entry(&record, 1), entry(&record, 2));
        parts.push(Partition {
            number,
            start: at + part.start,
            size: part.size,
        });
        if next.start == 0 {
            break;
        }
        at = first + next.start;
    }
    parts
}

fn gpt(file: &File) -> Option<Vec<Partition>> {
    let mut header = [0; 92];
    file.read_exact_at(&mut header, SECTOR).ok()?;
    if &header[..8] != b"EFI PART" {
        return None;
    }
    let table = le64(&header[72..]).checked_mul(SECTOR)?;
    let (count, size) = (le32(&header[80..]).min(128), le32(&header[84..]));
    if !(128..=4096).contains(&size) {
        return None;
    }
    let mut parts = Vec::new();
    for index in 0..count {
        let mut entry = [0; 48];
        let at = table.checked_add(u64::from(index) * u64::from(size))?;
        file.read_exact_at(&mut entry, at).ok()?;
        let (first, last) = (le64(&entry[32..]), le64(&entry[40..]));
        if entry[..16] == [0; 16] || last < first {
            continue;
        }
        parts.push(Partition {
            number: index + 1,
            start: first.checked_mul(SECTOR)?,
            size: (last - first).checked_add(1)?.checked_mul(SECTOR)?,
        });
    }
    Some(parts)
}

fn le32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .rev()
        .fold(0, |sum, b| sum << 8 | u32::from(*b))
}

fn le64(bytes: &[u8]) -> u64 {
    u64::from(le32(&bytes[4..])) << 32 | u64::from(le32(bytes))
}

pub(super) fn mount(
    file: &Path,
    at: &Path,
    partition: Option<u32>,
    fstype: Option<&str>,
    options: Option<&str>,
    read_only: bool,
) -> Result<()> {
    let opened = open(file, read_only)?;
    let found = found(file, &opened, partition, fstype)?;
    // The device is kept open until the mount holds it: it clears itself when both are gone.
    let device = attach(&opened, &found, read_only)
        .doing(|| format!("attach the image {} to a loop device", shown(file)))?;
    let path = device
        .path()
        .ok_or_else(|| Error::sys("tell the name of a loop device", Errno::ENODEV))?;
    let (flags, data) = parted(options.unwrap_or_default());
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

fn attach(file: &File, found: &Found, read_only: bool) -> std::io::Result<LoopDevice> {
    let control = LoopControl::open()?;
    // Which number is free and taking it are two calls: others may be faster.
    for _ in 0..1000 {
        let device = control.next_free()?;
        let attached = device
            .with()
            .offset(found.offset)
            .size_limit(found.size)
            .read_only(read_only)
            .autoclear(true)
            .attach_fd(file.as_raw_fd());
        match attached {
            Ok(()) => return Ok(device),
            Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32) => {}
            Err(e) => return Err(e),
        }
    }
    Err(std::io::Error::from_raw_os_error(Errno::EBUSY as i32))
}

/// Loop devices whose backing file is `file`.
pub(super) fn attached_to(file: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let mut devices: Vec<PathBuf> = entries
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("loop"))
        .filter(|entry| backing_file(&entry.path()).is_some_and(|backing| backing == file))
        .map(|entry| Path::new("/dev").join(entry.file_name()))
        .collect();
    devices.sort();
    devices
}

/// The file behind a block device of /sys/block; none if it is no loop device or has none.
fn backing_file(block: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut text = std::fs::read(block.join("loop/backing_file")).ok()?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(text)))
}

/// Is `file` what `mount` shows?
pub(super) fn backs(mount: &Mount, file: &Path) -> bool {
    mount
        .source
        .strip_prefix("/dev/loop")
        .and_then(|number| backing_file(&Path::new("/sys/block").join(format!("loop{number}"))))
        .is_some_and(|backing| backing == file)
}

/// Detaches devices that a killed run attached to our claimed image and did not mount.
pub(super) fn detach_leftovers(file: &Path, table: &Table) -> Result<()> {
    for path in attached_to(file) {
        if table
            .all()
            .iter()
            .any(|mount| Path::new(&mount.source) == path)
        {
            continue;
        }
        LoopDevice::open(&path)
            .and_then(|device| device.detach())
            .doing(|| format!("detach {}", shown(&path)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile();
        file.write_all(bytes).unwrap();
        file
    }

    fn tempfile() -> File {
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        File::from(rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR).unwrap())
    }

    #[test]
    fn superblocks() {
        assert_eq!(superblock(&file(b"hsqs...."), 0), Some("squashfs"));
        let mut ext4 = vec![0; 0x500];
        ext4[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(superblock(&file(&ext4), 0), Some("ext4"));
        assert_eq!(superblock(&file(&ext4), u64::MAX), None);
        assert_eq!(superblock(&file(b""), 0), None);
    }

    #[test]
    fn partition_tables_that_lie() {
        let mut mbr = vec![0; 4096];
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        // The second entry: sector 2, 3 sectors. The third: beyond the file.
        mbr[446 + 16 + 8] = 2;
        mbr[446 + 16 + 12] = 3;
        mbr[446 + 32 + 8..446 + 32 + 16].fill(0xff);
        let good = Partition {
            number: 2,
            start: 1024,
            size: 1536,
        };
        assert_eq!(partitions(&file(&mbr)), [good]);
        // A GPT whose table is nowhere.
        mbr[512..520].copy_from_slice(b"EFI PART");
        mbr[584..592].fill(0xff);
        mbr[592..596].fill(0xff);
        mbr[596..600].copy_from_slice(&128u32.to_le_bytes());
        partitions(&file(&mbr));
        assert!(partitions(&file(&[0xff; 600])).is_empty());
    }
}
