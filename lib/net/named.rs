//! Named network namespaces by the convention of `ip-netns(8)`: a file in /run/netns with an nsfs mounted on
//! it. `ip netns exec NAME` works with ours, and NET=netns:NAME works with those of `ip netns`.

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

/// The file /run/netns/NAME.
#[derive(Debug)]
pub enum Found {
    /// There is no such file.
    Nothing,
    /// The file is a network namespace.
    Namespace(OwnedFd),
    /// The file is no namespace: a killed tool left it, or it is foreign.
    Other,
}

/// Looks up the network namespace `name`.
///
/// # Errors
/// The file cannot be opened.
pub fn find(name: &str) -> Result<Found> {
    let path = path(name);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = match openat(CWD, &path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(Found::Nothing),
        // A symbolic link or a socket.
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => return Ok(Found::Other),
        // A file that a tool made with another mode before it was killed.
        Err(rustix::io::Errno::ACCESS) => return Ok(Found::Other),
        Err(e) => return Err(e).doing(|| format!("open {}", path.display())),
    };
    let magic = rustix::fs::fstatfs(&fd).doing(|| format!("look at {}", path.display()))?;
    Ok(match magic.f_type as i64 == NSFS {
        true => Found::Namespace(fd),
        false => Found::Other,
    })
}

/// Returns the nsfs inode of a namespace, which /proc/PID/ns/net shows for the processes in it.
pub fn inode(namespace: &OwnedFd) -> u64 {
    rustix::fs::fstat(namespace).map_or(0, |stat| stat.st_ino)
}

/// A handle to a network namespace that does not keep it alive.
#[derive(Debug)]
pub struct Watch {
    handle: crate::sys::NamespaceHandle,
    /// The nsfs inode of the namespace.
    pub inode: u64,
}

/// Returns a handle to the network namespace `name`; none if there is none, or before Linux 6.18.
///
/// # Errors
/// The file of the namespace cannot be opened.
pub fn watch(name: &str) -> Result<Option<Watch>> {
    let Found::Namespace(namespace) = find(name)? else {
        return Ok(None);
    };
    let handle = crate::sys::namespace_handle(&namespace).ok();
    let inode = inode(&namespace);
    Ok(handle.map(|handle| Watch { handle, inode }))
}

impl Watch {
    /// Tells whether the namespace is alive. [`crate::kernel::holders`] finds the processes that keep it.
    ///
    /// It yields the processor before it answers yes. When an address is removed, a kernel worker drops the
    /// connections masqueraded by it (net/netfilter/nf_nat_masquerade.c); it keeps the namespace alive, and
    /// may wait for our processor.
    pub fn is_alive(&self) -> bool {
        let is_alive = || !matches!(crate::sys::open_namespace(&self.handle), Err(Errno::ESTALE));
        for _ in 0..3 {
            if !is_alive() {
                return false;
            }
            rustix::thread::sched_yield();
        }
        // After a yes the caller searches /proc, which takes microseconds per process. With many processes, a
        // wait of one millisecond is cheaper.
        if rustix::system::sysinfo().procs > 500 {
            std::thread::sleep(Duration::from_millis(1));
        }
        is_alive()
    }
}

/// Locks /run/netns by flock(2), as iproute2 does (Debian bug 949235). It makes the directory if it is
/// missing.
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
        // Another process may have removed or covered the directory before our lock: compare it with the one
        // at the path.
        let locked = dir.metadata().doing(|| format!("look at {DIR}"))?;
        if std::fs::metadata(DIR).is_ok_and(|current| current.ino() == locked.ino()) {
            return Ok(dir);
        }
    }
}

/// Makes /run/netns a shared mount, if mount propagation is private there, as on hosts without systemd. A
/// later `ip netns add` would otherwise do so itself: it would mount our namespaces a second time, and cover
/// the first mounts, which nobody could then unmount. [`unshare_dir`] removes a mount that we made; a mount
/// of iproute2 stays.
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
    crate::state::note_shared_mount();
    Ok(())
}

