//! The holder's half: a process in the new namespaces that makes the world's mounts, and then waits
//! until nobody needs them.

use super::{MAKING, RECORD, Record, locked, refused};
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

/// `subhost-init --hold N`: N is the socket to the tool that makes the world.
pub fn hold(socket: OwnedFd) -> u8 {
    match make(&socket) {
        Ok(Some((dir, world))) => {
            drop(socket);
            u8::from(keep(&dir, &world).is_err())
        }
        Ok(None) => 1,
        Err(error) => {
            let _ = send(&socket, &FromInit::failed(error), &[]);
            1
        }
    }
}

/// The world's directory and its lock, when it is up; none if the tool has gone.
fn make(socket: &OwnedFd) -> Result<Option<(OwnedFd, File)>> {
    nix::unistd::setsid().doing(|| "lead a session")?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|errno| refused("make a user namespace", errno))?;
    send(socket, &FromInit::Up, &[])?;
    let Some((ToInit::Go, fds)) = receive(socket)? else {
        return Ok(None);
    };
    let [dir, logs] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| terminal::lost())?;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)
        .map_err(|errno| refused("make the world's mounts slaves of the host's", errno))?;
    // Those of the caller's mount namespace may not be cloned: found anew in ours.
    let state = open_path(&dir, "run")?;
    cover("/run", &[("subhost", Some(&state)), ("netns", None)])?;
    cover("/var/log", &[("subhost", Some(&logs))])?;
    let (holder, _) = Identity::open(std::process::id() as i32).doing(|| "tell who we are")?;
    let record = Record {
        boot: crate::kernel::clock::boot_id()?.to_owned(),
        holder,
    };
    let text = serde_json::to_string(&record).unwrap_or_default();
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let world = openat(&dir, RECORD, flags, Mode::empty());
    let world = File::from(world.doing(|| "open the world's record")?);
    world
        .set_len(0)
        .and_then(|()| world.write_all_at(text.as_bytes(), 0))
        .doing(|| "record the world's holder")?;
    send(socket, &FromInit::Up, &[])?;
    Ok(Some((dir, world)))
}

fn open_path(dir: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).doing(|| format!("open {name} of the world"))
}

/// Mounts a tmpfs on a directory of the host with all that was in it, and with directories of the
/// world's own in the place of some: those given, or empty ones.
fn cover(at: &str, own: &[(&str, Option<&OwnedFd>)]) -> Result<()> {
    let work = || -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let before = rustix::fs::open(at, flags, Mode::empty())?;
        // Cloned before anything covers where they lie.
        let mut clones = Vec::new();
        for (name, source) in own {
            clones.push((*name, source.map(clone_of).transpose()?));
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
        for entry in Dir::read_from(&before)? {
            let entry = entry?;
            let name = entry.file_name();
            let taken = own.iter().any(|(own, _)| own.as_bytes() == name.to_bytes());
            if !taken && name.to_bytes() != b"." && name.to_bytes() != b".." {
                // What goes meanwhile, or is not to be had, is not there.
                let _ = show(&before, &tmpfs, name);
            }
        }
        Ok(())
    };
    work().map_err(|errno| refused(&format!("make the world's own {at}"), errno))
}

/// The directory at a descriptor of whatever mount namespace, as a mount of ours.
fn clone_of(dir: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let path = rustix::fs::readlinkat(
        CWD,
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(dir)),
        Vec::new(),
    )?;
    let found = open_tree(CWD, path.as_c_str(), flags)?;
    let (there, asked) = (rustix::fs::fstat(&found)?, rustix::fs::fstat(dir)?);
    match (there.st_dev, there.st_ino) == (asked.st_dev, asked.st_ino) {
        true => Ok(found),
        false => Err(rustix::io::Errno::STALE),
    }
}

/// Binds one entry of a directory that is covered.
fn show(before: &OwnedFd, on: &OwnedFd, name: &std::ffi::CStr) -> rustix::io::Result<()> {
    let stat = rustix::fs::statat(before, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = readlinkat(before, name, Vec::new())?;
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
    let clone = open_tree(before, name, flags)?;
    move_mount(
        &clone,
        "",
        on,
        name,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Waits until no tool is in the world and no subhost is up; then takes away what it had.
fn keep(dir: &OwnedFd, world: &File) -> std::result::Result<(), nix::Error> {
    let fail = IntoErrno::into_errno;
    let goes = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(fail)?;
    let what = inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&goes, "/run/subhost", what).map_err(fail)?;
    let mut events = [0; 4096];
    loop {
        // Every tool has its part for as long as it is in the world.
        match flock(world, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(fail)?,
        }
        if !is_needed(world) {
            clear(dir);
            return Ok(());
        }
        flock(world, FlockOperation::Unlock).map_err(fail)?;
        match rustix::io::read(&goes, &mut events) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(e) => return Err(fail(e)),
        }
    }
}

/// Is a subhost up, and are we still the one who holds its world?
fn is_needed(world: &File) -> bool {
    let mut text = [0; 4096];
    let read = world.read_at(&mut text, 0).unwrap_or(0);
    let ours = serde_json::from_slice::<Record>(&text[..read])
        .is_ok_and(|record| record.holder.pid.cast_unsigned() == std::process::id());
    let visible =
        |entry: std::fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    let mut left = std::fs::read_dir("/run/subhost").into_iter().flatten();
    ours && left.any(|entry| entry.is_ok_and(visible))
}

/// Removes the world's directory, if nobody has found a use for it.
fn clear(dir: &OwnedFd) {
    for entry in std::fs::read_dir("/run/subhost")
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        // Notes and claims of subhosts that are not up.
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
    }
    let path = std::fs::read_link(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(dir)
    ));
    // Not in our mounts, where it is the place of one.
    let _ = nix::mount::umount2(Path::new("/run/subhost"), nix::mount::MntFlags::MNT_DETACH);
    let _ = unlinkat(dir, "run", AtFlags::REMOVEDIR);
    let free = |name| {
        let making = locked(dir, name, FlockOperation::NonBlockingLockExclusive);
        if let Ok(Some(_held)) = making {
            let _ = unlinkat(dir, name, AtFlags::empty());
        }
    };
    let _ = unlinkat(dir, RECORD, AtFlags::empty());
    free(MAKING);
    if let Ok(path) = path {
        let _ = std::fs::remove_dir(path);
    }
}

impl From<Error> for nix::Error {
    fn from(error: Error) -> Self {
        error.errno.unwrap_or(nix::Error::EIO)
    }
}
