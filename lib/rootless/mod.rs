//! Tools without root. A tool of an ordinary user works in the user's namespace: a user namespace in which
//! the user is root, with a mount namespace. All other rooms work there as they do for root.
//!
//! Each user has one such namespace, which a process, the holder, keeps alive. It shares pid and network
//! namespace with the host, and has its own /run/subhost, /run/netns and /var/log/subhost. A tool joins it
//! before anything else, or makes it, and never leaves it. The holder ends when no tool is in the namespace
//! and no subhost is up.

mod holder;
mod ids;
mod places;

pub use holder::hold;

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::config;
use crate::kernel::packets::{receive, send, sockets};
use crate::kernel::proc::Identity;
use crate::kernel::terminal;
use nix::sched::{CloneFlags, setns};
use places::Places;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The file that records the holder. Each tool in the namespace holds a shared flock on it. Its name is an
/// old term for the namespace.
const RECORD: &str = "world";
/// The file that a tool locks while it looks for the namespace and makes it.
const SETUP_LOCK: &str = "lock";
/// The time that a killed holder may take to end.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The record of the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The boot id of the host.
    boot: String,
    holder: Identity,
}

/// Returns the default $SUBHOST of an ordinary user.
pub fn default_tree() -> PathBuf {
    places::data_home().join("subhost")
}

/// Enters the namespace of an ordinary user, and makes it if there is none. For root it does nothing. The
/// process must have one thread (`setns(2)`).
///
/// # Errors
/// Another user can write to a directory above `tree`; the user or the host lacks what the namespace needs.
pub fn enter(tree: &Path) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    // This check must come first: in the namespace all users without a mapping look the same.
    config::check_above(tree)?;
    let places = Places::find()?;
    let cwd = std::env::current_dir();
    for _ in 0..100 {
        let Some(entered) = join_or_make(&places)? else {
            continue;
        };
        if let Ok(cwd) = cwd {
            // setns(2) has changed the working directory to /. A directory that the namespace hides stays
            // lost, which does not matter.
            let _ = std::env::set_current_dir(cwd);
        }
        crate::kernel::privilege::set_entered(entered);
        return Ok(());
    }
    Err(Error::new(
        Exit::Busy,
        "the user's namespace ends whenever it is entered",
    ))
}

/// Joins the user's namespace, or makes it. It returns the tool's shared lock on the record, or none if the
/// holder is just ending.
fn join_or_make(places: &Places) -> Result<Option<OwnedFd>> {
    let dir = places.make()?;
    let Some(setup_lock) = open_locked(&dir, SETUP_LOCK, FlockOperation::LockExclusive)? else {
        return Ok(None);
    };
    // The holder has an exclusive lock while it ends.
    let Some(mut ours) = open_locked(&dir, RECORD, FlockOperation::LockShared)? else {
        return Ok(None);
    };
    let pidfd = match find_holder(&mut ours)? {
        Some(pidfd) => pidfd,
        None => start_holder(places, &dir).inspect_err(|_| places.clear(&dir))?,
    };
    drop(setup_lock);
    match setns(&pidfd, CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
        // The holder was killed, and the kernel has not reaped it yet.
        Err(Errno::ESRCH) => {
            crate::kernel::proc::wait_for_end(&pidfd, Some(TIMEOUT));
            Ok(None)
        }
        other => other
            .doing(|| "enter the user's namespace")
            .map(|()| Some(ours.into())),
    }
}

/// Opens and locks a file. Whoever holds its lock may remove it; then the result is none.
///
/// # Errors
/// The file cannot be opened or locked. A nonblocking `how` fails with EWOULDBLOCK if the lock is taken.
fn open_locked(dir: &OwnedFd, name: &str, how: FlockOperation) -> Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(dir, name, flags, Mode::from_raw_mode(0o600)) {
        // The holder has removed the directory.
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        other => File::from(other.doing(|| format!("open {name} of the user's namespace"))?),
    };
    flock(&file, how).doing(|| "lock the user's namespace")?;
    let locked = file.metadata().doing(|| "look at the user's namespace")?;
    let current = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    let is_same = current.is_ok_and(|now| now.st_ino == locked.ino() && now.st_dev == locked.dev());
    Ok(is_same.then_some(file))
}

/// Returns a pidfd of the holder in the record; none if there is no record, or the holder has ended.
fn find_holder(file: &mut File) -> Result<Option<OwnedFd>> {
    let mut text = String::new();
    file.take(4096)
        .read_to_string(&mut text)
        .doing(|| "read who holds the user's namespace")?;
    let Ok(record) = serde_json::from_str::<Record>(&text) else {
        return Ok(None); // The holder was killed before it wrote its record.
    };
    if record.boot != crate::kernel::clock::boot_id()? {
        return Ok(None);
    }
    let alive = record.holder.alive();
    alive.doing(|| "tell whether the user's namespace has its holder")
}

/// Starts the holder, which makes the namespaces. Then we map the user's ids (only newuidmap(1) and
/// newgidmap(1), outside of the namespace, may do so), and the holder makes the mounts.
fn start_holder(places: &Places, dir: &OwnedFd) -> Result<OwnedFd> {
    let ids = ids::Ids::find()?;
    let logs = places.make_logs()?;
    let (socket, theirs) = sockets("the holder of the user's namespace")?;
    let mut child = Command::new(crate::kernel::tools::find_tool("subhost-init")?)
        .args(["--hold", &theirs.as_raw_fd().to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .doing(|| "start the holder of the user's namespace")?;
    drop(theirs);
    let made = (|| {
        let (_, pidfd) = Identity::open(child.id() as i32)
            .doing(|| "watch the holder of the user's namespace")?;
        // The first answer says that the namespaces are made, the second that the mounts are.
        receive_up(&socket)?;
        ids.map(child.id())?;
        send(&socket, &ToInit::Go, &[dir.as_raw_fd(), logs.as_raw_fd()])?;
        receive_up(&socket)?;
        Ok(pidfd)
    })();
    made.inspect_err(|_| {
        let _ = child.kill();
        let _ = child.wait();
    })
}

/// Receives `Up` from the holder, or the error that it reports.
fn receive_up(socket: &OwnedFd) -> Result<()> {
    match receive::<FromInit>(socket)? {
        Some((FromInit::Up, _)) => Ok(()),
        Some((report, _)) => Err(report.error().unwrap_or_else(terminal::lost)),
        None => Err(terminal::lost()),
    }
}

/// Returns the sysctl that forbids user namespaces to ordinary users on this host, as a hint.
fn refusal_hint() -> String {
    let has_value = |file: &str, bad: &str| {
        std::fs::read_to_string(Path::new("/proc/sys").join(file))
            .is_ok_and(|text| text.trim() == bad)
    };
    for (file, bad, remedy) in [
        (
            "kernel/unprivileged_userns_clone",
            "0",
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            "user/max_user_namespaces",
            "0",
            "user.max_user_namespaces=15000",
        ),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ] {
        if has_value(file, bad) {
            return format!(
                "this host forbids it to ordinary users; root allows it by sysctl -w {remedy}"
            );
        }
    }
    "a container, a chroot or a filter of system calls may forbid it; run as root it needs none of this".into()
}

/// Makes the error of a call that the host may forbid to ordinary users.
fn refused_error(doing: &str, error: impl IntoErrno) -> Error {
    Error::sys(doing, error.into_errno()).hint(refusal_hint())
}
