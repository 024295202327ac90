//! The mount table of the kernel (`proc_pid_mountinfo(5)`): what is mounted where, and marks by which a mount
//! is recognized later. This file mounts nothing.

use crate::base::error::{Doing, Result};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount, a line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The id of the mount.
    pub id: u64,
    /// The id of the parent mount.
    pub parent: u64,
    /// The device of the file system, `major:minor`.
    pub device: String,
    /// The directory of the file system that is the root of the mount.
    pub root: PathBuf,
    /// The mount point.
    pub at: PathBuf,
    /// The options of the mount.
    pub options: String,
    /// Whether the mount is in a peer group (`mount_namespaces(7)`).
    pub shared: bool,
    /// The type of the file system.
    pub fstype: String,
    /// The source of the mount.
    pub source: String,
    /// The options of the file system, still escaped.
    pub super_options: String,
}

/// The mounts of one mount namespace, in the order of the kernel.
#[derive(Debug, Clone, Default)]
pub struct Table(Vec<Mount>);

impl Table {
    /// Reads the table of the mount namespace of the calling thread.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn read() -> Result<Self> {
        // Not /proc/self: a thread can have a mount namespace of its own.
        let text = std::fs::read("/proc/thread-self/mountinfo").doing(|| "read the mount table")?;
        Ok(Self::parse(&text))
    }

    /// Parses mountinfo and skips malformed lines.
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|b| *b == b'\n').filter_map(parse_line).collect())
    }

    /// Returns the top mount at `path`, if `path` is a mount point.
    pub fn at(&self, path: &Path) -> Option<&Mount> {
        self.find_containing(path).filter(|mount| mount.at == path)
    }

    /// Finds the mount of a mark, wherever it is mounted now; none if another mount covers it.
    pub fn find_marked(&self, mark: &Mark) -> Option<&Mount> {
        let mount = self.0.iter().find(|mount| mount.id == mark.id)?;
        let now = read_mark(&mount.at)?;
        let same = match mark.unique {
            // A later mount may have the same id, but hardly the same root.
            0 => now.root == mark.root,
            unique => now.unique == unique,
        };
        same.then_some(mount)
    }

    /// Finds the mount that contains `path`, as the kernel does: it walks down from the root and enters the
    /// mount on each directory. The mount points alone are not enough: another mount may cover a mount
    /// point.
    pub fn find_containing(&self, path: &Path) -> Option<&Mount> {
        let is_root = |mount: &&Mount| mount.at == Path::new("/");
        let mut roots = self.0.iter().filter(is_root);
        let mut now = roots.find(|root| {
            let parent = self.0.iter().find(|mount| mount.id == root.parent);
            parent.is_none_or(|parent| !is_root(&parent) || parent.id == root.id)
        })?;
        let dirs: Vec<&Path> = path.ancestors().collect();
        for dir in dirs.into_iter().rev() {
            let on = |now: &Mount| {
                let (id, dir) = (now.id, dir);
                self.0
                    .iter()
                    .rev()
                    .find(|mount| mount.parent == id && mount.id != id && mount.at == dir)
            };
            // At most as many rounds as mounts: the kernel reuses ids while the table is read, so that
            // parents can form a circle.
            for _ in &self.0 {
                let Some(upper) = on(now) else { break };
                now = upper;
            }
        }
        Some(now)
    }

    /// Returns all mounts below the mount `id`, children before parents and later ones first: the order of
    /// unmounting.
    pub fn below(&self, id: u64) -> Vec<&Mount> {
        let mut ids = vec![id];
        let mut next = 0;
        let mut found: Vec<usize> = Vec::new();
        while next < ids.len() {
            let parent = ids[next];
            next += 1;
            for (index, mount) in self.0.iter().enumerate() {
                if mount.parent == parent && !ids.contains(&mount.id) {
                    ids.push(mount.id);
                    found.push(index);
                }
            }
        }
        // The search is breadth-first, so a child comes after its parent. The reverse unmounts children
        // first.
        found.iter().rev().map(|index| &self.0[*index]).collect()
    }

    /// Returns all mounts.
    pub fn all(&self) -> &[Mount] {
        &self.0
    }
}

/// A mount table that is read only if it is needed: with a thousand subhosts up, reading it takes longer than
/// the rest of a command.
#[derive(Debug)]
pub enum Mounts<'a> {
    /// A table that has been read.
    Read(&'a Table),
    /// A table that is read on first use.
    Later(OnceCell<Table>),
}

