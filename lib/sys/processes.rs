//! Processes: clone, execute, signal, and the exit status by pidfd.

use crate::base::error::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs `f` in the child between fork and exec. The tools have one thread when they spawn, so the child
/// may allocate and take locks.
pub fn before_exec(
    command: &mut Command,
    f: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: no other thread exists that could hold a lock across the fork. The threads of subhost-list
    // have ended before a tool boots, enters or runs a hook.
    unsafe { command.pre_exec(f) };
}

/// Joins a new anonymous session keyring (`keyctl_join_session_keyring(3)`), so that processes inside do not
/// possess the keys of the caller. A kernel without keys fails with ENOSYS, which needs no reaction.
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

/// Sets a signal to its default action (`rt_sigaction(2)`), including the two that libc reserves for itself
/// and refuses to change. The kernel refuses KILL and STOP, which needs no reaction.
pub fn default_signal(number: i32) {
    // The struct sigaction of the kernel: handler SIG_DFL, no flags, no restorer, empty mask.
    let action = [0u64; 4];
    // SAFETY: SIG_DFL is not a function that could run; the mask has 8 bytes, as passed.
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

/// The work of a child in our memory. It ends with [`exec`]; if it returns, the child exits with 127.
type Work<'a> = &'a mut dyn FnMut();

/// The size of the stack of such a child, in bytes.
const STACK: usize = 256 << 10;

/// Makes a child as vfork(2) does: it shares our memory, has a stack of its own, and the calling thread waits
/// until it has executed a program or ended. `flags` are the new namespaces. If `cgroup` is a directory of
/// the v2 hierarchy, the child starts in that cgroup. Returns pid and pidfd of the child (`clone3(2)`).
///
/// # Errors
/// ENOSYS if a seccomp filter does not know clone3; EBUSY if the cgroup cannot hold processes.
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
        // The allocation may have any alignment; a stack begins at a multiple of 16.
        stack_size: (STACK - 64) as u64 & !15,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    let (address, size) = ((&raw const args) as usize, size_of::<CloneArgs>());
    // SAFETY: the kernel reads args and writes one descriptor into pidfd, which we own. The stack of the
    // child lives until this thread continues. Other threads may run meanwhile: to them and to libc the
    // child is this thread, with the same locks.
    unsafe {
        let pid = enter_child(nix::libc::SYS_clone3, [address, size, 0], work)?;
        Ok((pid, OwnedFd::from_raw_fd(pidfd)))
    }
}

/// Makes a child like [`vfork`], but by `clone(2)`: it starts in our cgroup.
///
/// # Errors
/// The errno of the call.
pub fn vfork_clone(flags: i32, work: Work<'_>) -> Result<(i32, OwnedFd), Errno> {
    let mut pidfd: RawFd = -1;
    let mut stack = vec![0u8; STACK];
    let flags = (flags | AS_VFORK | nix::libc::SIGCHLD).cast_unsigned() as usize;
    let top = (stack.as_mut_ptr() as usize + STACK - 64) & !15;
    // SAFETY: see vfork; clone(2) writes the descriptor to the address in its third argument.
    unsafe {
        let place = (&raw mut pidfd) as usize;
        let pid = enter_child(nix::libc::SYS_clone, [flags, top, place], work)?;
        Ok((pid, OwnedFd::from_raw_fd(pidfd)))
    }
}

const AS_VFORK: i32 = nix::libc::CLONE_VM | nix::libc::CLONE_VFORK | nix::libc::CLONE_PIDFD;

/// The function that the child begins with.
extern "C" fn child_main(work: *mut Work<'_>) -> ! {
    // SAFETY: the value is on the stack of our parent, which waits.
    let work = unsafe { &mut *work };
    work();
    exit(127)
}

