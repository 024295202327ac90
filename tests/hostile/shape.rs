//! What a hostile tree has at a place where something else should be.

use crate::common::set_mode;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What is at a place of a tree instead of the usual file or directory.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A symlink to this, followed by the same place below `outside`.
    Link(&'static str),
    /// A symlink to exactly this.
    To(&'static str),
    Loop,
    File,
    Huge,
    Directory,
    Closed,
    Fifo,
    Socket,
    Device(u32, u32),
    Disk,
    Nothing,
}

pub const SHAPES: &[Shape] = &[
    Shape::Link(""),
    Shape::Link("../../../../../../../.."),
    Shape::Link("/none"),
    Shape::Link("/proc/self/root"),
    Shape::Link("/proc/1/root"),
    Shape::Link("/proc/1/cwd"),
    Shape::To("/proc/self/exe"),
    Shape::To("/proc/1/exe"),
    Shape::To("/proc/self/fd/1"),
    Shape::To("/proc/1/fd/4"),
    Shape::To("/proc/kmsg"),
    Shape::To("/proc/1/ns/mnt"),
    Shape::To("/dev/ptmx"),
    Shape::To(".."),
    Shape::Loop,
    Shape::File,
    Shape::Huge,
    Shape::Directory,
    Shape::Closed,
    Shape::Fifo,
    Shape::Socket,
    Shape::Device(1, 5),
    Shape::Device(10, 130),
    Shape::Disk,
    Shape::Nothing,
];

pub const PLACES: &[&str] = &[
    "proc",
    "dev",
    "dev/pts",
    "dev/shm",
    "sys",
    "run",
    "etc",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
    "etc/passwd",
    "etc/group",
    "mnt",
    "mnt/deep",
    "srv",
    "srv/file",
    "tmp",
    "tmp/deep",
    "home/web",
    "bin",
    "bin/sh",
    "root",
];

pub fn clear(path: &Path) {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Puts `shape` at `place` of the tree `root`.
pub fn put(root: &Path, place: &str, shape: Shape, outside: &Path) {
    let at = root.join(place);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    clear(&at);
    let outside = outside.join(place);
    let node = |kind, device| {
        mknodat(CWD, &at, kind, Mode::from_raw_mode(0o666), device).unwrap();
    };
    match shape {
        Shape::Link(way) => symlink(format!("{way}{}", outside.display()), &at).unwrap(),
        Shape::To(target) => symlink(target, &at).unwrap(),
        Shape::Loop => {
            let other = format!("{}.loop", at.display());
            let _ = fs::remove_file(&other);
            symlink(&other, &at).unwrap();
            symlink(at.file_name().unwrap(), other).unwrap();
        }
        Shape::File => fs::write(&at, "root:x:0:0::/proc/1/root:/proc/self/exe\n").unwrap(),
        // A sparse file of 1 GiB.
        Shape::Huge => fs::File::create(&at).unwrap().set_len(1 << 30).unwrap(),
        Shape::Directory => fs::create_dir(&at).unwrap(),
        Shape::Closed => {
            fs::create_dir(&at).unwrap();
            set_mode(&at, 0o0);
        }
        Shape::Fifo => node(FileType::Fifo, 0),
        Shape::Socket => node(FileType::Socket, 0),
        Shape::Device(major, minor) => {
            node(FileType::CharacterDevice, rustix::fs::makedev(major, minor));
        }
        Shape::Disk => node(FileType::BlockDevice, rustix::fs::makedev(7, 0)),
        Shape::Nothing => {}
    }
}
