//! A mount namespace with nothing in it, kept for all boots of a host with many subhosts.
//!
//! A process that wants a mount namespace of its own gets a copy of the one that it is in, and the
//! kernel takes the longer for that the more is mounted there: with a thousand subhosts up ten
//! milliseconds, and as many to let go of it again. PID 1 first joins the kept one, which has one mount,
//! and takes its root along as a detached tree.
//!
//! It is kept by binding its file (`namespaces(7)`) on a file of a private mount in /run/subhost; on a
//! shared one it could be in sight of itself. So whoever is in a mount namespace that was made later does
//! not see it there, and goes without: nothing depends on it.

use crate::base::error::{Doing, Errno, Error, IntoErrno, Result};
use crate::base::paths::{PINNED as DIR, PINNED_FILE as FILE, RUN};
use crate::kernel::mounts::{attach, detached, directory, pivot};
use crate::kernel::proc::Namespace;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::mount::MountAttrFlags;
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;

/// How many directories are in /run/subhost before it pays: to make it costs what ten boots save. The
/// claims have one as well.
const MANY: u64 = 16;
/// NSFS_MAGIC of `statfs(2)`.
const NSFS: i64 = 0x6e73_6673;

/// The kept namespace; none if there is none, or it is not in sight.
pub fn open() -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = openat(CWD, FILE, flags, Mode::empty()).ok()?;
    let system = rustix::fs::fstatfs(&fd).ok()?;
    (system.f_type as i64 == NSFS).then_some(fd)
}

/// Makes it where there are many subhosts and it is not there.
///
/// # Errors
/// It could not be made: a boot does without.
pub fn ensure() -> Result<()> {
    if directories() < MANY || Path::new(FILE).exists() || crate::kernel::proc::in_user_namespace()
    {
        return Ok(());
    }
    let Some(_lock) = lock(FlockOperation::NonBlockingLockExclusive)? else {
        return Ok(()); // Another is at it.
    };
    if Path::new(FILE).exists() {
        return Ok(());
    }
    let made = make();
    if made.is_err() {
        remove();
    }
    made
}

/// Removes it when no subhost is up any more.
pub fn remove_unused() {
    // As long as there are directories of subhosts; of what is not a tmpfs their number is not told.
    if directories() > 4 || !Path::new(DIR).exists() {
        return;
    }
    // Who has it may have looked before our directory went, and would leave it to us.
    if let Ok(Some(_lock)) = lock(FlockOperation::LockExclusive) {
        let entries = std::fs::read_dir(RUN).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        if names.all(|name| name.to_string_lossy().starts_with('.')) {
            remove();
        }
    }
}

/// The directories in /run/subhost, as a tmpfs counts them.
fn directories() -> u64 {
    std::fs::metadata(RUN).map_or(0, |meta| meta.nlink())
}

/// For those who make and remove it; none if somebody else has it and that is not to be waited for.
fn lock(how: FlockOperation) -> Result<Option<File>> {
    let dir = File::open(RUN).doing(|| format!("open {RUN}"))?;
    match flock(&dir, how) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        other => other.doing(|| format!("lock {RUN}")).map(|()| Some(dir)),
    }
}

fn make() -> Result<()> {
    match DirBuilder::new().mode(0o700).create(DIR) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(e).doing(|| format!("make the directory {DIR}"));
        }
        _ => {}
    }
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
    // A namespace can only be bound in one that is older, by their numbers; and Linux 6.18 gives numbers
    // out by processors, so that a younger one may have the lower. On the processor where ours was made
    // it has not.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tries = 0..processors.min(nix::sched::CpuSet::count());
    loop {
        match keep_one(tries.next()) {
            Err(error) if error.errno == Some(Errno::EINVAL) && !tries.is_empty() => {}
            other => return other,
        }
    }
}

/// Keeps a namespace that a thread makes, on the processor that is named.
fn keep_one(processor: Option<usize>) -> Result<()> {
    let doing = || "make a mount namespace to keep";
    // The thread stays in it until its file is bound.
    let (tell, told) = mpsc::channel();
    let (bound, wait) = mpsc::channel::<()>();
    std::thread::scope(move |scope| {
        // However this ends, the thread is let go.
        let bound = bound;
        let work = move || {
            let mut only = nix::sched::CpuSet::new();
            if processor.is_some_and(|processor| only.set(processor).is_ok()) {
                // Where it may not be, it is where it is.
                let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &only);
            }
            let _ = tell.send(empty().map(|()| nix::unistd::gettid()));
            let _ = wait.recv();
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, work);
        thread.doing(|| "start a thread")?;
        let thread = told
            .recv()
            .unwrap_or(Err(Error::sys(doing(), Errno::EIO)))?;
        let namespace = format!("/proc/self/task/{thread}/ns/mnt");
        let none = None::<&str>;
        let kept = mount(Some(&*namespace), FILE, none, MsFlags::MS_BIND, none);
        drop(bound);
        kept.doing(|| format!("keep a mount namespace by {FILE}"))
    })
}

/// Takes the calling thread, and nobody else, into a mount namespace with a tmpfs that holds nothing.
fn empty() -> Result<()> {
    let doing = || "make a mount namespace";
    unshare(CloneFlags::CLONE_NEWNS).doing(doing)?;
    // Our caller may be in a chroot.
    let ours = Namespace::Mnt.ours().doing(doing)?;
    setns(&ours, CloneFlags::CLONE_NEWNS).doing(doing)?;
    let none = None::<&str>;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, slave, none).doing(doing)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("mode", "0500"), ("size", "4k"), ("nr_inodes", "1")];
    let nothing = detached("tmpfs", &options, attributes)?;
    let here = directory(Path::new("/")).doing(doing)?;
    attach(&nothing, &here)
        .and_then(|()| pivot(&nothing))
        .map_err(IntoErrno::into_errno)
        .doing(doing)
}

fn remove() {
    for at in [FILE, DIR] {
        // What is not mounted is none.
        let _ = umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
    let _ = std::fs::remove_file(FILE);
    let _ = std::fs::remove_dir(DIR);
}
