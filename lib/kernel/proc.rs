//! Processes as /proc shows them (`proc_pid_stat(5)`), their namespaces, and identities that tell whether a
//! pid is still the same process.

use crate::base::error::{Errno, IntoErrno};
use crate::sys;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// The fields of /proc/PID/stat that are used. Times are in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The pid of the parent.
    pub parent: i32,
    /// The user and system time of the process and of its children that were waited for.
    pub cpu: u64,
    /// The start time, since boot.
    pub start: u64,
    /// The resident pages.
    pub resident: u64,
    /// Whether it is exiting (PF_EXITING of include/linux/sched.h).
    pub exiting: bool,
    /// Whether it is a kernel thread (PF_KTHREAD).
    pub is_kernel_thread: bool,
}

impl Stat {
    /// Reads the fields of the process `pid`; none if it is gone or cannot be read.
    pub fn find(pid: i32) -> Option<Self> {
        Self::read(pid).ok()
    }

    /// Reads the fields of the process `pid`.
    ///
    /// # Errors
    /// ESRCH if it is gone; the errno of the failed call.
    fn read(pid: i32) -> Result<Self, Errno> {
        let text = read_text(format!("/proc/{pid}/stat"));
        match text.map_err(IntoErrno::into_errno) {
            Err(Errno::ENOENT) => Err(Errno::ESRCH),
            Err(errno) => Err(errno),
            // A process can choose any name, also one that is not UTF-8.
            Ok(text) => Self::parse(&String::from_utf8_lossy(&text)).ok_or(Errno::EIO),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may contain anything, also closing parentheses.
        let rest = &text[text.rfind(')')? + 1..];
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            cpu: (11..=14).filter_map(number).sum(),
            start: number(19)?,
            resident: number(21)?,
            exiting: number(6)? & 0x4 != 0,
            is_kernel_thread: number(6)? & 0x0020_0000 != 0,
        })
    }
}

/// The identity of a process, which no later process with the same pid has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The pid in the pid namespace of the host.
    pub pid: i32,
    /// The start time, in clock ticks since boot.
    pub start: u64,
    /// The inode of the pidfd, which is unique until the host reboots; 0 before Linux 6.9.
    pub inode: u64,
}

impl Identity {
    /// Makes the identity of the running process `pid`, and a pidfd for it.
    ///
    /// # Errors
    /// ESRCH if there is no such process; the errno of the failed call.
    pub fn open(pid: i32) -> Result<(Self, OwnedFd), Errno> {
        let pidfd = open_pidfd(pid)?;
        let start = Stat::read(pid)?.start;
        let inode = inode(&pidfd)?;
        Ok((Self { pid, start, inode }, pidfd))
    }

    /// Opens a pidfd of the process; none if it has ended, or another process has its pid.
    ///
    /// # Errors
    /// The errno of the failed call. The process may be alive then.
    pub fn alive(&self) -> Result<Option<OwnedFd>, Errno> {
        let is_it = |pidfd: &OwnedFd| -> Result<bool, Errno> {
            match inode(pidfd)? {
                0 => Ok(Stat::read(self.pid)?.start == self.start && self.inode == 0),
                // No other process gets this inode until the host reboots.
                inode => Ok(inode == self.inode),
            }
        };
        let alive = open_pidfd(self.pid).and_then(|pidfd| {
            let is_alive = is_it(&pidfd)? && !has_ended(&pidfd);
            Ok(is_alive.then_some(pidfd))
        });
        match alive {
            Err(Errno::ESRCH) => Ok(None),
            other => other,
        }
    }
}

