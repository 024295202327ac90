//! The directories of an ordinary user: state, logs and subhosts (XDG base directory specification).

use crate::base::error::shown;
use crate::base::error::{Doing, Error, Exit, Result};
use nix::unistd::getuid;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The directories of a user's namespace.
pub(super) struct Places {
    /// The directory with the record of the holder and the state, which the namespace shows as /run/subhost.
    run: PathBuf,
    /// The directory that the namespace shows as /var/log/subhost.
    logs: PathBuf,
}

impl Places {
    /// Finds the directories, by the environment or by their defaults.
    ///
    /// # Errors
    /// No environment variable and no home directory tells where the logs are.
    pub(super) fn find() -> Result<Self> {
        let uid = getuid();
        let named = path_variable("XDG_RUNTIME_DIR");
        let usual = PathBuf::from(format!("/run/user/{uid}"));
        let parent = named.into_iter().chain([usual]).find(|dir| is_private(dir));
        let run = match parent {
            Some(dir) => dir.join("subhost"),
            None => PathBuf::from(format!("/tmp/subhost-{uid}")),
        };
        let logs = path_variable("XDG_STATE_HOME")
            .or_else(|| home().map(|home| home.join(".local/state")))
            .ok_or_else(|| {
                Error::new(Exit::Failed, "there is no place for logs: HOME is not set")
            })?;
        Ok(Self {
            run,
            logs: logs.join("subhost"),
        })
    }

    /// Opens the directory of the state. It makes the directory, and `run` in it, if they are missing.
    ///
    /// # Errors
    /// The directory cannot be made, or another user can access it.
    pub(super) fn make(&self) -> Result<OwnedFd> {
        for dir in [self.run.clone(), self.run.join("run")] {
            loop {
                match make_directory(&dir, 0o700) {
                    // A holder that ends has removed the parent directory meanwhile.
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
        if !is_private(&self.run) {
            let what = format!(
                "{} is not a directory that only the user can enter",
                shown(&self.run)
            );
            return Err(Error::new(Exit::Failed, what).hint(
                "it must belong to the user and have mode 0700: remove it, or set XDG_RUNTIME_DIR",
            ));
        }
        open(&self.run)
    }

    /// Removes the directory of the state, if it holds no other files. The caller holds both locks in it.
    pub(super) fn clear(&self, dir: &OwnedFd) {
        for name in [super::RECORD, super::SETUP_LOCK] {
            let _ = unlinkat(dir, name, AtFlags::empty());
        }
        let _ = unlinkat(dir, "run", AtFlags::REMOVEDIR);
        let _ = std::fs::remove_dir(&self.run);
    }

    /// Opens the directory of the logs, and makes it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be made or opened.
    pub(super) fn make_logs(&self) -> Result<OwnedFd> {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.logs);
        made.doing(|| format!("make the directory {}", shown(&self.logs)))?;
        open(&self.logs)
    }
}

/// Tells whether `dir` is a directory of the calling user that no other user can access, and no symbolic
/// link.
fn is_private(dir: &Path) -> bool {
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

/// Returns an environment variable that holds an absolute path. The XDG specification says to ignore a
/// relative one.
fn path_variable(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(name)?);
    path.is_absolute().then_some(path)
}

/// Returns the user's home directory.
fn home() -> Option<PathBuf> {
    path_variable("HOME").or_else(|| super::ids::home().map(PathBuf::from))
}

/// Returns the base directory of the user's data.
pub(super) fn data_home() -> PathBuf {
    path_variable("XDG_DATA_HOME")
        .or_else(|| home().map(|home| home.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("/"))
}
