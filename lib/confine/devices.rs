//! Devices of the host that those inside may have, beside the usual ones without hardware.

use crate::base::error::{Doing, Error, Exit, Result};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Made in every subhost's /dev, or mounted there.
const USUAL: &[&str] = &[
    "console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
    "stdout", "tty", "urandom", "zero",
];

/// A device that `DEVICES` names: `/dev/PATH[:[r][w][m]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its path on the host and inside, below /dev.
    pub path: String,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// Nodes for it may be made.
    pub make: bool,
}

/// The node of a device as the host has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its path below /dev.
    pub path: String,
    /// A block device, or one of characters.
    pub block: bool,
    /// Its numbers.
    pub major: u32,
    /// Its numbers.
    pub minor: u32,
    /// Its permissions; it belongs to root inside.
    pub mode: u32,
}

impl Device {
    /// From a word.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(word: &str) -> std::result::Result<Self, String> {
        let (path, access) = match word.rsplit_once(':') {
            // by-path has colons in its names.
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

    /// The node, as the host has it now. A link counts as what it leads to.
    ///
    /// # Errors
    /// There is none, or it is no device.
    pub fn node(&self) -> Result<Node> {
        let meta = std::fs::metadata(&self.path).doing(|| format!("give DEVICES={}", self.path))?;
        let kind = meta.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            let what = format!("DEVICES: {} is no device", self.path);
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
    fn words() {
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
    fn nodes() {
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