/// Reads a small file of the kernel, with one read if it is shorter than a page.
///
/// # Errors
/// The failed call.
pub fn read_text(path: impl AsRef<std::path::Path>) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut file = std::fs::File::open(path)?;
    let (mut text, is_all) = read_first_page(&file)?;
    if !is_all {
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// Reads at most a page of a file, with one read. Tells whether it was less than a page.
///
/// # Errors
/// The failed call.
pub fn read_first_page(file: impl AsFd) -> std::io::Result<(Vec<u8>, bool)> {
    let mut page = [MaybeUninit::<u8>::uninit(); 4096];
    let (read, rest) = loop {
        match rustix::io::read(&file, &mut page[..]) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    Ok((read.to_vec(), !rest.is_empty()))
}

/// Opens a pidfd (`pidfd_open(2)`).
///
/// # Errors
/// ESRCH if there is no such process.
pub fn open_pidfd(pid: i32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(IntoErrno::into_errno)
}

fn inode(pidfd: &OwnedFd) -> Result<u64, Errno> {
    // PID_FS_MAGIC. Before Linux 6.9 all pidfds share one anonymous inode.
    const PID_FS: i128 = 0x5049_4446;
    let system = rustix::fs::fstatfs(pidfd).map_err(IntoErrno::into_errno)?;
    if i128::from(system.f_type) != PID_FS {
        return Ok(0);
    }
    let stat = rustix::fs::fstat(pidfd).map_err(IntoErrno::into_errno)?;
    Ok(stat.st_ino)
}

/// Returns the exit status that a shell shows: 128+N for signal N.
pub fn shell_status(code: Option<i32>, signal: Option<i32>) -> u8 {
    match (code, signal) {
        (Some(code), _) => code as u8,
        (None, signal) => 128 + signal.unwrap_or(0) as u8,
    }
}

/// Tells whether the process of a pidfd has ended, reaped or not.
pub fn has_ended(pidfd: &OwnedFd) -> bool {
    wait_for_end(pidfd, Some(std::time::Duration::ZERO))
}

/// Waits until the process of a pidfd has ended. Returns false if it has not ended within `limit`.
pub fn wait_for_end(pidfd: &OwnedFd, limit: Option<std::time::Duration>) -> bool {
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
            // poll(2) fails otherwise only for a bad descriptor, which has nothing to wait for.
            Ok(_) | Err(_) => return true,
        }
    }
}

/// The types of namespaces that are used here.
#[derive(Debug, Clone, Copy)]
pub enum Namespace {
    /// The mount namespace.
    Mnt,
    /// The network namespace.
    Net,
    /// The pid namespace.
    Pid,
    /// The user namespace.
    User,
}

impl Namespace {
    /// Opens the namespace of the calling thread. The ioctl on a pidfd takes a tenth of the time of
    /// /proc/thread-self, for which the kernel makes an inode for each name on the path.
    ///
    /// # Errors
    /// /proc is not mounted, before Linux 6.11.
    pub fn open_own(self) -> Result<OwnedFd, Errno> {
        // PIDFD_THREAD of include/uapi/linux/pidfd.h, since Linux 6.9.
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

    /// Returns the inode of the namespace of the process `pid`; none if it is gone.
    pub fn inode_of(self, pid: i32) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(format!("/proc/{pid}/ns/{}", self.name())).ok()?;
        Some(meta.ino())
    }

    /// Returns the number of `PIDFD_GET_*_NAMESPACE`.
    fn number(self) -> u8 {
        match self {
            Self::Mnt => 3,
            Self::Net => 4,
            Self::Pid => 5,
            Self::User => 9,
        }
    }

    /// Returns the name in /proc/PID/ns (`namespaces(7)`).
    fn name(self) -> &'static str {
        match self {
            Self::Mnt => "mnt",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::User => "user",
        }
    }
}

/// Tells whether we are in a user namespace other than the first of the host (`user_namespaces(7)`).
pub fn is_in_user_namespace() -> bool {
    // PROC_USER_INIT_INO of include/linux/proc_ns.h, the same since Linux 3.8.
    const FIRST: u64 = 0xEFFF_FFFD;
    let own = Namespace::User.open_own();
    let own = own.and_then(|own| rustix::fs::fstat(own).map_err(IntoErrno::into_errno));
    !own.is_ok_and(|meta| meta.st_ino == FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_are_parsed() {
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
                is_kernel_thread: false,
            }
        );
        assert_eq!(Stat::parse("7 (x"), None);
    }

    #[test]
    fn namespaces_match_proc() {
        use Namespace::{Mnt, Net, Pid, User};
        let uname = nix::sys::utsname::uname().unwrap();
        let mut release = uname.release().to_str().unwrap().split('.');
        let mut number = || release.next().unwrap().parse::<u32>().unwrap();
        let has_call = (number(), number()) >= (6, 11);
        for kind in [Mnt, Net, Pid, User] {
            let own = rustix::fs::fstat(kind.open_own().unwrap()).unwrap();
            let shown = kind.inode_of(std::process::id() as i32).unwrap();
            assert_eq!(own.st_ino, shown, "{kind:?}");
            // The ioctl itself, because open_own falls back to /proc.
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
    fn identity_of_this_process() {
        let (us, _) = Identity::open(std::process::id() as i32).unwrap();
        assert!(us.alive().unwrap().is_some());
        // Change the part that this kernel compares.
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
