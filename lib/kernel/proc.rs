//! Processes as /proc tells of them (`proc_pid_stat(5)`), and whether a recorded pid is still the
//! process that it was.

use crate::base::error::{Errno, IntoErrno};
use crate::sys;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Fields of /proc/PID/stat. Times are in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Parent's pid.
    pub parent: i32,
    /// User and system time of the process and of its children that were waited for.
    pub cpu: u64,
    /// When it started, since boot.
    pub start: u64,
    /// Resident pages.
    pub resident: u64,
    /// It is on its way out (PF_EXITING of include/linux/sched.h).
    pub exiting: bool,
    /// It is one of the kernel's own threads (PF_KTHREAD).
    pub kernel: bool,
}

impl Stat {
    /// Of the process `pid`; none if it is gone or cannot be read.
    pub fn find(pid: i32) -> Option<Self> {
        Self::read(pid).ok()
    }

    /// The same.
    ///
    /// # Errors
    /// ESRCH if it is gone; the failed call.
    fn read(pid: i32) -> Result<Self, Errno> {
        let text = text(format!("/proc/{pid}/stat"));
        match text.map_err(IntoErrno::into_errno) {
            Err(Errno::ENOENT) => Err(Errno::ESRCH),
            Err(errno) => Err(errno),
            // A process can give itself any name, UTF-8 or not.
            Ok(text) => Self::parse(&String::from_utf8_lossy(&text)).ok_or(Errno::EIO),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // The command in parentheses may hold anything, closing parentheses too.
        let rest = &text[text.rfind(')')? + 1..];
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            cpu: (11..=14).filter_map(number).sum(),
            start: number(19)?,
            resident: number(21)?,
            exiting: number(6)? & 0x4 != 0,
            kernel: number(6)? & 0x0020_0000 != 0,
        })
    }
}

/// A process that cannot be mistaken for a later one with its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Its pid in the host's pid namespace.
    pub pid: i32,
    /// When it started, ticks since boot.
    pub start: u64,
    /// Inode of its pidfd, unique in a boot since Linux 6.9; 0 before.
    pub inode: u64,
}

impl Identity {
    /// Of the living process `pid`, with a pidfd for it.
    ///
    /// # Errors
    /// ESRCH if there is none.
    pub fn open(pid: i32) -> Result<(Self, OwnedFd), Errno> {
        let pidfd = open(pid)?;
        let start = Stat::read(pid)?.start;
        let inode = inode(&pidfd)?;
        Ok((Self { pid, start, inode }, pidfd))
    }

    /// A pidfd of the process, if it still lives and is the same.
    ///
    /// # Errors
    /// That cannot be told. It is not to be taken for dead then.
    pub fn alive(&self) -> Result<Option<OwnedFd>, Errno> {
        let is_it = |pidfd: &OwnedFd| -> Result<bool, Errno> {
            match inode(pidfd)? {
                0 => Ok(Stat::read(self.pid)?.start == self.start && self.inode == 0),
                // No other process has it until the host boots anew.
                inode => Ok(inode == self.inode),
            }
        };
        let alive = open(self.pid).and_then(|pidfd| {
            let is_alive = is_it(&pidfd)? && !has_ended(&pidfd);
            Ok(is_alive.then_some(pidfd))
        });
        match alive {
            Err(Errno::ESRCH) => Ok(None),
            other => other,
        }
    }
}

