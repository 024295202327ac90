//! Processes: made, executed, signalled, and what is known of them when they have ended.

use crate::error::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs `f` in the child between fork and exec. Our tools have one thread when they spawn, so
/// the child may do what any process may.
pub fn before_exec(
    command: &mut Command,
    f: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: no other thread exists that could hold a lock across the fork (net's runtime is
    // dropped before anything is booted, entered or hooked).
    unsafe { command.pre_exec(f) };
}

/// A new anonymous session keyring (`keyctl_join_session_keyring(3)`), so that what runs inside
/// has no part in the caller's keys. Kernels without keys say ENOSYS: nothing to separate there.
pub fn new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: nix::libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    unsafe {
        nix::libc::syscall(
            nix::libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<nix::libc::c_char>(),
        );
    }
}

/// Sets a signal to its default action (`rt_sigaction(2)`), the two that libc keeps for itself and
/// would refuse as well. KILL and STOP refuse, as they may.
pub fn default_signal(number: i32) {
    // The kernel's struct sigaction: handler SIG_DFL, no flags, no restorer, empty mask.
    let action = [0u64; 4];
    // SAFETY: SIG_DFL is no function that could run; the mask has the 8 bytes that are named.
    unsafe {
        nix::libc::syscall(
            nix::libc::SYS_rt_sigaction,
            number,
            action.as_ptr(),
            std::ptr::null_mut::<u64>(),
            8usize,
        );
    }
}

/// `struct clone_args` of include/uapi/linux/sched.h, up to `cgroup` (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `clone3(2)` without a memory of its own for the child: as fork does, with new namespaces in `flags`
/// and, if `cgroup` is a directory of the v2 hierarchy, in that cgroup from the first moment. Gives pid
/// and pidfd of the child; none in the child.
///
/// # Errors
/// ENOSYS where a filter knows only older calls; EBUSY if the cgroup can hold no processes.
pub fn fork(flags: i32, cgroup: Option<BorrowedFd>) -> Result<Option<(i32, OwnedFd)>, Errno> {
    let mut pidfd: RawFd = -1;
    let into = u64::from(cgroup.is_some()) << 33; // CLONE_INTO_CGROUP
    let args = CloneArgs {
        flags: u64::from((flags | nix::libc::CLONE_PIDFD).cast_unsigned()) | into,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: nix::libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // SAFETY: no memory is shared, so the child is a copy of us as after fork; our tools have one
    // thread, so no lock is held in it by a thread that it does not have. The kernel writes one
    // descriptor into pidfd, ours alone.
    unsafe {
        let pid = Errno::result(nix::libc::syscall(
            nix::libc::SYS_clone3,
            &raw const args,
            size_of::<CloneArgs>(),
        ))?;
        match pid {
            0 => Ok(None),
            pid => Ok(Some((pid as i32, OwnedFd::from_raw_fd(pidfd)))),
        }
    }
}

/// The same by `clone(2)`, which puts the child where we are.
///
/// # Errors
/// The errno of the call.
pub fn fork_as_ever(flags: i32) -> Result<Option<(i32, OwnedFd)>, Errno> {
    let mut pidfd: RawFd = -1;
    let flags = flags | nix::libc::CLONE_PIDFD | nix::libc::SIGCHLD;
    // SAFETY: as above. Flags, no stack of its own, and where the pidfd is put come first on both of
    // our architectures; what comes after is not used with these flags.
    unsafe {
        let pid = Errno::result(nix::libc::syscall(
            nix::libc::SYS_clone,
            nix::libc::c_ulong::from(flags.cast_unsigned()),
            0usize,
            &raw mut pidfd,
            0usize,
            0usize,
        ))?;
        match pid {
            0 => Ok(None),
            pid => Ok(Some((pid as i32, OwnedFd::from_raw_fd(pidfd)))),
        }
    }
}

/// `_exit(2)`: nothing of the parent's is flushed or dropped.
pub fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { nix::libc::_exit(status) }
}

/// `kill(2)` with any signal number, real-time ones too.
///
/// # Errors
/// The errno of the call.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: plain integers.
    Errno::result(unsafe { nix::libc::kill(pid, signal) }).map(drop)
}

/// `pidfd_send_signal(2)` with any signal number.
///
/// # Errors
/// The errno of the call.
pub fn pidfd_kill(pidfd: impl AsFd, signal: i32) -> Result<(), Errno> {
    // SAFETY: integers and a null siginfo.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<nix::libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(rc).map(drop)
}

/// The wait status of a process that has been reaped, by whomever, from its pidfd
/// (`PIDFD_GET_INFO`, `PIDFD_INFO_EXIT`: Linux 6.15); none if the kernel does not tell.
pub fn pidfd_exit_status(pidfd: impl AsFd) -> Option<i32> {
    /// `struct pidfd_info` of include/uapi/linux/pidfd.h, version 0 plus exit_code (64 bytes).
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroupid: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info)
    let request = 3 << 30 | (size_of::<PidfdInfo>() as u64) << 16 | 0xff << 8 | 11;
    let mut info = PidfdInfo {
        mask: INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the ioctl fills at most the size that its number carries.
    let rc = unsafe { nix::libc::ioctl(pidfd.as_fd().as_raw_fd(), request as _, &raw mut info) };
    (rc == 0 && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}

/// `execve(2)`, which returns only if it fails.
pub fn exec(program: &CString, args: &[CString], env: &[CString]) -> Errno {
    match nix::unistd::execve(program, args, env) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// `execveat(2)` of the program at `fd` with our own environment and `more`, which returns only if it
/// fails.
pub fn exec_fd(fd: impl AsFd, args: &[CString], more: Option<CString>) -> Errno {
    use std::os::unix::ffi::OsStrExt;
    let env = std::env::vars_os().filter_map(|(key, value)| {
        CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    });
    let env: Vec<_> = env.chain(more).collect();
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(fd, c"", args, &env, flags) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}
