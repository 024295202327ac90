//! The mount table as the kernel tells it (`proc_pid_mountinfo(5)`), the only truth about what is
//! mounted where. Reads and answers; mounts nothing.

use crate::base::error::{Doing, Result};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Id of the mount.
    pub id: u64,
    /// Id of the mount that it is mounted on.
    pub parent: u64,
    /// `major:minor` of its file system.
    pub device: String,
    /// The directory of the file system that is its root.
    pub root: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// Options of the mount.
    pub options: String,
    /// What is mounted or unmounted on it is so in its copies as well.
    pub shared: bool,
    /// File system type.
    pub fstype: String,
    /// What was mounted.
    pub source: String,
    /// Options of the file system, still escaped.
    pub super_options: String,
}

/// The mounts of one mount namespace, in the kernel's order.
#[derive(Debug, Clone, Default)]
pub struct Table(Vec<Mount>);

impl Table {
    /// The table of our own mount namespace.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn read() -> Result<Self> {
        // thread-self: a thread can have a mount namespace of its own.
        let text = std::fs::read("/proc/thread-self/mountinfo").doing(|| "read the mount table")?;
        Ok(Self::parse(&text))
    }

    /// Parses the text; lines that are not in the format are passed over.
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|b| *b == b'\n').filter_map(line).collect())
    }

    /// The mount that one sees at `path`, if `path` is a mount point.
    pub fn at(&self, path: &Path) -> Option<&Mount> {
        self.holding(path).filter(|mount| mount.at == path)
    }

    /// The mount that a mark is of, wherever it is now, unless something covers it.
    pub fn marked(&self, mark: &Mark) -> Option<&Mount> {
        let mount = self.0.iter().find(|mount| mount.id == mark.id)?;
        let now = self::mark(&mount.at)?;
        let same = match mark.unique {
            // A later mount may have its id, but hardly its root as well.
            0 => now.root == mark.root,
            unique => now.unique == unique,
        };
        same.then_some(mount)
    }

    /// The mount that `path` lies in, found as the kernel finds it: from the root on, at each
    /// directory what is mounted there. A line with a fitting path may be of a mount that another
    /// one covers.
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
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
            // No deeper than there are mounts: the table is read while it changes, and ids that are
            // used again can make circles of it.
            for _ in &self.0 {
                let Some(upper) = on(now) else { break };
                now = upper;
            }
        }
        Some(now)
    }

    /// All mounts below the mount `id`, those mounted later first: the order of unmounting.
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
        // Breadth first, so that a child comes after its parent; backwards is deepest first.
        found.iter().rev().map(|index| &self.0[*index]).collect()
    }

    /// All mounts.
    pub fn all(&self) -> &[Mount] {
        &self.0
    }
}

/// The table for those who may not need it: with a thousand subhosts up it takes longer to read than
/// all else that a command does.
#[derive(Debug)]
pub enum Mounts<'a> {
    /// One that has been read.
    Read(&'a Table),
    /// Read when it is first asked for.
    Later(OnceCell<Table>),
}

impl<'a> Mounts<'a> {
    /// Of our own mount namespace, from when it is first asked for.
    pub fn later() -> Mounts<'static> {
        Mounts::Later(OnceCell::new())
    }

    /// The table.
    ///
    /// # Errors
    /// As [`Table::read`].
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

/// Is something mounted on `path` itself? None if the kernel cannot tell (before Linux 5.8), or there
/// is no such path.
pub fn is_mount_point(path: &Path) -> Option<bool> {
    // STATX_ATTR_MOUNT_ROOT of include/uapi/linux/stat.h.
    const MOUNT_ROOT: u64 = 0x2000;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let told = statx(CWD, path, flags, StatxFlags::empty()).ok()?;
    let known = told.stx_attributes_mask.bits() & MOUNT_ROOT != 0;
    known.then_some(told.stx_attributes.bits() & MOUNT_ROOT != 0)
}

/// Is the mount that one sees at `path` the one of this mark? False if the kernel cannot tell.
pub fn is_marked(path: &Path, mark: &Mark) -> bool {
    mark.unique != 0 && unique(path) == Some(mark.unique)
}

