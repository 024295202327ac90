//! Where a user's world has its state, its logs and its trees (the XDG base directories).

use crate::base::error::shown;
use crate::base::error::{Doing, Error, Exit, Result};
use nix::unistd::getuid;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The directory below which a world has its state, and the one with its logs.
pub(super) struct Places {
    run: PathBuf,
    logs: PathBuf,
}

impl Places {
    /// By the environment, or by what is usual.
    ///
    /// # Errors
    /// There is no home for the logs.
    pub(super) fn find() -> Result<Self> {
        let uid = getuid();
        let named = variable("XDG_RUNTIME_DIR");
        let usual = PathBuf::from(format!("/run/user/{uid}"));
        let parent = named.into_iter().chain([usual]).find(|dir| is_ours(dir));
        let run = match parent {
            Some(dir) => dir.join("subhost"),
            None => PathBuf::from(format!("/tmp/subhost-{uid}")),
        };
        let logs = variable("XDG_STATE_HOME")
            .or_else(|| home().map(|home| home.join(".local/state")))
            .ok_or_else(|| {
                Error::new(Exit::Failed, "there is no place for logs: HOME is not set")
            })?;
        Ok(Self {
            run,
            logs: logs.join("subhost"),
        })
    }

    /// The world's directory, made if it is not there, with `run` in it.
    ///
    /// # Errors
    /// It is somebody else's, or cannot be made.
    pub(super) fn make(&self) -> Result<OwnedFd> {
        for dir in [self.run.clone(), self.run.join("run")] {
            loop {
                match make_directory(&dir, 0o700) {
                    // It went with a world that ended: `open` says so to those who try again.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound && dir != self.run => {
                        make_directory(&self.run, 0o700)
                            .doing(|| format!("make the directory {}", shown(&self.run)))?;
                    }
                    other => {
                        other.doing(|| format!("make the directory {}", shown(&dir)))?;
                        break;
                    }
                }
            }
        }
        if !is_ours(&self.run) {
            let what = format!(
                "{} is not a directory of the user's alone",
                shown(&self.run)
            );
            return Err(Error::new(Exit::Failed, what)
                .hint("it must be his and have the mode 0700: remove it, or set XDG_RUNTIME_DIR"));
        }
        open(&self.run)
    }

    /// Removes the world's directory, if nothing is in use in it. The caller has its locks.
    pub(super) fn clear(&self, dir: &OwnedFd) {
        for name in [super::RECORD, super::MAKING] {
            let _ = unlinkat(dir, name, AtFlags::empty());
        }
        let _ = unlinkat(dir, "run", AtFlags::REMOVEDIR);
        let _ = std::fs::remove_dir(&self.run);
    }

    /// The directory of the logs.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make_logs(&self) -> Result<OwnedFd> {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.logs);
        made.doing(|| format!("make the directory {}", shown(&self.logs)))?;
        open(&self.logs)
    }
}

/// A directory of this very user's that nobody else can look into or write to, and no link.
fn is_ours(dir: &Path) -> bool {
    std::fs::symlink_metadata(dir).is_ok_and(|meta| {
        meta.is_dir() && meta.uid() == getuid().as_raw() && meta.mode() & 0o077 == 0
    })
}

fn make_directory(dir: &Path, mode: u32) -> std::io::Result<()> {
    match std::fs::DirBuilder::new().mode(mode).create(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn open(dir: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(rustix::fs::CWD, dir, flags, Mode::empty());
    opened.doing(|| format!("open {}", shown(dir)))
}

/// A variable with a path from / on; others are as if not set (XDG base directory specification).
fn variable(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(name)?);
    path.is_absolute().then_some(path)
}

/// The user's home.
fn home() -> Option<PathBuf> {
    variable("HOME").or_else(|| super::ids::home().map(PathBuf::from))
}

/// Where a user keeps what he would not like to lose.
pub(super) fn data_home() -> PathBuf {
    variable("XDG_DATA_HOME")
        .or_else(|| home().map(|home| home.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("/"))
}
