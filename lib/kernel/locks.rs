//! The exclusive flocks of the host, as /proc/locks lists them (`proc_locks(5)`). To try a lock instead, even
//! for a moment, would keep others from it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// A file, by major and minor number of its device and by inode.
type FileId = (u64, u64, u64);

/// The exclusive flocks, at the time of reading.
#[derive(Debug)]
pub struct Locks(BTreeMap<FileId, i32>);

impl Locks {
    /// Reads the list; none if there is no /proc/locks.
    pub fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/locks").ok()?;
        Some(Self(text.lines().filter_map(parse_line).collect()))
    }

    /// Returns the pid of the process that has locked a file. The kernel does not list the locks of processes
    /// outside our pid namespace.
    pub fn holder(&self, file: &Metadata) -> Option<i32> {
        let (major, minor) = (nix::libc::major(file.dev()), nix::libc::minor(file.dev()));
        let key = (u64::from(major), u64::from(minor), file.ino());
        self.0.get(&key).copied()
    }
}

/// Parses a line; none if it is not an exclusive flock.
fn parse_line(line: &str) -> Option<(FileId, i32)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", pid, file, ..] = words[..] else {
        return None; // A lock that somebody waits for has an arrow as its second word.
    };
    let mut parts = file.split(':');
    let mut hex = || u64::from_str_radix(parts.next()?, 16).ok();
    let device = (hex()?, hex()?);
    let inode = parts.next()?.parse().ok()?;
    Some(((device.0, device.1, inode), pid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_held_exclusive_flocks_are_parsed() {
        let line = "1: FLOCK  ADVISORY  WRITE 1234 00:1b:5678 0 EOF";
        assert_eq!(parse_line(line), Some(((0, 0x1b, 5678), 1234)));
        let waiting = "1: -> FLOCK  ADVISORY  WRITE 9 00:1b:5678 0 EOF";
        assert_eq!(parse_line(waiting), None);
        assert_eq!(
            parse_line("1: POSIX  ADVISORY  WRITE 9 00:1b:5678 0 EOF"),
            None
        );
        assert_eq!(
            parse_line("1: FLOCK  ADVISORY  READ 9 00:1b:5678 0 EOF"),
            None
        );
    }
}