/// The id of the mount at `path` that no other gets in this boot. Linux 6.8.
fn unique(path: &Path) -> Option<u64> {
    const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let told = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, MNT_ID_UNIQUE).ok()?;
    let known = StatxFlags::from_bits_retain(told.stx_mask).contains(MNT_ID_UNIQUE);
    known.then_some(told.stx_mnt_id)
}

/// Is the mount that `path` lies in shared? None if the kernel tells by the table only (before Linux
/// 6.8).
pub fn is_shared(path: &Path) -> Option<bool> {
    let propagation = crate::sys::propagation(unique(path)?).ok()?;
    Some(propagation & nix::libc::MS_SHARED != 0)
}

/// What the kernel calls the mount that one sees at `path`.
pub fn mark(path: &Path) -> Option<Mark> {
    let ask = |mask| statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, mask).ok();
    let now = ask(StatxFlags::MNT_ID | StatxFlags::INO)?;
    Some(Mark {
        id: now.stx_mnt_id,
        root: (
            rustix::fs::makedev(now.stx_dev_major, now.stx_dev_minor),
            now.stx_ino,
        ),
        unique: unique(path).unwrap_or(0),
        netns: None,
    })
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let mut next = || fields.next();
    let id = number(next()?)?;
    let parent = number(next()?)?;
    let device = text(next()?);
    let root = path(next()?);
    let at = path(next()?);
    let options = text(next()?);
    // Optional fields end with a lone hyphen.
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
        fstype: text(next()?),
        source: text(&unescape(next()?)),
        super_options: text(next()?),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// `\ooo` of mountinfo to the byte.
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
    /// In words, for messages about something that is in our way.
    pub fn describe(&self) -> String {
        let source = crate::base::error::shown(&self.source);
        format!(
            "{} mounted from {source} ({})",
            self.fstype,
            crate::base::error::shown(&self.options)
        )
    }

    /// Is the mount read-only?
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }

    /// Has it other ids than its file system?
    pub fn is_mapped(&self) -> bool {
        self.options.split(',').any(|option| option == "idmapped")
    }

    /// Layers, upper and work directory of an overlay, as they were given.
    pub fn overlay_layers(&self) -> (Vec<PathBuf>, Option<PathBuf>, Option<PathBuf>) {
        let (mut lowers, mut upper, mut work) = (Vec::new(), None, None);
        for option in split(self.super_options.as_bytes(), b',') {
            let Some(equals) = option.iter().position(|b| *b == b'=') else {
                continue;
            };
            let (key, value) = (&option[..equals], unescape(&option[equals + 1..]));
            let whole = || PathBuf::from(OsString::from_vec(unslash(&value)));
            match key {
                // By mount(2): one text with colons. By fsconfig(2): one option for each.
                b"lowerdir" => lowers.extend(
                    split(&value, b':')
                        .into_iter()
                        .map(|part| PathBuf::from(OsString::from_vec(unslash(part)))),
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

/// Splits at `at`, unless a backslash stands before it.
fn split(text: &[u8], at: u8) -> Vec<&[u8]> {
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

/// Takes away the backslashes that overlayfs wants before `:`, `,` and `\`.
fn unslash(text: &[u8]) -> Vec<u8> {
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

/// What the kernel calls what a step made, so that it is found wherever it has gone since and nothing
/// else is mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Id in mountinfo of the mount, or of the one on the name of a network namespace. A later mount
    /// may get it.
    pub id: u64,
    /// Its id for all of this boot (STATX_MNT_ID_UNIQUE, `statx(2)`); 0 before Linux 6.8.
    pub unique: u64,
    /// Device and inode of its root directory.
    pub root: (u64, u64),
    /// Of a network namespace: the inode that /proc/PID/ns/net shows, which a later one may get, and
    /// its cookie (SO_NETNS_COOKIE), which none gets again.
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
    fn parses_and_answers() {
        let table = Table::parse(TEXT);
        assert_eq!(table.all().len(), 4);
        assert_eq!(table.at(Path::new("/a b")).unwrap().id, 32);
        // The overlay covers what is mounted below it.
        assert_eq!(table.holding(Path::new("/a b/c/d")).unwrap().id, 32);
        assert!(table.at(Path::new("/a b/c")).is_none());
        assert_eq!(table.holding(Path::new("/x")).unwrap().id, 21);
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
            table.holding(Path::new("/a"));
        }
    }
}
