//! Devices of the host that a subhost gets, besides the usual ones without hardware. This file makes no
//! nodes.

use crate::base::error::{Doing, Error, Exit, Result};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The names in /dev that each subhost has.
const USUAL: &[&str] = &[
    "console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
    "stdout", "tty", "urandom", "zero",
];

/// A device of `DEVICES`: `/dev/PATH[:[r][w][m]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The path below /dev, the same on the host and inside.
    pub path: String,
    /// Whether it may be read.
    pub read: bool,
    /// Whether it may be written.
    pub write: bool,
    /// Whether nodes for it may be made.
    pub make: bool,
}

/// The node of a device, as it is on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The path below /dev.
    pub path: String,
    /// Whether it is a block device; else it is a character device.
    pub block: bool,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// The permissions; the owner is root inside.
    pub mode: u32,
}

impl Device {
    /// Parses a word of `DEVICES`.
    ///
    /// # Errors
    /// The word is not a device.
    pub fn parse(word: &str) -> std::result::Result<Self, String> {
        let (path, access) = match word.rsplit_once(':') {
            // The names in /dev/disk/by-path contain colons.
            Some((path, access)) if access.chars().all(|c| "rwm".contains(c)) => (path, access),
            _ => (word, "rw"),
        };
        let wrong = |why| Err(format!("'{word}' {why}"));
        let Some(below) = path.strip_prefix("/dev/") else {
            return wrong("is no path below /dev");
        };
        let plain = |part: &str| !["", ".", ".."].contains(&part);
        if !below.split('/').all(plain) {
            return wrong("is no plain path below /dev");
        }
        if USUAL.contains(&below.split('/').next().unwrap_or_default()) {
            return wrong("is in every subhost");
        }
        if access.is_empty() {
            return wrong("allows nothing: r, w and m do");
        }
        Ok(Self {
            path: path.to_owned(),
            read: access.contains('r'),
            write: access.contains('w'),
            make: access.contains('m'),
        })
    }

    /// Reads the node from the host. It follows symbolic links.
    ///
    /// # Errors
    /// There is no such file, or it is not a device.
    pub fn node(&self) -> Result<Node> {
        let meta = std::fs::metadata(&self.path).doing(|| format!("give DEVICES={}", self.path))?;
        let kind = meta.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            let what = format!("DEVICES: {} is not a device", self.path);
            return Err(Error::new(Exit::Failed, what));
        }
        let bits = if self.read { 0o444 } else { 0 } | if self.write { 0o222 } else { 0 };
        Ok(Node {
            path: self.path.trim_start_matches("/dev/").to_owned(),
            block: kind.is_block_device(),
            major: nix::libc::major(meta.rdev()),
            minor: nix::libc::minor(meta.rdev()),
            mode: meta.mode() & bits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parsed() {
        let tun = Device::parse("/dev/net/tun").unwrap();
        assert_eq!((tun.read, tun.write, tun.make), (true, true, false));
        let fuse = Device::parse("/dev/fuse:rm").unwrap();
        assert_eq!(
            (fuse.path.as_str(), fuse.write, fuse.make),
            ("/dev/fuse", false, true)
        );
        assert_eq!(
            Device::parse("/dev/usb-0:1.2").unwrap().path,
            "/dev/usb-0:1.2"
        );
        for bad in [
            "fuse",
            "/dev",
            "/dev/",
            "/dev/../mem",
            "/dev/null",
            "/dev/pts/0",
            "/dev/x:",
            "/dev//x",
        ] {
            assert!(Device::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_are_read_from_the_host() {
        let full = Device {
            path: "/dev/full".into(),
            read: true,
            write: false,
            make: false,
        };
        let node = full.node().unwrap();
        assert_eq!(
            (node.block, node.major, node.minor, node.mode),
            (false, 1, 7, 0o444)
        );
        assert!(Device::parse("/dev/there/is/none").unwrap().node().is_err());
        assert!(Device::parse("/dev/block").is_ok());
    }
}
