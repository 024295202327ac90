//! The lock of a subhost. Every command that changes the subhost takes it, and removes what is not needed any more when it
//! releases it.

use super::deferred::Deferred;
use super::{State, forget_shared_mount, read_optional};
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::paths::{CLAIMS, RUN, SHARED};
use crate::kernel::dirs;
use crate::kernel::terminal::tty_of;
use crate::plan::Part;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The exclusive right to change a subhost. It ends with [`Lock::release`], or, without tidying, with the value or the
/// process.
#[derive(Debug)]
pub struct Lock {
    state: State,
    file: File,
    _deferred: Deferred,
}

impl State {
    /// Takes the subhost's lock. Waits for it at most `wait`, which is called only if another process holds the lock.
    ///
    /// # Errors
    /// `Busy`, with the holder. A directory cannot be made.
    pub fn lock(&self, wait: impl FnOnce() -> Duration) -> Result<Lock> {
        if let Some(lock) = self.try_lock()? {
            return Ok(lock);
        }
        let wait = wait();
        let deadline = Instant::now() + wait;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.try_lock()? {
                Some(lock) => return Ok(lock),
                None if Instant::now() >= deadline => return Err(self.busy(wait)),
                None => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
            }
        }
    }

    fn try_lock(&self) -> Result<Option<Lock>> {
        let locked = self.open_lock();
        if locked.is_err() {
            // Empty directories are those that we have just made.
            let _ = std::fs::remove_dir(&self.dir);
            let _ = std::fs::remove_dir(&self.root);
        }
        locked
    }

    fn open_lock(&self) -> Result<Option<Lock>> {
        let path = self.dir.join("lock");
        for dir in [&self.root, &self.dir] {
            match DirBuilder::new().mode(0o700).create(dir) {
                // Another command has just removed its parent.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(e).doing(|| format!("make the directory {}", dir.display()));
                }
                _ => {}
            }
        }
        let open = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path);
        let mut file = match open {
            // The last holder has just removed the directory.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.doing(|| format!("open {}", path.display()))?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other.doing(|| format!("lock {}", path.display()))?,
        }
        // A holder removes the file before it releases the lock: is ours still the file at this path?
        let ours = file.metadata().doing(|| "look at the lock")?;
        let there = std::fs::metadata(&path);
        if !there.is_ok_and(|meta| meta.ino() == ours.ino() && meta.dev() == ours.dev()) {
            return Ok(None);
        }
        // For the messages of commands that wait. A stop works when /run is full, too.
        let who = format!(
            "{} {}\n",
            std::process::id(),
            crate::base::message::program()
        );
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = file.write_all(who.as_bytes());
        Ok(Some(Lock {
            state: self.snapshot(),
            file,
            _deferred: Deferred::new()?,
        }))
    }

    /// Describes the process that holds the lock; `None` if none does. Reads `proc_locks(5)`: to try the lock would keep other
    /// commands from it.
    pub fn lock_holder(&self) -> Option<String> {
        let path = self.dir.join("lock");
        let meta = std::fs::metadata(&path).ok()?;
        let (major, minor) = (nix::libc::major(meta.dev()), nix::libc::minor(meta.dev()));
        let lock = format!(" {major:02x}:{minor:02x}:{} ", meta.ino());
        let locks = read_optional(Path::new("/proc/locks"))?;
        let held = |line: &str| line.contains(" FLOCK ") && line.contains(&lock);
        let is_held = locks.lines().any(|line| held(line) && !line.contains("->"));
        is_held.then(|| holder(&read_optional(&path).unwrap_or_default()))
    }

    fn busy(&self, wait: Duration) -> Error {
        let who = read_optional(&self.dir.join("lock")).unwrap_or_default();
        let error = Error::new(
            Exit::Busy,
            format!("another command has locked it: {}", holder(&who)),
        );
        error.hint(format!(
            "waited {} s; --wait waits longer",
            wait.as_secs_f32()
        ))
    }
}

/// The files of a state, but for the lock and the record of its cgroups.
const FILES: [&str; 16] = [
    Part::Root.file(),
    Part::Net.file(),
    Part::Live.file(),
    "init",
    "last",
    "hosts",
    "resolv.conf",
    "hostname",
    "root.new",
    "net.new",
    "live.new",
    "init.new",
    "last.new",
    "helper",
    "helper.new",
    "cgroup.new",
];

impl Lock {
    /// Returns the state as the holder of the lock sees it: a snapshot.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Releases the lock, and removes the state's directory if nothing of the subhost is up.
    pub fn release(self) {
        let state = &self.state;
        // A plan of an earlier boot of the host describes nothing; one that cannot be read must not be lost.
        let none = |part| matches!(state.plan(part), Ok(None));
        if Part::ALL.into_iter().all(none) && matches!(state.running(), Ok(None)) {
            state.tidy();
        }
        // For the messages of others: no process holds it.
        let _ = self.file.set_len(0);
    }
}

impl State {
    /// Removes this state and, with the last one, what all have in common.
    fn tidy(&self) {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        for name in names.filter(|name| FILES.iter().any(|file| name == file)) {
            let _ = std::fs::remove_file(self.dir.join(name));
        }
        // Last: from now on another command makes a lock of its own.
        let _ = std::fs::remove_file(self.dir.join("lock"));
        for dir in [&self.dir, Path::new(CLAIMS)] {
            // A directory that is not empty is still in use.
            let _ = std::fs::remove_dir(dir);
        }
        if self.root != Path::new(RUN) {
            let _ = std::fs::remove_dir(&self.root);
        }
        crate::kernel::pinned::remove_unused();
        if std::fs::remove_dir(RUN).is_err() && Path::new(SHARED).exists() {
            let left = dirs::first(Path::new(RUN), 2).unwrap_or_default();
            let left: Vec<PathBuf> = left.iter().map(|name| Path::new(RUN).join(name)).collect();
            if left == [Path::new(SHARED)] {
                // Another program's namespace keeps the mount on /run/netns: from now on it is iproute2's.
                forget_shared_mount();
                let _ = std::fs::remove_dir(RUN);
            }
        }
    }
}

/// Describes the holder that a lock file names by `PID TOOL`, with its terminal.
fn holder(text: &str) -> String {
    let mut words = text.split_ascii_whitespace();
    match (words.next().and_then(|pid| pid.parse().ok()), words.next()) {
        (Some(pid), Some(tool)) => {
            let tty = tty_of(pid).map_or(String::new(), |tty| format!(" on {tty}"));
            format!("pid {pid} ({}){tty}", shown(tool))
        }
        _ => "unknown to it".into(),
    }
}
