//! The holder: a process that makes a user's namespace, keeps it alive, and ends when no tool and no subhost
//! is in it.

use super::{RECORD, Record, SETUP_LOCK, open_locked, refused_error};
use crate::base::error::{Doing, Error, IntoErrno, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::kernel::packets::{receive, send};
use crate::kernel::proc::Identity;
use crate::kernel::terminal;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::inotify;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, mkdirat, openat, readlinkat,
    symlinkat, unlinkat,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Runs the holder, for `subhost-init --hold N`, and returns its exit status. `socket` leads to the tool that
/// starts it.
pub fn hold(socket: OwnedFd) -> u8 {
    match make_namespace(&socket) {
        Ok(Some((dir, record))) => {
            drop(socket);
            u8::from(wait_until_unused(&dir, &record).is_err())
        }
        Ok(None) => 1,
        Err(error) => {
            let _ = send(&socket, &FromInit::failed(error), &[]);
            1
        }
    }
}

/// Makes the namespaces and their mounts, and records the holder. It returns the directory of the state and
/// the file of the record; none if the tool has ended.
fn make_namespace(socket: &OwnedFd) -> Result<Option<(OwnedFd, File)>> {
    nix::unistd::setsid().doing(|| "lead a session")?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|errno| refused_error("make a user namespace", errno))?;
    send(socket, &FromInit::Up, &[])?;
    let Some((ToInit::Go, fds)) = receive(socket)? else {
        return Ok(None);
    };
    let [dir, logs] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| terminal::lost())?;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)
        .map_err(|errno| refused_error("make the mounts slaves of the host's", errno))?;
    let state = open_path(&dir, "run")?;
    cover("/run", &[("subhost", Some(&state)), ("netns", None)])?;
    cover("/var/log", &[("subhost", Some(&logs))])?;
    let (holder, _) = Identity::open(std::process::id() as i32).doing(|| "identify the holder")?;
    let record = Record {
        boot: crate::kernel::clock::boot_id()?.to_owned(),
        holder,
    };
    let text = serde_json::to_string(&record).unwrap_or_default();
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&dir, RECORD, flags, Mode::empty());
    let file = File::from(file.doing(|| "open the holder's record")?);
    file.set_len(0)
        .and_then(|()| file.write_all_at(text.as_bytes(), 0))
        .doing(|| "record the holder")?;
    send(socket, &FromInit::Up, &[])?;
    Ok(Some((dir, file)))
}

fn open_path(dir: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).doing(|| format!("open {name} of the user's namespace"))
}

/// Covers a directory of the host by a tmpfs that shows the entries of the directory. The entries in
/// `replaced` show another directory instead, or an empty one.
fn cover(at: &str, replaced: &[(&str, Option<&OwnedFd>)]) -> Result<()> {
    let work = || -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let covered = rustix::fs::open(at, flags, Mode::empty())?;
        // The sources may lie below `at`, so they are cloned before the tmpfs covers them.
        let mut clones = Vec::new();
        for (name, source) in replaced {
            clones.push((*name, source.map(clone_directory).transpose()?));
        }
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in [("source", "subhost"), ("mode", "0755"), ("size", "4m")] {
            fsconfig_set_string(fs.as_fd(), key, value)?;
        }
        fsconfig_create(fs.as_fd())?;
        let safe = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let tmpfs = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, safe)?;
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tmpfs, "", CWD, at, empty)?;
        for (name, clone) in clones {
            mkdirat(&tmpfs, name, Mode::from_raw_mode(0o755))?;
            if let Some(clone) = clone {
                move_mount(&clone, "", &tmpfs, name, empty)?;
            }
        }
        for entry in Dir::read_from(&covered)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_replaced = replaced
                .iter()
                .any(|(replaced, _)| replaced.as_bytes() == name.to_bytes());
            if !is_replaced && name.to_bytes() != b"." && name.to_bytes() != b".." {
                // An entry that vanishes meanwhile, or that the user may not access, is left out.
                let _ = show_entry(&covered, &tmpfs, name);
            }
        }
        Ok(())
    };
    work().map_err(|errno| refused_error(&format!("cover {at} in the user's namespace"), errno))
}

