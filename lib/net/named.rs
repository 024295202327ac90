//! Named network namespaces by iproute2's convention (`ip-netns(8)`): a file in /run/netns with
//! an nsfs mounted on it. `ip netns exec NAME` works on ours, and NET=netns:NAME on theirs.

use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::base::paths::NETNS as DIR;
pub use crate::base::paths::netns as path;
use crate::kernel::mountinfo::{self, Table};
use crate::kernel::proc::Namespace;
use crate::kernel::{dirs, userns};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// NSFS_MAGIC of `statfs(2)`.
const NSFS: i64 = 0x6e73_6673;

/// What lies under a name.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A namespace.
    Namespace(OwnedFd),
    /// A file that is none: what a crash left, or a stranger's.
    Other,
}

/// Looks what is there.
///
/// # Errors
/// It cannot be opened.
pub fn find(name: &str) -> Result<Found> {
    let path = path(name);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = match openat(CWD, &path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(Found::Nothing),
        // A link, a socket.
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => return Ok(Found::Other),
        // A file that a crash left before its mode was of use.
        Err(rustix::io::Errno::ACCESS) => return Ok(Found::Other),
        Err(e) => return Err(e).doing(|| format!("open {}", path.display())),
    };
    let magic = rustix::fs::fstatfs(&fd).doing(|| format!("look at {}", path.display()))?;
    Ok(match magic.f_type as i64 == NSFS {
        true => Found::Namespace(fd),
        false => Found::Other,
    })
}

/// The nsfs inode of a namespace, which processes in it show in /proc/PID/ns/net.
pub fn inode(namespace: &OwnedFd) -> u64 {
    rustix::fs::fstat(namespace).map_or(0, |stat| stat.st_ino)
}

/// A namespace to be asked later whether it still lives, without being kept.
#[derive(Debug)]
pub struct Watch {
    handle: crate::sys::NamespaceHandle,
    /// Its nsfs inode.
    pub inode: u64,
}

/// Watches the namespace `name`; none if there is none, or before Linux 6.18.
///
/// # Errors
/// As [`find`].
pub fn watch(name: &str) -> Result<Option<Watch>> {
    let Found::Namespace(namespace) = find(name)? else {
        return Ok(None);
    };
    let handle = crate::sys::namespace_handle(&namespace).ok();
    let inode = inode(&namespace);
    Ok(handle.map(|handle| Watch { handle, inode }))
}

impl Watch {
    /// Does it live on? Who keeps it is for [`crate::kernel::holders`] to find.
    ///
    /// Where an address goes, the kernel forgets what it has masqueraded by it (net/netfilter/nf_nat_masquerade.c),
    /// in a worker that keeps the namespace meanwhile, and that waits for the processor that we are on.
    pub fn lives(&self) -> bool {
        let lives = || !matches!(crate::sys::open_namespace(&self.handle), Err(Errno::ESTALE));
        for _ in 0..3 {
            if !lives() {
                return false;
            }
            rustix::thread::sched_yield();
        }
        // To look through /proc takes microseconds for each process: of many, a nap costs less.
        if rustix::system::sysinfo().procs > 500 {
            std::thread::sleep(Duration::from_millis(1));
        }
        lives()
    }
}

/// The lock that iproute2 takes as well (Debian bug 949235).
fn lock() -> Result<File> {
    loop {
        match DirBuilder::new().mode(0o755).create(DIR) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(e).doing(|| format!("make the directory {DIR}"));
            }
            _ => {}
        }
        let dir = match File::open(DIR) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.doing(|| format!("open {DIR}"))?,
        };
        flock(&dir, FlockOperation::LockExclusive).doing(|| format!("lock {DIR}"))?;
        // Somebody may have removed or covered it: is it still the one at this path?
        let ours = dir.metadata().doing(|| format!("look at {DIR}"))?;
        if std::fs::metadata(DIR).is_ok_and(|there| there.ino() == ours.ino()) {
            return Ok(dir);
        }
    }
}