/// Makes the system call `call`, clone3 or clone. Only the parent returns: the child has another stack
/// without a return address.
///
/// # Safety
/// `arguments` are those of the call, with CLONE_VM, CLONE_VFORK and a stack that is not ours.
unsafe fn enter_child(
    call: nix::libc::c_long,
    arguments: [usize; 3],
    mut work: Work<'_>,
) -> Result<i32, Errno> {
    let work = (&raw mut work).cast::<Work<'_>>();
    let returned: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the call changes only the named registers of the parent (syscall(2)); the child calls,
    // on its own stack, a function that never returns.
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
    // SAFETY: the same holds for this architecture.
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

/// Makes a child with its own memory, as fork(2) does, in the new namespaces `flags` (`clone(2)`). Returns
/// none in the child.
///
/// # Errors
/// The errno of the call.
pub fn fork_clone(flags: i32) -> Result<Option<(i32, OwnedFd)>, Errno> {
    let mut pidfd: RawFd = -1;
    let flags = flags | nix::libc::CLONE_PIDFD | nix::libc::SIGCHLD;
    // SAFETY: the child shares no memory and is a copy of us as after fork(2). The tools have one thread,
    // so the child has no lock that a missing thread holds. The first three arguments, flags, stack and
    // pidfd, have the same order on x86_64 and aarch64; these flags do not use the others.
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

/// Makes a child that does `work` and exits with the status that `work` returns. If this process has several
/// threads, `work` must not allocate: another thread may hold the lock of the allocator at the fork.
///
/// # Errors
/// The errno of the call.
pub fn fork_child(work: impl FnOnce() -> i32) -> Result<(i32, OwnedFd), Errno> {
    match fork_clone(0)? {
        Some(child) => Ok(child),
        None => exit(work()),
    }
}

/// Exits at once (`_exit(2)`): nothing of the parent is flushed or dropped in a child.
pub fn exit(status: i32) -> ! {
    // SAFETY: the call ends the process.
    unsafe { nix::libc::_exit(status) }
}

/// Sends any signal to a process, also a real-time one (`kill(2)`).
///
/// # Errors
/// The errno of the call.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: the arguments are integers.
    Errno::result(unsafe { nix::libc::kill(pid, signal) }).map(drop)
}

/// Sends any signal to the process of a pidfd, also a real-time one (`pidfd_send_signal(2)`).
///
/// # Errors
/// The errno of the call.
pub fn pidfd_kill(pidfd: impl AsFd, signal: i32) -> Result<(), Errno> {
    // SAFETY: the arguments are integers and a null siginfo.
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

/// Sends a signal with a value to the process of a pidfd (`rt_sigqueueinfo(2)`, SI_QUEUE).
///
/// # Errors
/// The errno of the call.
pub fn pidfd_queue(pidfd: impl AsFd, signal: i32, value: i32) -> Result<(), Errno> {
    /// `siginfo_t` of a 64-bit architecture: signo, errno, code, padding, pid, uid, value, and the rest of 128 bytes.
    #[repr(C)]
    struct Info {
        signo: i32,
        errno: i32,
        code: i32,
        padding: i32,
        pid: i32,
        uid: u32,
        value: u64,
        rest: [u64; 12],
    }
    const _: () = assert!(size_of::<Info>() == size_of::<nix::libc::siginfo_t>());
    let info = Info {
        signo: signal,
        errno: 0,
        code: nix::libc::SI_QUEUE,
        padding: 0,
        // The kernel sets the pid to 0 for a receiver in an inner pid namespace.
        pid: 0,
        uid: 0,
        value: u64::from(value as u32),
        rest: [0; 12],
    };
    // SAFETY: the kernel reads a siginfo, which lives across the call and has its size.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            &raw const info,
            0,
        )
    };
    Errno::result(rc).map(drop)
}

/// Returns the wait status of a process that any process has reaped, by its pidfd (`PIDFD_GET_INFO`,
/// `PIDFD_INFO_EXIT`). None before Linux 6.15.
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
    // SAFETY: the ioctl writes at most the size that its number contains.
    let rc = unsafe { nix::libc::ioctl(pidfd.as_fd().as_raw_fd(), request as _, &raw mut info) };
    (rc == 0 && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}

/// Executes a program (`execve(2)`). Returns only on failure.
pub fn exec(program: &CString, args: &[CString], env: &[CString]) -> Errno {
    match nix::unistd::execve(program, args, env) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Executes the program at `fd` (`execveat(2)`). Returns only on failure.
pub fn exec_fd(fd: impl AsFd, args: &[&CStr], env: &[CString]) -> Errno {
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(fd, c"", args, env, flags) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}