/// Removes the mount that [`make_shared`] made, once the last namespace is gone. The empty directory stays:
/// other processes may wait for its lock.
fn unshare_dir() {
    let is_empty = || dirs::first(Path::new(DIR), 1).is_ok_and(|names| names.is_empty());
    if crate::state::is_marked_shared() && is_empty() {
        // Detached (MNT_DETACH), because the descriptor of our lock keeps the mount busy.
        let _ = umount2(DIR, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        crate::state::forget_shared_mount();
    }
}

/// Does `work` in a network namespace.
///
/// # Errors
/// The errno of setns(2), or that of `work`.
pub fn run_in<T: Send>(
    namespace: &OwnedFd,
    work: impl FnOnce() -> std::result::Result<T, Errno> + Send,
) -> std::result::Result<T, Errno> {
    run_in_changed(|| setns(namespace, CloneFlags::CLONE_NEWNET), work)
}

/// Does `work` in a new network namespace, which our user namespace owns.
///
/// # Errors
/// The errno of unshare(2), or that of `work`.
pub fn run_in_new<T: Send>(
    work: impl FnOnce() -> std::result::Result<T, Errno> + Send,
) -> std::result::Result<T, Errno> {
    run_in_changed(|| unshare(CloneFlags::CLONE_NEWNET), work)
}

/// Changes the network namespace by `change`, does `work`, and returns to the previous namespace. Another
/// thread for the work would take five times as long. An ordinary user's namespace needs one all the same:
/// its root lacks the privilege to return to the host's network namespace.
fn run_in_changed<T: Send>(
    change: impl FnOnce() -> nix::Result<()> + Send,
    work: impl FnOnce() -> std::result::Result<T, Errno> + Send,
) -> std::result::Result<T, Errno> {
    if crate::kernel::proc::is_in_user_namespace() {
        return std::thread::scope(|scope| {
            let work = || {
                change()
                    .map_err(IntoErrno::into_errno)
                    .and_then(|()| work())
            };
            // std::thread::spawn would panic if the process table is full; a Builder returns the error.
            match std::thread::Builder::new().spawn_scoped(scope, work) {
                Ok(thread) => thread.join().unwrap_or(Err(Errno::EIO)),
                Err(e) => Err(e.into_errno()),
            }
        });
    }
    let home = Namespace::Net.open_own()?;
    change()?;
    let done = work();
    for _ in 0..3 {
        if setns(&home, CloneFlags::CLONE_NEWNET).is_ok() {
            return done;
        }
    }
    // The thread is stuck in the other namespace, so nothing more may be done for the host. An undo is
    // harmless: no link in that namespace has the name of a link that our steps make on the host.
    Err(Errno::last())
}

fn bind(namespace: &str, path: &Path) -> std::result::Result<(), Errno> {
    let none = None::<&str>;
    mount(Some(namespace), path, none, MsFlags::MS_BIND, none)
}

/// Makes the network namespace `name`. It makes the file first (O_EXCL) and mounts the namespace on it last,
/// so that a file with a namespace is complete. With `ids`, a new user namespace owns it, whose host ids
/// begin there.
///
/// # Errors
/// EEXIST if the file exists; the failed call.
pub fn make(name: &str, ids: Option<u32>) -> Result<OwnedFd> {
    let doing = || format!("make the network namespace {name}");
    bind_by(name, |path| match ids {
        None => run_in_new(|| bind("/proc/thread-self/ns/net", path)).doing(doing),
        Some(base) => userns::with_new(base, CloneFlags::CLONE_NEWNET, |pid| {
            bind(&format!("/proc/{pid}/ns/net"), path).doing(doing)
        }),
    })
}

/// Gives the network namespace of the process `pid` the name `name`.
///
/// # Errors
/// EEXIST if the file exists; the failed call.
pub fn give_name(name: &str, pid: i32) -> Result<OwnedFd> {
    bind_by(name, |path| {
        let bound = bind(&format!("/proc/{pid}/ns/net"), path);
        bound.doing(|| format!("give the network namespace of pid {pid} the name {name}"))
    })
}

/// Makes the file of the namespace `name`, and has `bind` mount a namespace on it.
fn bind_by(name: &str, bind: impl FnOnce(&Path) -> Result<()>) -> Result<OwnedFd> {
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
    let found = bind(&path).and_then(|()| find(name));
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

/// Removes the name of a network namespace. The namespace ends with the last process or socket in it.
///
/// # Errors
/// The file cannot be unmounted or removed.
pub fn remove(name: &str) -> Result<()> {
    let path = path(name);
    let _lock = lock()?;
    // An `ip netns add` that was killed can leave several mounts on each other. EINVAL: no mount is left.
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

/// Tells whether the file is one that a tool made and was killed before it mounted the namespace on it: an
/// empty file of root.
pub fn is_leftover(name: &str) -> bool {
    std::fs::symlink_metadata(path(name))
        .is_ok_and(|meta| meta.is_file() && meta.size() == 0 && meta.uid() == 0)
}

/// Locks /run/netns, and tells whether the file is a leftover under that lock: without it, a tool may be
/// about to mount a namespace on the file. The lock is none if the file is no leftover, or the lock is still
/// taken after 376 ms.
fn lock_leftover(name: &str) -> Result<Option<File>> {
    let Ok(dir) = File::open(DIR) else {
        return Ok(None);
    };
    let mut waits = [1u64, 5, 20, 50, 100, 200].iter();
    while flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err() {
        match waits.next() {
            Some(wait) => std::thread::sleep(std::time::Duration::from_millis(*wait)),
            None => return Ok(None),
        }
    }
    let is_leftover = matches!(find(name)?, Found::Other) && is_leftover(name);
    Ok(is_leftover.then_some(dir))
}

/// Tells whether the file is a leftover, and no tool is at work in /run/netns.
///
/// # Errors
/// The file cannot be opened.
pub fn is_idle_leftover(name: &str) -> Result<bool> {
    lock_leftover(name).map(|lock| lock.is_some())
}

/// Removes the file if it is a leftover and no tool is at work in /run/netns.
///
/// # Errors
/// The file cannot be opened or removed.
pub fn remove_leftover(name: &str) -> Result<()> {
    if let Some(_lock) = lock_leftover(name)? {
        let path = path(name);
        std::fs::remove_file(&path).doing(|| format!("remove {}", path.display()))?;
        unshare_dir();
    }
    Ok(())
}

/// Opens the existing network namespace `name`.
///
/// # Errors
/// There is no namespace with that name.
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

/// Describes a file /run/netns/NAME that is no namespace, for messages.
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
