//! Processes: made, executed, signalled, and what is known of them when they have ended.

use crate::base::error::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs `f` in the child between fork and exec. Our tools have one thread when they spawn, so
/// the child may do what any process may.
pub fn before_exec(
    command: &mut Command,
    f: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: no other thread exists that could hold a lock across the fork (those of a list are
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

/// What a child does in our memory; it is to end by [`exec`], or the child ends with 127.
type Work<'a> = &'a mut dyn FnMut();

/// How much of a stack such a child has, bytes.
const STACK: usize = 256 << 10;

/// `clone3(2)` as vfork does it: the child has our memory, with a stack of its own, and we wait until
/// it has executed a program or ended. With new namespaces in `flags` and, if `cgroup` is a directory of
/// the v2 hierarchy, in that cgroup from the first moment. Gives pid and pidfd of the child.
///
/// # Errors
/// ENOSYS where a filter knows only older calls; EBUSY if the cgroup can hold no processes.
pub fn vfork(
    flags: i32,
    cgroup: Option<BorrowedFd>,
    work: Work<'_>,
) -> Result<(i32, OwnedFd), Errno> {
    let mut pidfd: RawFd = -1;
    let mut stack = vec![0u8; STACK];
    let into = u64::from(cgroup.is_some()) << 33; // CLONE_INTO_CGROUP
    let args = CloneArgs {
        flags: u64::from((flags | AS_VFORK).cast_unsigned()) | into,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: nix::libc::SIGCHLD as u64,
        stack: stack.as_mut_ptr() as u64,
        // From an address of an allocator's to one that a stack may begin at.
        stack_size: (STACK - 64) as u64 & !15,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    let (address, size) = ((&raw const args) as usize, size_of::<CloneArgs>());
    // SAFETY: the kernel reads args and writes one descriptor into pidfd, which is ours alone. The child
    // has a stack of its own, which lives until this thread goes on. Another thread may run meanwhile: to it
    // the child is this thread, locks and all.
    unsafe {
        let pid = enter_child(nix::libc::SYS_clone3, [address, size, 0], work)?;
        Ok((pid, OwnedFd::from_raw_fd(pidfd)))
    }
}

/// The same by `clone(2)`, which puts the child where we are.
///
/// # Errors
/// The errno of the call.
pub fn vfork_clone(flags: i32, work: Work<'_>) -> Result<(i32, OwnedFd), Errno> {
    let mut pidfd: RawFd = -1;
    let mut stack = vec![0u8; STACK];
    let flags = (flags | AS_VFORK | nix::libc::SIGCHLD).cast_unsigned() as usize;
    let top = (stack.as_mut_ptr() as usize + STACK - 64) & !15;
    // SAFETY: as above.
    unsafe {
        let place = (&raw mut pidfd) as usize;
        let pid = enter_child(nix::libc::SYS_clone, [flags, top, place], work)?;
        Ok((pid, OwnedFd::from_raw_fd(pidfd)))
    }
}

const AS_VFORK: i32 = nix::libc::CLONE_VM | nix::libc::CLONE_VFORK | nix::libc::CLONE_PIDFD;

/// Where the child begins.
extern "C" fn child_main(work: *mut Work<'_>) -> ! {
    // SAFETY: our parent's, which waits and has it on its stack.
    let work = unsafe { &mut *work };
    work();
    exit(127)
}

/// Makes one of the two calls. Only the parent returns: the child has another stack, on which there is
/// nothing to return to.
///
/// # Safety
/// The arguments are those of the call, with CLONE_VM, CLONE_VFORK and a stack that is not ours.
unsafe fn enter_child(
    call: nix::libc::c_long,
    arguments: [usize; 3],
    mut work: Work<'_>,
) -> Result<i32, Errno> {
    let work = (&raw mut work).cast::<Work<'_>>();
    let returned: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the call changes no register of the parent's but those named (syscall(2)); the child, on its
    // own stack, calls what never returns.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") call as isize => returned,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") 0usize,
            in("r8") 0usize,
            in("r12") work,
            in("r13") child_main as extern "C" fn(*mut Work<'static>) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the same.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            inlateout("x0") arguments[0] as isize => returned,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") 0usize,
            in("x4") 0usize,
            in("x8") call,
            in("x20") work,
            in("x21") child_main as extern "C" fn(*mut Work<'static>) -> !,
        );
    }
    match returned {
        pid @ 1.. => Ok(pid as i32),
        failed => Err(Errno::from_raw(failed.unsigned_abs() as i32)),
    }
}

/// A child with a memory of its own, as fork does it, by `clone(2)`; none in the child.
///
/// # Errors
/// The errno of the call.
pub fn fork_clone(flags: i32) -> Result<Option<(i32, OwnedFd)>, Errno> {
    let mut pidfd: RawFd = -1;
    let flags = flags | nix::libc::CLONE_PIDFD | nix::libc::SIGCHLD;
    // SAFETY: no memory is shared, so the child is a copy of us as after fork; our tools have one
    // thread, so no lock is held in it by a thread that it does not have. Flags, no stack of its own, and
    // where the pidfd is put come first on both of our architectures; what comes after is not used with
    // these flags.
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

/// A child that does `work` and ends with the status that this gives. Where we have more than one thread `work`
/// must not allocate: a lock of another's is held in the child for ever.
///
/// # Errors
/// The errno of the call.
pub fn child(work: impl FnOnce() -> i32) -> Result<(i32, OwnedFd), Errno> {
    match fork_clone(0)? {
        Some(child) => Ok(child),
        None => exit(work()),
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

/// `execveat(2)` of the program at `fd`, which returns only if it fails.
pub fn exec_fd(fd: impl AsFd, args: &[&CStr], env: &[CString]) -> Errno {
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(fd, c"", args, env, flags) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}