impl<'a> Mounts<'a> {
    /// Makes a table of our mount namespace that is read on first use.
    pub fn later() -> Mounts<'static> {
        Mounts::Later(OnceCell::new())
    }

    /// Returns the table, and reads it on first use.
    ///
    /// # Errors
    /// See [`Table::read`].
    pub fn table(&self) -> Result<&Table> {
        match self {
            Mounts::Read(table) => Ok(table),
            Mounts::Later(cell) => match cell.get() {
                Some(table) => Ok(table),
                None => {
                    let table = Table::read()?;
                    Ok(cell.get_or_init(|| table))
                }
            },
        }
    }
}

/// Tells whether `path` is a mount point. None before Linux 5.8, or if the path does not exist.
pub fn is_mount_point(path: &Path) -> Option<bool> {
    // STATX_ATTR_MOUNT_ROOT of include/uapi/linux/stat.h.
    const MOUNT_ROOT: u64 = 0x2000;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let status = statx(CWD, path, flags, StatxFlags::empty()).ok()?;
    let is_known = status.stx_attributes_mask.bits() & MOUNT_ROOT != 0;
    is_known.then_some(status.stx_attributes.bits() & MOUNT_ROOT != 0)
}

/// Tells whether the top mount at `path` is that of the mark. False before Linux 6.8.
pub fn is_marked(path: &Path, mark: &Mark) -> bool {
    mark.unique != 0 && unique_id(path) == Some(mark.unique)
}

/// Returns the id of the mount that contains `path`, which no other mount gets until the host reboots.
/// Linux 6.8.
fn unique_id(path: &Path) -> Option<u64> {
    const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let status = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, MNT_ID_UNIQUE).ok()?;
    let is_known = StatxFlags::from_bits_retain(status.stx_mask).contains(MNT_ID_UNIQUE);
    is_known.then_some(status.stx_mnt_id)
}

/// Tells whether the mount that contains `path` is shared. None before Linux 6.8, where only the table says
/// it.
pub fn is_shared(path: &Path) -> Option<bool> {
    let propagation = crate::sys::propagation(unique_id(path)?).ok()?;
    Some(propagation & nix::libc::MS_SHARED != 0)
}

/// Makes a mark of the top mount at `path`.
pub fn read_mark(path: &Path) -> Option<Mark> {
    let ask = |mask| statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, mask).ok();
    let now = ask(StatxFlags::MNT_ID | StatxFlags::INO)?;
    Some(Mark {
        id: now.stx_mnt_id,
        root: (
            rustix::fs::makedev(now.stx_dev_major, now.stx_dev_minor),
            now.stx_ino,
        ),
        unique: unique_id(path).unwrap_or(0),
        netns: None,
    })
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let mut next = || fields.next();
    let id = parse_number(next()?)?;
    let parent = parse_number(next()?)?;
    let device = to_text(next()?);
    let root = to_path(next()?);
    let at = to_path(next()?);
    let options = to_text(next()?);
    // A lone hyphen ends the optional fields.
    let mut shared = false;
    loop {
        match next()? {
            b"-" => break,
            field => shared |= field.starts_with(b"shared:"),
        }
    }
    Some(Mount {
        id,
        parent,
        device,
        root,
        at,
        options,
        shared,
        fstype: to_text(next()?),
        source: to_text(&unescape(next()?)),
        super_options: to_text(next()?),
    })
}

fn parse_number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn to_text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn to_path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Replaces the escapes `\ooo` of mountinfo by the bytes.
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = |b: u8| (b'0'..=b'7').contains(&b).then(|| u32::from(b - b'0'));
        if first == b'\\'
            && let [a, b, c, more @ ..] = tail
            && let (Some(a), Some(b), Some(c)) = (octal(*a), octal(*b), octal(*c))
        {
            out.push((a * 64 + b * 8 + c) as u8);
            rest = more;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

impl Mount {
    /// Describes the mount for a message that it is in the way.
    pub fn describe(&self) -> String {
        let source = crate::base::error::shown(&self.source);
        format!(
            "{} mounted from {source} ({})",
            self.fstype,
            crate::base::error::shown(&self.options)
        )
    }

    /// Tells whether the mount is read-only.
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }

    /// Tells whether the mount has an id map.
    pub fn is_mapped(&self) -> bool {
        self.options.split(',').any(|option| option == "idmapped")
    }

    /// Returns the layers, the upper and the work directory of an overlay, as they were given to mount.
    pub fn overlay_layers(&self) -> (Vec<PathBuf>, Option<PathBuf>, Option<PathBuf>) {
        let (mut lowers, mut upper, mut work) = (Vec::new(), None, None);
        for option in split_unescaped(self.super_options.as_bytes(), b',') {
            let Some(equals) = option.iter().position(|b| *b == b'=') else {
                continue;
            };
            let (key, value) = (&option[..equals], unescape(&option[equals + 1..]));
            let whole = || PathBuf::from(OsString::from_vec(strip_backslashes(&value)));
            match key {
                // mount(2) takes all layers in one option, with colons; fsconfig(2) one option each.
                b"lowerdir" => lowers.extend(
                    split_unescaped(&value, b':')
                        .into_iter()
                        .map(|part| PathBuf::from(OsString::from_vec(strip_backslashes(part)))),
                ),
                b"lowerdir+" => lowers.push(PathBuf::from(OsString::from_vec(value.clone()))),
                b"upperdir" => upper = Some(whole()),
                b"workdir" => work = Some(whole()),
                _ => {}
            }
        }
        (lowers, upper, work)
    }
}