/// A small file of the kernel's, which gives all that it has to one read of a page.
///
/// # Errors
/// The failed call.
pub fn text(path: impl AsRef<std::path::Path>) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut file = std::fs::File::open(path)?;
    let (mut text, is_all) = first_page(&file)?;
    if !is_all {
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// What one read of a page gives, in no more memory than it takes, and whether that was less than a page.
///
/// # Errors
/// The failed call.
pub fn first_page(file: impl AsFd) -> std::io::Result<(Vec<u8>, bool)> {
    let mut page = [MaybeUninit::<u8>::uninit(); 4096];
    let (read, rest) = loop {
        match rustix::io::read(&file, &mut page[..]) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    Ok((read.to_vec(), !rest.is_empty()))
}

/// `pidfd_open(2)`.
///
/// # Errors
/// ESRCH if there is no such process.
pub fn open(pid: i32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(IntoErrno::into_errno)
}

fn inode(pidfd: &OwnedFd) -> Result<u64, Errno> {
    // PID_FS_MAGIC; before 6.9 all pidfds share one anonymous inode.
    const PID_FS: i128 = 0x5049_4446;
    let system = rustix::fs::fstatfs(pidfd).map_err(IntoErrno::into_errno)?;
    if i128::from(system.f_type) != PID_FS {
        return Ok(0);
    }
    let stat = rustix::fs::fstat(pidfd).map_err(IntoErrno::into_errno)?;
    Ok(stat.st_ino)
}

/// Has the process of a pidfd ended, be it reaped or not?
pub fn has_ended(pidfd: &OwnedFd) -> bool {
    wait(pidfd, Some(std::time::Duration::ZERO))
}

/// Waits until the process of a pidfd has ended; false if it has not within `limit`.
pub fn wait(pidfd: &OwnedFd, limit: Option<std::time::Duration>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let deadline = limit.map(|limit| std::time::Instant::now() + limit);
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(std::time::Instant::now());
                let millis = left.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
                PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(
            &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(0) => return false,
            Err(Errno::EINTR) => {}
            Err(Errno::ENOMEM) => std::thread::sleep(std::time::Duration::from_millis(1)),
            // An error of poll itself would be a bad descriptor: nothing to wait for.
            Ok(_) | Err(_) => return true,
        }
    }
}

/// A namespace that a process or a thread is in.
#[derive(Debug, Clone, Copy)]
pub enum Namespace {
    /// Of mounts.
    Mnt,
    /// Of networks.
    Net,
    /// Of processes.
    Pid,
    /// Of users.
    User,
}

impl Namespace {
    /// The one that the calling thread is in. What the kernel gives by a pidfd costs a tenth of what
    /// /proc/thread-self does, which has to make an inode for each name on the way.
    ///
    /// # Errors
    /// No /proc.
    pub fn ours(self) -> Result<OwnedFd, Errno> {
        // PIDFD_THREAD of include/uapi/linux/pidfd.h: Linux 6.9, before the ioctl.
        let thread = PidfdFlags::from_bits_retain(rustix::fs::OFlags::EXCL.bits());
        let by_pidfd = pidfd_open(rustix::thread::gettid(), thread)
            .map_err(IntoErrno::into_errno)
            .and_then(|us| sys::namespace_from_pidfd(us, self.number()));
        by_pidfd.or_else(|_| {
            let path = format!("/proc/thread-self/ns/{}", self.name());
            let file = std::fs::File::open(path).map_err(IntoErrno::into_errno)?;
            Ok(file.into())
        })
    }

    /// The inode of the one that `pid` is in; none if it is gone.
    pub fn inode_of(self, pid: i32) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(format!("/proc/{pid}/ns/{}", self.name())).ok()?;
        Some(meta.ino())
    }

    /// Of `PIDFD_GET_*_NAMESPACE`.
    fn number(self) -> u8 {
        match self {
            Self::Mnt => 3,
            Self::Net => 4,
            Self::Pid => 5,
            Self::User => 9,
        }
    }

    /// In /proc (`namespaces(7)`).
    fn name(self) -> &'static str {
        match self {
            Self::Mnt => "mnt",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::User => "user",
        }
    }
}

/// Are we in a user namespace, where root is not the host's (`user_namespaces(7)`)?
pub fn in_user_namespace() -> bool {
    // PROC_USER_INIT_INO of include/linux/proc_ns.h, the same since Linux 3.8.
    const FIRST: u64 = 0xEFFF_FFFD;
    let ours = Namespace::User.ours();
    let ours = ours.and_then(|ours| rustix::fs::fstat(ours).map_err(IntoErrno::into_errno));
    !ours.is_ok_and(|meta| meta.st_ino == FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_with_parentheses() {
        let text = "7 (a) b (c)) S 3 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 99 4096 12 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            stat,
            Stat {
                parent: 3,
                cpu: 10,
                start: 99,
                resident: 12,
                exiting: false,
                kernel: false,
            }
        );
        assert_eq!(Stat::parse("7 (x"), None);
    }

    #[test]
    fn namespaces_are_those_that_proc_shows() {
        use Namespace::{Mnt, Net, Pid, User};
        let uname = nix::sys::utsname::uname().unwrap();
        let mut release = uname.release().to_str().unwrap().split('.');
        let mut number = || release.next().unwrap().parse::<u32>().unwrap();
        let has_call = (number(), number()) >= (6, 11);
        for kind in [Mnt, Net, Pid, User] {
            let ours = rustix::fs::fstat(kind.ours().unwrap()).unwrap();
            let shown = kind.inode_of(std::process::id() as i32).unwrap();
            assert_eq!(ours.st_ino, shown, "{kind:?}");
            // The call itself: without it, /proc would have been asked.
            let us = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
            match sys::namespace_from_pidfd(us, kind.number()) {
                Ok(asked) => {
                    assert_eq!(rustix::fs::fstat(asked).unwrap().st_ino, shown, "{kind:?}")
                }
                Err(errno) => assert!(!has_call, "{kind:?}: {errno}"),
            }
        }
    }

    #[test]
    fn identity_of_ourselves() {
        let (us, _) = Identity::open(std::process::id() as i32).unwrap();
        assert!(us.alive().unwrap().is_some());
        // Of the two, what this kernel tells them apart by.
        let other = match us.inode {
            0 => Identity {
                start: us.start + 1,
                ..us
            },
            inode => Identity {
                inode: inode + 1,
                ..us
            },
        };
        assert!(other.alive().unwrap().is_none());
    }
}
