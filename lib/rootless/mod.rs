//! Tools without root: an ordinary user's world, a user and a mount namespace of his own in which he is
//! root and all other code works as it is.
//!
//! One world for each user, kept by a process that only waits. It has the host's processes and the
//! host's network; its /run/subhost, /run/netns and /var/log/subhost are the user's own. A tool joins
//! it before it does anything, or makes it, and stays in it to its end. When no tool is in it and no
//! subhost is up, it ends.

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

/// The record of a world's holder, and the lock that says who is in it.
const RECORD: &str = "world";
/// The lock of those who look whether there is a world, and make one.
const MAKING: &str = "lock";
/// How long a process that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who holds a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    boot: String,
    holder: Identity,
}

/// Where a user's subhosts are if nothing else is said.
pub fn default_tree() -> PathBuf {
    places::data_home().join("subhost")
}

/// Root works as he is. An ordinary user enters his world, which is made if there is none.
///
/// # Errors
/// Somebody else could write to what is above `tree`; what the user or the host lacks for a world.
pub fn enter(tree: &Path) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    // Inside, those who own what is not the user's look all the same.
    config::check_above(tree)?;
    let places = Places::find()?;
    let cwd = std::env::current_dir();
    for _ in 0..100 {
        let Some(entered) = join_or_make(&places)? else {
            continue;
        };
        if let Ok(cwd) = cwd {
            // The same place in the world; what is hidden there was of no use to us.
            let _ = std::env::set_current_dir(cwd);
        }
        crate::kernel::privilege::set_entered(entered);
        return Ok(());
    }
    Err(Error::new(
        Exit::Busy,
        "the user's world ends whenever it is entered",
    ))
}

/// Our part in the lock of the world that we are in then; none if it has just ended.
fn join_or_make(places: &Places) -> Result<Option<OwnedFd>> {
    let dir = places.make()?;
    let Some(making) = locked(&dir, MAKING, FlockOperation::LockExclusive)? else {
        return Ok(None);
    };
    // While its holder ends it, this waits.
    let Some(mut ours) = locked(&dir, RECORD, FlockOperation::LockShared)? else {
        return Ok(None);
    };
    let pidfd = match recorded(&mut ours)? {
        Some(pidfd) => pidfd,
        None => make(places, &dir).inspect_err(|_| places.clear(&dir))?,
    };
    drop(making);
    match setns(&pidfd, CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
        // Somebody killed it, and the kernel is about to take it away.
        Err(Errno::ESRCH) => {
            crate::kernel::proc::wait_for_end(&pidfd, Some(PATIENCE));
            Ok(None)
        }
        other => other
            .doing(|| "enter the user's world")
            .map(|()| Some(ours.into())),
    }
}

/// Opens and locks a file that may be removed by whoever has it locked; none if it was.
fn locked(dir: &OwnedFd, name: &str, how: FlockOperation) -> Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(dir, name, flags, Mode::from_raw_mode(0o600)) {
        // The directory went with the world.
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        other => File::from(other.doing(|| format!("open {name} of the user's world"))?),
    };
    flock(&file, how).doing(|| "lock the user's world")?;
    let ours = file.metadata().doing(|| "look at the user's world")?;
    let there = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    let same = there.is_ok_and(|there| there.st_ino == ours.ino() && there.st_dev == ours.dev());
    Ok(same.then_some(file))
}

/// The holder in the record, if it lives.
fn recorded(file: &mut File) -> Result<Option<OwnedFd>> {
    let mut text = String::new();
    file.take(4096)
        .read_to_string(&mut text)
        .doing(|| "read who holds the user's world")?;
    let Ok(record) = serde_json::from_str::<Record>(&text) else {
        return Ok(None); // Never written: it was killed before.
    };
    if record.boot != crate::kernel::clock::boot_id()? {
        return Ok(None);
    }
    let alive = record.holder.alive();
    alive.doing(|| "tell whether the user's world has its holder")
}

/// Makes a world: its holder is in new namespaces, we give it the user's ids, it makes the mounts.
fn make(places: &Places, dir: &OwnedFd) -> Result<OwnedFd> {
    let ids = ids::Ids::of_user()?;
    let logs = places.make_logs()?;
    let (socket, theirs) = sockets("the world's holder")?;
    let mut child = Command::new(crate::kernel::tools::find_tool("subhost-init")?)
        .args(["--hold", &theirs.as_raw_fd().to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .doing(|| "start the world's holder")?;
    drop(theirs);
    let made = (|| {
        let (_, pidfd) = Identity::open(child.id() as i32).doing(|| "watch the world's holder")?;
        // It is in its user namespace.
        answer(&socket)?;
        ids.give(child.id())?;
        send(&socket, &ToInit::Go, &[dir.as_raw_fd(), logs.as_raw_fd()])?;
        answer(&socket)?;
        Ok(pidfd)
    })();
    made.inspect_err(|_| {
        let _ = child.kill();
        let _ = child.wait();
    })
}

/// The holder has come as far as that.
fn answer(socket: &OwnedFd) -> Result<()> {
    match receive::<FromInit>(socket)? {
        Some((FromInit::Up, _)) => Ok(()),
        Some((report, _)) => Err(report.error().unwrap_or_else(terminal::lost)),
        None => Err(terminal::lost()),
    }
}

/// What on this host may forbid user namespaces to ordinary users, as a hint.
fn forbidden() -> String {
    let says = |file: &str, bad: &str| {
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
        if says(file, bad) {
            return format!(
                "this host forbids it to ordinary users; root allows it by sysctl -w {remedy}"
            );
        }
    }
    "a container, a chroot or a filter of system calls may forbid it; run as root it needs none of this".into()
}

/// The failure of a call that the kernel may forbid to ordinary users.
fn refused(doing: &str, error: impl IntoErrno) -> Error {
    Error::sys(doing, error.into_errno()).hint(forbidden())
}
