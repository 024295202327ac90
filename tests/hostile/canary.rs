//! Files of the host that report whether anybody opened, read or changed them.

use crate::common::*;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Files and directories of the host, watched by inotify(7).
pub struct Canary {
    pub dir: PathBuf,
    pub events: OwnedFd,
}

impl Canary {
    pub fn new(s: &Sandbox) -> Self {
        let dir = s.base.join("outside");
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        for name in DIRS {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        for name in FILES {
            fs::write(dir.join(name), "spy:x:4242:4242::/:/bin/sh\n").unwrap();
        }
        let canary = Self { dir, events };
        for name in DIRS.iter().chain(FILES) {
            canary.watch(&canary.dir.join(name));
        }
        canary
    }

    /// Watches one more file.
    pub fn watch(&self, path: &Path) {
        let flags = WatchFlags::ALL_EVENTS | WatchFlags::DONT_FOLLOW;
        inotify::add_watch(&self.events, path, flags).unwrap();
    }

    /// Returns the events since the last call.
    pub fn events(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            // The test itself removes a watched file.
            if !event.events().contains(ReadFlags::IGNORED) {
                events.push(format!("{:?} {:?}", event.events(), event.file_name()));
            }
        }
        events
    }
}

/// What hostile links lead to: all that a subhost mounts on, writes or reads in a tree.
const FILES: &[&str] = &[
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
    "etc/passwd",
    "etc/group",
    "bin/sh",
    "srv/file",
];

const DIRS: &[&str] = &[
    "bin", "dev", "dev/pts", "dev/shm", "etc", "home", "home/web", "mnt", "mnt/deep", "proc",
    "run", "srv", "sys", "tmp", "tmp/deep",
];
