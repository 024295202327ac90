//! User namespaces: making one for a range of ids, finding the owner of a network namespace, and entering
//! one as root. A process cannot leave one again, so the tools themselves never enter.

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result};
use crate::kernel::proc::Namespace;
use crate::sys;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

/// Makes a user namespace that maps the ids from 0 to the range of [`COUNT`] ids from `base`.
///
/// # Errors
/// The failed call, with a hint.
pub fn make(base: u32) -> Result<OwnedFd> {
    with_new(base, CloneFlags::empty(), open)
}

/// Calls `work` with the pid of a process in a new user namespace, which also has the new namespaces
/// `flags`.
///
/// # Errors
/// The failed call, with a hint; the failure of `work`.
pub fn with_new<T>(base: u32, flags: CloneFlags, work: impl FnOnce(i32) -> Result<T>) -> Result<T> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).doing(|| "open a pipe")?;
    let (ready, made) = pipe2(OFlag::O_CLOEXEC).doing(|| "open a pipe")?;
    let child = || {
        // The child ends when the last writing end of the pipe is closed, also if its parent is killed.
        let _ = nix::unistd::close(writer.as_raw_fd());
        let errno = unshare_user(flags).err().map_or(0, |errno| errno as i32);
        let _ = nix::unistd::write(&made, &errno.to_ne_bytes());
        // Without a result the parent reads the end of the pipe.
        let _ = nix::unistd::close(made.as_raw_fd());
        let _ = nix::unistd::read(&reader, &mut [0]);
        0
    };
    let (pid, _) = sys::fork_child(child).map_err(explain)?;
    drop((made, reader));
    let mut errno = [0; 4];
    let unshared = match File::from(ready).read_exact(&mut errno) {
        Ok(()) if errno == [0; 4] => Ok(()),
        Ok(()) => Err(Errno::from_raw(i32::from_ne_bytes(errno))),
        Err(e) => Err(e.into_errno()),
    };
    let done = unshared.map_err(explain).and_then(|()| {
        for map in ["gid_map", "uid_map"] {
            std::fs::write(format!("/proc/{pid}/{map}"), format!("0 {base} {COUNT}"))
                .doing(|| format!("map the ids from {base} on"))?;
        }
        work(pid)
    });
    drop(writer);
    let _ = waitpid(Pid::from_raw(pid), None);
    done
}

/// Unshares a user namespace and the namespaces `flags`. The kernel refuses this in a chroot (EPERM), from
/// which joining the own mount namespace leads out.
fn unshare_user(flags: CloneFlags) -> std::result::Result<(), Errno> {
    let flags = flags | CloneFlags::CLONE_NEWUSER;
    match unshare(flags) {
        Err(Errno::EPERM) => {
            setns(Namespace::Mnt.open_own()?, CloneFlags::CLONE_NEWNS)?;
            unshare(flags)
        }
        other => other,
    }
}

/// Makes the failure of a new user namespace, with a hint.
fn explain(errno: Errno) -> Error {
    let error = Error::sys("make a user namespace", errno);
    match errno {
        Errno::ENOSPC => error.hint("/proc/sys/user/max_user_namespaces"),
        Errno::EINVAL => error.hint("this kernel has none (CONFIG_USER_NS)"),
        Errno::EPERM => error
            .hint("we are in a user namespace that lacks the ids, or a security module forbids it"),
        _ => error,
    }
}

/// Opens the user namespace of a process.
///
/// # Errors
/// The process is gone.
pub fn open(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    let file = File::open(&path).doing(|| format!("open {path}"))?;
    Ok(file.into())
}

/// Opens the user namespace that owns a network namespace; none if it is our own.
///
/// # Errors
/// The failed call.
pub fn foreign_owner(namespace: &OwnedFd) -> Result<Option<OwnedFd>> {
    let owner = sys::owning_userns(namespace).doing(|| "ask for the owner of a namespace")?;
    let own = Namespace::User
        .open_own()
        .doing(|| "open our user namespace")?;
    Ok((inode(&owner)? != inode(&own)?).then_some(owner))
}

fn inode(namespace: &OwnedFd) -> Result<u64> {
    let stat = rustix::fs::fstat(namespace).doing(|| "look at a user namespace")?;
    Ok(stat.st_ino)
}

/// Makes the calling thread root of a user namespace, without any privilege elsewhere. It is called in a
/// child with one thread, before the exec.
///
/// # Errors
/// The errno of the failed call.
pub fn enter(userns: &OwnedFd) -> std::result::Result<(), Errno> {
    setns(userns, CloneFlags::CLONE_NEWUSER)?;
    // The functions of libc would change all threads of the memory that such a child shares with its
    // parent.
    set_thread_groups(&[]).map_err(IntoErrno::into_errno)?;
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).map_err(IntoErrno::into_errno)?;
    set_thread_res_uid(uid, uid, uid).map_err(IntoErrno::into_errno)?;
    // A change of ids may make a process dumpable, so that others can ptrace it.
    let hidden = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(hidden).map_err(IntoErrno::into_errno)
}

/// Checks that our user namespace maps exactly the ids from `base`.
///
/// # Errors
/// It maps others.
pub fn check_ids(base: u32) -> Result<()> {
    for map in ["uid_map", "gid_map"] {
        let text = std::fs::read_to_string(format!("/proc/self/{map}"))
            .doing(|| format!("read our {map}"))?;
        let words: Vec<&str> = text.split_whitespace().collect();
        if words != ["0", &base.to_string(), &COUNT.to_string()] {
            let what = "its network namespace has other ids than its root";
            return Err(Error::new(Exit::Failed, what).hint("subhost-stop, then start it again"));
        }
    }
    Ok(())
}

/// The number of ids in a range.
pub const COUNT: u32 = 1 << 16;
