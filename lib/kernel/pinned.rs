//! A pinned mount namespace with one empty mount, from which all boots of a host with many subhosts begin.
//!
//! A new mount namespace is a copy of the current one, and the kernel takes longer for that the more mounts
//! it has: with a thousand subhosts up 10 ms, and another 10 ms to free it. PID 1 therefore first joins the
//! pinned namespace and brings its root along as a detached mount tree.
//!
//! The namespace is pinned by a bind mount of its file (`namespaces(7)`) on a file in /run/subhost. That file
//! is on a private mount: on a shared one the mount could appear in the namespace itself. A mount namespace
//! that was made later does not contain the bind mount; a boot there copies the namespace as usual.

use crate::base::error::{Doing, Errno, Error, IntoErrno, Result};
use crate::base::paths::{PINNED as DIR, PINNED_FILE as FILE, RUN};
use crate::kernel::dirs::make_missing;
use crate::kernel::mounts::{attach, mount_detached, open_directory, pivot_root};
use crate::kernel::proc::Namespace;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::mount::MountAttrFlags;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;

/// The number of directories in /run/subhost from which pinning pays: it takes the time that ten boots save.
/// The claims are one of the directories.
const MANY: u64 = 16;
/// NSFS_MAGIC of `statfs(2)`, the type of a namespace file.
const NSFS: i64 = 0x6e73_6673;

/// Opens the pinned namespace; none if it does not exist or is not in our mount namespace.
pub fn open() -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = openat(CWD, FILE, flags, Mode::empty()).ok()?;
    let system = rustix::fs::fstatfs(&fd).ok()?;
    (system.f_type as i64 == NSFS).then_some(fd)
}

/// Pins a mount namespace if there are many subhosts and none is pinned yet.
///
/// # Errors
/// The failed call. A boot works without the namespace.
pub fn ensure() -> Result<()> {
    if directories() < MANY
        || Path::new(FILE).exists()
        || crate::kernel::proc::is_in_user_namespace()
    {
        return Ok(());
    }
    let Some(_lock) = lock(FlockOperation::NonBlockingLockExclusive)? else {
        return Ok(()); // Another tool is pinning one.
    };
    if Path::new(FILE).exists() {
        return Ok(());
    }
    let made = pin();
    if made.is_err() {
        remove();
    }
    made
}

/// Removes the pinned namespace when no subhost is up any more.
pub fn remove_unused() {
    // A directory of a subhost is still there. Only a tmpfs counts directories by the number of links.
    if directories() > 4 || !Path::new(DIR).exists() {
        return;
    }
    // Wait for the lock: its holder may have counted directories before ours was removed, and would leave
    // the namespace to us.
    if let Ok(Some(_lock)) = lock(FlockOperation::LockExclusive) {
        let entries = std::fs::read_dir(RUN).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        if names.all(|name| name.to_string_lossy().starts_with('.')) {
            remove();
        }
    }
}

/// Counts the links of /run/subhost: on a tmpfs, its directories plus two.
fn directories() -> u64 {
    std::fs::metadata(RUN).map_or(0, |meta| meta.nlink())
}

/// Locks /run/subhost to pin or remove; none if another tool has the lock and `how` does not wait.
fn lock(how: FlockOperation) -> Result<Option<File>> {
    let dir = File::open(RUN).doing(|| format!("open {RUN}"))?;
    match flock(&dir, how) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        other => other.doing(|| format!("lock {RUN}")).map(|()| Some(dir)),
    }
}

fn pin() -> Result<()> {
    make_missing(Path::new(DIR), 0o700).doing(|| format!("make the directory {DIR}"))?;
    let none = None::<&str>;
    mount(Some(DIR), DIR, none, MsFlags::MS_BIND, none)
        .and_then(|()| mount(none, DIR, none, MsFlags::MS_PRIVATE, none))
        .doing(|| format!("make {DIR} a private mount"))?;
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(FILE)
        .doing(|| format!("make the file {FILE}"))?;
    // The kernel binds the file of a mount namespace only in an older one, which it tells by their
    // numbers. Linux 6.18 gives out numbers by processor, so that a younger namespace may have the lower
    // one. On the processor where our namespace was made, it has the higher one.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tries = 0..processors.min(nix::sched::CpuSet::count());
    loop {
        match pin_one(tries.next()) {
            Err(error) if error.errno == Some(Errno::EINVAL) && !tries.is_empty() => {}
            other => return other,
        }
    }
}

/// Pins a mount namespace that a thread makes on the given processor.
fn pin_one(processor: Option<usize>) -> Result<()> {
    let doing = || "make a mount namespace to keep";
    // The thread stays in the namespace until the file is bound.
    let (send_tid, receive_tid) = mpsc::channel();
    let (bound, wait) = mpsc::channel::<()>();
    std::thread::scope(move |scope| {
        // Dropped on every path, which ends the thread.
        let bound = bound;
        let work = move || {
            let mut only = nix::sched::CpuSet::new();
            if processor.is_some_and(|processor| only.set(processor).is_ok()) {
                // Without permission for that processor the thread stays where it is.
                let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &only);
            }
            let _ = send_tid.send(enter_empty_namespace().map(|()| nix::unistd::gettid()));
            let _ = wait.recv();
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, work);
        thread.doing(|| "start a thread")?;
        let thread = receive_tid
            .recv()
            .unwrap_or(Err(Error::sys(doing(), Errno::EIO)))?;
        let namespace = format!("/proc/self/task/{thread}/ns/mnt");
        let none = None::<&str>;
        let pinned = mount(Some(&*namespace), FILE, none, MsFlags::MS_BIND, none);
        drop(bound);
        pinned.doing(|| format!("keep a mount namespace by {FILE}"))
    })
}

/// Moves the calling thread alone into a new mount namespace whose only mount is an empty tmpfs.
fn enter_empty_namespace() -> Result<()> {
    let doing = || "make a mount namespace";
    unshare(CloneFlags::CLONE_NEWNS).doing(doing)?;
    // Joining our own namespace resets the root: the caller may be in a chroot.
    let ours = Namespace::Mnt.open_own().doing(doing)?;
    setns(&ours, CloneFlags::CLONE_NEWNS).doing(doing)?;
    let none = None::<&str>;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, slave, none).doing(doing)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("mode", "0500"), ("size", "4k"), ("nr_inodes", "1")];
    let nothing = mount_detached("tmpfs", &options, attributes)?;
    let here = open_directory(Path::new("/")).doing(doing)?;
    attach(&nothing, &here)
        .and_then(|()| pivot_root(&nothing))
        .map_err(IntoErrno::into_errno)
        .doing(doing)
}

fn remove() {
    for at in [FILE, DIR] {
        // Fails where nothing is mounted.
        let _ = umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
    let _ = std::fs::remove_file(FILE);
    let _ = std::fs::remove_dir(DIR);
}