/// Where mounts are private, as on hosts without systemd, /run/netns becomes a shared mount of its
/// own. `ip netns add` does that too, and would leave the namespaces that are there already mounted
/// twice: once in sight and once below, where nobody can unmount them. What we made goes with the
/// last namespace; what iproute2 made stays, as it always does.
fn make_shared() -> Result<()> {
    let dir = Path::new(DIR);
    let is_shared = match mountinfo::is_mount_point(dir) {
        Some(true) => true,
        _ => match mountinfo::is_shared(dir) {
            Some(shared) => shared,
            None => Table::read()?
                .find_containing(dir)
                .is_some_and(|mount| mount.shared || mount.at == dir),
        },
    };
    if is_shared {
        return Ok(());
    }
    let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(DIR), DIR, None::<&str>, recursive, None::<&str>)
        .and_then(|()| {
            let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
            mount(None::<&str>, DIR, None::<&str>, shared, None::<&str>)
        })
        .doing(|| format!("make {DIR} a shared mount"))?;
    crate::state::mark_shared(true);
    Ok(())
}

/// Takes back what [`share`] made, when no namespace needs it any more. The directory stays, empty,
/// as iproute2 leaves it: others may be waiting for its lock.
fn unshare_dir() {
    let is_empty = || dirs::first(Path::new(DIR), 1).is_ok_and(|names| names.is_empty());
    if crate::state::is_marked_shared() && is_empty() {
        // Lazily: we hold its lock by a descriptor in it.
        let _ = umount2(DIR, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        crate::state::mark_shared(false);
    }
}

/// Does `work` in a network namespace.
///
/// # Errors
/// It cannot be joined; what `work` gives.
pub fn run_in<T: Send>(
    namespace: &OwnedFd,
    work: impl FnOnce() -> std::result::Result<T, Errno> + Send,
) -> std::result::Result<T, Errno> {
    there_and_back(|| setns(namespace, CloneFlags::CLONE_NEWNET), work)
}

/// Does `work` in a new network namespace of our own user namespace.
///
/// # Errors
/// There can be none; what `work` gives.
pub fn run_in_new<T: Send>(
    work: impl FnOnce() -> std::result::Result<T, Errno> + Send,
) -> std::result::Result<T, Errno> {
    there_and_back(|| unshare(CloneFlags::CLONE_NEWNET), work)
}

/// A thread costs five times what the way back does, but from a user's world there is none: the
/// host's namespace is not his. There a thread goes and ends.
fn there_and_back<T: Send>(
    go: impl FnOnce() -> nix::Result<()> + Send,
    work: impl FnOnce() -> std::result::Result<T, Errno> + Send,
) -> std::result::Result<T, Errno> {
    if crate::kernel::proc::is_in_user_namespace() {
        return std::thread::scope(|scope| {
            let work = || go().map_err(IntoErrno::into_errno).and_then(|()| work());
            // A full process table is an error, not a panic.
            match std::thread::Builder::new().spawn_scoped(scope, work) {
                Ok(thread) => thread.join().unwrap_or(Err(Errno::EIO)),
                Err(e) => Err(e.into_errno()),
            }
        });
    }
    let home = Namespace::Net.open_own()?;
    go()?;
    let done = work();
    // Nothing of what comes may happen in there. What was made is found by its plan.
    for _ in 0..3 {
        if setns(&home, CloneFlags::CLONE_NEWNET).is_ok() {
            return done;
        }
    }
    // In there nothing is called as what our steps make on the host: whoever undoes them finds nothing.
    Err(Errno::last())
}

fn bind(namespace: &str, path: &Path) -> std::result::Result<(), Errno> {
    let none = None::<&str>;
    mount(Some(namespace), path, none, MsFlags::MS_BIND, none)
}

/// Makes the namespace `name`: the file first, exclusively, and the mount on it last, so that a
/// name with a namespace is complete. `ids`: it belongs to a new user namespace with the ids from
/// there on.
///
/// # Errors
/// EEXIST if the name is taken; the failed call.
pub fn make(name: &str, ids: Option<u32>) -> Result<OwnedFd> {
    let path = path(name);
    let _lock = lock()?;
    make_shared()?;
    if matches!(find(name)?, Found::Other) && is_leftover(name) {
        std::fs::remove_file(&path).doing(|| format!("remove {}", path.display()))?;
    }
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(&path)
        .doing(|| format!("make the namespace file {}", path.display()))?;
    let doing = || format!("make the network namespace {name}");
    let bound = match ids {
        None => run_in_new(|| bind("/proc/thread-self/ns/net", &path)).doing(doing),
        Some(base) => userns::with_new(base, CloneFlags::CLONE_NEWNET, |pid| {
            bind(&format!("/proc/{pid}/ns/net"), &path).doing(doing)
        }),
    };
    let found = bound.and_then(|()| find(name));
    match found {
        Ok(Found::Namespace(fd)) => Ok(fd),
        other => {
            let _ = umount2(&path, MntFlags::MNT_DETACH);
            let _ = std::fs::remove_file(&path);
            other.and(Err(Error::sys(
                format!("open the network namespace {name}"),
                Errno::EINVAL,
            )))
        }
    }
}

/// Removes the name; the namespace ends when nobody is in it any more.
///
/// # Errors
/// The name cannot be removed.
pub fn remove(name: &str) -> Result<()> {
    let path = path(name);
    let _lock = lock()?;
    // Several may lie on one another if an adder was killed. EINVAL: none is left.
    loop {
        match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(Error::sys(format!("unmount {}", path.display()), errno)),
        }
    }
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).doing(|| format!("remove {}", path.display()))
        }
        _ => {
            unshare_dir();
            Ok(())
        }
    }
}