/// Splits at each `at` that no backslash precedes.
fn split_unescaped(text: &[u8], at: u8) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut start, mut index) = (0, 0);
    while index < text.len() {
        match text[index] {
            b'\\' => index += 1,
            b if b == at => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
        index += 1;
    }
    parts.push(&text[start..]);
    parts
}

/// Removes the backslashes that overlayfs requires before `:`, `,` and `\`.
fn strip_backslashes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.clone().next()) {
            (b'\\', Some(&next @ (b':' | b',' | b'\\'))) => {
                out.push(next);
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
    out
}

/// The identity of what a step made, so that it is found wherever it has been moved and not confused with
/// anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The id in mountinfo of the mount, or of the mount on the name of a network namespace. A later mount
    /// may get the same id.
    pub id: u64,
    /// The id that no other mount gets until the host reboots (STATX_MNT_ID_UNIQUE, `statx(2)`); 0 before
    /// Linux 6.8.
    pub unique: u64,
    /// Device and inode of the root directory of the mount.
    pub root: (u64, u64),
    /// For a network namespace: its inode in /proc/PID/ns/net, which a later namespace may get, and its
    /// cookie (SO_NETNS_COOKIE), which no other namespace gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:25 / /a\\040b rw shared:2 master:1 - tmpfs tmp rw,size=4k
31 30 0:26 /sub /a\\040b/c ro - ext4 /dev/sdb ro
32 30 0:27 / /a\\040b rw - overlay overlay rw,lowerdir=/l\\0541:/l2\\134:x,upperdir=/u,workdir=/w
garbage
";

    #[test]
    fn finds_mounts_and_covered_paths() {
        let table = Table::parse(TEXT);
        assert_eq!(table.all().len(), 4);
        assert_eq!(table.at(Path::new("/a b")).unwrap().id, 32);
        // The overlay covers what is mounted below it.
        assert_eq!(table.find_containing(Path::new("/a b/c/d")).unwrap().id, 32);
        assert!(table.at(Path::new("/a b/c")).is_none());
        assert_eq!(table.find_containing(Path::new("/x")).unwrap().id, 21);
        assert!(table.at(Path::new("/x")).is_none());
        let ids: Vec<u64> = table.below(21).iter().map(|m| m.id).collect();
        assert_eq!(ids, [32, 31, 30]);
        assert!(table.all()[2].is_read_only());
    }

    #[test]
    fn overlay_options_in_both_forms() {
        let table = Table::parse(TEXT);
        let (lowers, upper, work) = table.at(Path::new("/a b")).unwrap().overlay_layers();
        assert_eq!(lowers, [Path::new("/l,1"), Path::new("/l2:x")]);
        assert_eq!(upper.unwrap(), Path::new("/u"));
        assert_eq!(work.unwrap(), Path::new("/w"));
        let one = b"1 0 0:1 / /m rw - overlay o rw,lowerdir+=/a\\134b,lowerdir+=/c:d";
        let (lowers, ..) = Table::parse(one).all()[0].overlay_layers();
        assert_eq!(lowers, [Path::new("/a\\b"), Path::new("/c:d")]);
    }

    #[test]
    fn hostile_lines_do_no_harm() {
        for text in [
            &b"1 2"[..],
            b"\\",
            b"- - - -",
            b"1 1 0:1 / / rw - a b c",
            b"1 2 0:1 / / rw - a b c\n2 1 0:1 / / rw - a b c",
            b"1 0 0:1 / / rw - a b c\n2 3 0:1 / / rw - a b c\n3 1 0:1 / / rw - a b c\n3 2 0:1 / / rw - a b c",
            b"\xff\xfe \\9",
        ] {
            let table = Table::parse(text);
            assert!(table.below(1).len() <= table.all().len());
            table.find_containing(Path::new("/a"));
        }
    }
}