/// Clones the directory at a descriptor as a detached mount. open_tree(2) clones only mounts of our own mount
/// namespace, and the descriptor may come from another one: so the directory is looked up by its path, and
/// its identity is compared.
fn clone_directory(dir: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let path = rustix::fs::readlinkat(
        CWD,
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(dir)),
        Vec::new(),
    )?;
    let found = open_tree(CWD, path.as_c_str(), flags)?;
    let (actual, wanted) = (rustix::fs::fstat(&found)?, rustix::fs::fstat(dir)?);
    match (actual.st_dev, actual.st_ino) == (wanted.st_dev, wanted.st_ino) {
        true => Ok(found),
        false => Err(rustix::io::Errno::STALE),
    }
}

/// Shows an entry of the covered directory in the tmpfs: copies a symbolic link, and bind-mounts everything
/// else.
fn show_entry(covered: &OwnedFd, on: &OwnedFd, name: &std::ffi::CStr) -> rustix::io::Result<()> {
    let stat = rustix::fs::statat(covered, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = readlinkat(covered, name, Vec::new())?;
            return symlinkat(target.as_c_str(), on, name);
        }
        FileType::Directory => mkdirat(on, name, Mode::from_raw_mode(0o755))?,
        _ => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(openat(on, name, flags, Mode::from_raw_mode(0o444))?);
        }
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_NO_AUTOMOUNT
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let clone = open_tree(covered, name, flags)?;
    move_mount(
        &clone,
        "",
        on,
        name,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Waits until no tool is in the namespace and no subhost is up; then removes the directory of the state.
fn wait_until_unused(dir: &OwnedFd, record: &File) -> std::result::Result<(), nix::Error> {
    let fail = IntoErrno::into_errno;
    let removals = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(fail)?;
    let what = inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&removals, "/run/subhost", what).map_err(fail)?;
    let mut events = [0; 4096];
    loop {
        // Each tool in the namespace holds a shared lock.
        match flock(record, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(fail)?,
        }
        if !is_needed(record) {
            clear(dir);
            return Ok(());
        }
        flock(record, FlockOperation::Unlock).map_err(fail)?;
        match rustix::io::read(&removals, &mut events) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(e) => return Err(fail(e)),
        }
    }
}

/// Tells whether a subhost is up, and the record still names this holder.
fn is_needed(record: &File) -> bool {
    let mut text = [0; 4096];
    let read = record.read_at(&mut text, 0).unwrap_or(0);
    let is_ours = serde_json::from_slice::<Record>(&text[..read])
        .is_ok_and(|record| record.holder.pid.cast_unsigned() == std::process::id());
    let is_visible =
        |entry: std::fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    let mut entries = std::fs::read_dir("/run/subhost").into_iter().flatten();
    is_ours && entries.any(|entry| entry.is_ok_and(is_visible))
}

/// Removes the directory of the state. It stays if another tool has a file in it.
fn clear(dir: &OwnedFd) {
    for entry in std::fs::read_dir("/run/subhost")
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        // The common files and claims of subhosts that are down.
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
    }
    let path = std::fs::read_link(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(dir)
    ));
    // rmdir(2) refuses a directory that is mounted in our own mount namespace.
    let _ = nix::mount::umount2(Path::new("/run/subhost"), nix::mount::MntFlags::MNT_DETACH);
    let _ = unlinkat(dir, "run", AtFlags::REMOVEDIR);
    let _ = unlinkat(dir, RECORD, AtFlags::empty());
    let setup_lock = open_locked(dir, SETUP_LOCK, FlockOperation::NonBlockingLockExclusive);
    if let Ok(Some(_lock)) = setup_lock {
        let _ = unlinkat(dir, SETUP_LOCK, AtFlags::empty());
    }
    if let Ok(path) = path {
        let _ = std::fs::remove_dir(path);
    }
}

impl From<Error> for nix::Error {
    fn from(error: Error) -> Self {
        error.errno.unwrap_or(nix::Error::EIO)
    }
}