/// Is the file what a kill leaves between making it and mounting a namespace on it?
pub fn is_leftover(name: &str) -> bool {
    std::fs::symlink_metadata(path(name))
        .is_ok_and(|meta| meta.is_file() && meta.size() == 0 && meta.uid() == 0)
}

/// Is the file still a leftover when the lock that iproute2 takes as well is ours? Somebody may be
/// making a namespace there. With `remove`, it goes under that lock. A lock that is not to be had
/// soon is no answer: false.
///
/// # Errors
/// The file cannot be removed.
pub fn settle_leftover(name: &str, remove: bool) -> Result<bool> {
    let Ok(dir) = File::open(DIR) else {
        return Ok(false);
    };
    let mut waits = [1u64, 5, 20, 50, 100, 200].iter();
    while flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err() {
        match waits.next() {
            Some(wait) => std::thread::sleep(std::time::Duration::from_millis(*wait)),
            None => return Ok(false),
        }
    }
    if !(matches!(find(name)?, Found::Other) && is_leftover(name)) {
        return Ok(false);
    }
    if remove {
        let path = path(name);
        std::fs::remove_file(&path).doing(|| format!("remove {}", path.display()))?;
        unshare_dir();
    }
    Ok(true)
}

/// Opens a namespace of somebody else's, by NET=netns:NAME.
///
/// # Errors
/// There is none of that name.
pub fn open(name: &str) -> Result<OwnedFd> {
    match find(name)? {
        Found::Namespace(fd) => Ok(fd),
        Found::Nothing => Err(Error::sys(
            format!("join the network namespace {}", shown(name)),
            Errno::ENOENT,
        )
        .hint(format!(
            "ip netns add {}, or bring up the subhost that has it",
            shown(name)
        ))),
        Found::Other => Err(Error::sys(
            format!("join the network namespace {}", shown(name)),
            Errno::EINVAL,
        )
        .hint(format!(
            "{} is a plain file: no namespace is mounted on it",
            path(name).display()
        ))),
    }
}

/// The owner of `/run/netns/NAME` as a stranger's, in words.
pub fn describe(name: &str) -> String {
    let path = path(name);
    let what =
        std::fs::symlink_metadata(&path).map_or("something", |meta| match meta.file_type() {
            t if t.is_symlink() => "a link",
            t if t.is_dir() => "a directory",
            _ if meta.size() == 0 => "an empty file",
            _ => "a file",
        });
    format!("{} is {what}, not a network namespace", path.display())
}
