//! User namespaces: making one for a range of ids, finding the one that owns a network namespace,
//! and becoming root in it. Who is in one cannot come back: the tools themselves never enter.

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

/// A new user namespace that has the ids from `base` on as its own from 0 on.
///
/// # Errors
/// The kernel makes none.
pub fn make(base: u32) -> Result<OwnedFd> {
    held(base, CloneFlags::empty(), namespace)
}

/// Does `work` with the pid of a process that holds a new user namespace, and the further ones of
/// `flags` in it.
///
/// # Errors
/// The kernel makes none; that of `work`.
pub fn held<T>(base: u32, flags: CloneFlags, work: impl FnOnce(i32) -> Result<T>) -> Result<T> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).doing(|| "open a pipe")?;
    let (ready, made) = pipe2(OFlag::O_CLOEXEC).doing(|| "open a pipe")?;
    let child = || {
        // It ends with its parent, whatever becomes of that: with the last end of the pipe for writing.
        let _ = nix::unistd::close(writer.as_raw_fd());
        let told = apart(flags).err().map_or(0, |errno| errno as i32);
        let _ = nix::unistd::write(&made, &told.to_ne_bytes());
        // However that went: our parent waits for no more.
        let _ = nix::unistd::close(made.as_raw_fd());
        let _ = nix::unistd::read(&reader, &mut [0]);
        0
    };
    let (pid, _) = sys::fork_child(child).map_err(explained)?;
    drop((made, reader));
    let mut told = [0; 4];
    let held = match File::from(ready).read_exact(&mut told) {
        Ok(()) if told == [0; 4] => Ok(()),
        Ok(()) => Err(Errno::from_raw(i32::from_ne_bytes(told))),
        Err(e) => Err(e.into_errno()),
    };
    let done = held.map_err(explained).and_then(|()| {
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

/// New namespaces for the calling process, one of users among them. From a chroot there is none to be
/// had: joining the mount namespace that one is in leads out.
fn apart(flags: CloneFlags) -> std::result::Result<(), Errno> {
    let flags = flags | CloneFlags::CLONE_NEWUSER;
    match unshare(flags) {
        Err(Errno::EPERM) => {
            setns(Namespace::Mnt.ours()?, CloneFlags::CLONE_NEWNS)?;
            unshare(flags)
        }
        other => other,
    }
}

fn explained(errno: Errno) -> Error {
    let error = Error::sys("make a user namespace", errno);
    match errno {
        Errno::ENOSPC => error.hint("/proc/sys/user/max_user_namespaces"),
        Errno::EINVAL => error.hint("this kernel has none (CONFIG_USER_NS)"),
        Errno::EPERM => error
            .hint("we are in a user namespace that lacks the ids, or a security module forbids it"),
        _ => error,
    }
}

/// The user namespace of a process.
///
/// # Errors
/// It is gone.
pub fn namespace(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    let file = File::open(&path).doing(|| format!("open {path}"))?;
    Ok(file.into())
}

/// The user namespace that owns a network namespace; none if it is our own.
///
/// # Errors
/// The kernel could not be asked.
pub fn owner_of(namespace: &OwnedFd) -> Result<Option<OwnedFd>> {
    let owner = sys::owning_userns(namespace).doing(|| "ask for the owner of a namespace")?;
    Ok(
        (inode(&owner)? != inode(&Namespace::User.ours().doing(|| "open our user namespace")?)?)
            .then_some(owner),
    )
}

fn inode(namespace: &OwnedFd) -> Result<u64> {
    let stat = rustix::fs::fstat(namespace).doing(|| "look at a user namespace")?;
    Ok(stat.st_ino)
}

/// Makes the calling process, which must have one thread, root in a user namespace and nobody
/// elsewhere. For a child before it executes what runs inside.
///
/// # Errors
/// The errno of the failed call.
pub fn enter(userns: &OwnedFd) -> std::result::Result<(), Errno> {
    setns(userns, CloneFlags::CLONE_NEWUSER)?;
    // Not libc's, which changes all threads of the memory that such a child shares with its parent.
    set_thread_groups(&[]).map_err(IntoErrno::into_errno)?;
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).map_err(IntoErrno::into_errno)?;
    set_thread_res_uid(uid, uid, uid).map_err(IntoErrno::into_errno)?;
    // A change of ids makes us what others may look into.
    let hidden = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(hidden).map_err(IntoErrno::into_errno)
}

/// Are the ids of the user namespace that we are in those from `base` on?
///
/// # Errors
/// They are not.
pub fn must_be_of(base: u32) -> Result<()> {
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

/// Ids in a range.
pub const COUNT: u32 = 1 << 16;
