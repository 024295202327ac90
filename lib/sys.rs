//! The one door to system calls that nix and rustix lack, and the only `unsafe` of the crate.
//!
//! Each function is one call with its arguments typed; nothing here decides anything.
#![allow(unsafe_code)]

use crate::error::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `MOUNT_ATTR_RDONLY`.
pub const RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NODEV`.
pub const NODEV: u64 = 0x4;
/// `MOUNT_ATTR_IDMAP`.
const IDMAP: u64 = 0x0010_0000;

/// `mount_setattr(2)` on the mount tree at `fd` (with `AT_EMPTY_PATH | AT_RECURSIVE`): sets the
/// attributes `set` and, unless 0, the propagation (`MS_SLAVE`, ...). Linux 5.12.
///
/// # Errors
/// The errno of the call.
pub fn mount_setattr_tree(fd: impl AsFd, set: u64, propagation: u64) -> Result<(), Errno> {
    setattr(
        fd,
        &MountAttr {
            attr_set: set,
            propagation,
            ..MountAttr::default()
        },
    )
}

/// The same, and the ids of the mounts are mapped as the user namespace `userns` maps its own
/// (MOUNT_ATTR_IDMAP). All of the tree or nothing. Linux 5.12; tmpfs since 6.3.
///
/// # Errors
/// EINVAL if a file system cannot be mapped, EPERM if it is mapped already.
pub fn mount_map_tree(
    fd: impl AsFd,
    set: u64,
    propagation: u64,
    userns: impl AsFd,
) -> Result<(), Errno> {
    setattr(
        fd,
        &MountAttr {
            attr_set: set | IDMAP,
            propagation,
            userns_fd: userns.as_fd().as_raw_fd().unsigned_abs().into(),
            ..MountAttr::default()
        },
    )
}

fn setattr(fd: impl AsFd, attr: &MountAttr) -> Result<(), Errno> {
    // SAFETY: the path is a static C string, attr lives across the call and its size is passed.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            nix::libc::AT_EMPTY_PATH | nix::libc::AT_RECURSIVE,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    Errno::result(rc).map(drop)
}

/// The cookie of the network namespace that `socket` is in (SO_NETNS_COOKIE, include/uapi/asm-generic/
/// socket.h), unlike its inode never given again in a boot. Linux 5.14.
///
/// # Errors
/// The errno of the call.
pub fn netns_cookie(socket: impl AsFd) -> Result<u64, Errno> {
    const SO_NETNS_COOKIE: nix::libc::c_int = 71;
    let mut cookie = 0u64;
    let mut size = size_of::<u64>() as nix::libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into cookie.
    let rc = unsafe {
        nix::libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            nix::libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    Errno::result(rc).map(|_| cookie)
}

/// `LO_FLAGS_READ_ONLY`.
pub const LOOP_READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`: the device lets go of its file when nobody has it open or mounted.
pub const LOOP_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of include/uapi/linux/loop.h.
#[repr(C)]
struct LoopInfo {
    ids: [u64; 3],
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [[u8; 64]; 2],
    key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of the same.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// `LOOP_CONFIGURE`: attaches `file` to a free loop device with all that is to hold from the first
/// moment; `size` 0 is to the end of the file. Linux 5.8.
///
/// # Errors
/// EBUSY if the device is taken; the errno of the call.
pub fn loop_configure(
    device: RawFd,
    file: impl AsFd,
    offset: u64,
    size: u64,
    flags: u32,
) -> Result<(), Errno> {
    const LOOP_CONFIGURE: nix::libc::c_ulong = 0x4c0a;
    let config = LoopConfig {
        fd: file.as_fd().as_raw_fd().cast_unsigned(),
        block_size: 0,
        info: LoopInfo {
            ids: [0; 3],
            offset,
            size_limit: size,
            number: 0,
            encryption: [0; 2],
            flags,
            names: [[0; 64]; 2],
            key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the ioctl reads one loop_config, which lives across the call.
    let rc = unsafe { nix::libc::ioctl(device, LOOP_CONFIGURE as _, &raw const config) };
    Errno::result(rc).map(drop)
}

/// `close_range(2)` with `CLOSE_RANGE_CLOEXEC` from `first` on: nothing that we or our caller
/// opened reaches a program that we execute. Linux 5.11.
///
/// # Errors
/// The errno of the call.
pub fn cloexec_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: marks descriptors only; closes none that an owner holds.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_close_range,
            first,
            u32::MAX,
            nix::libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(rc).map(drop)
}

/// Takes over a descriptor number that we were started with.
///
/// # Errors
/// EBADF if nothing is open there.
pub fn adopt(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD reads flags; the descriptor is owned by nobody else in this program, as it
    // was inherited across exec and named on the command line.
    unsafe {
        Errno::result(nix::libc::fcntl(fd, nix::libc::F_GETFD))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

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

/// `TIOCGPTPEER`: the slave of the terminal whose master is `master`, without a path that
/// somebody inside could have replaced. Linux 4.13.
///
/// # Errors
/// The errno of the call.
pub fn pty_peer(master: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = nix::libc::O_RDWR | nix::libc::O_NOCTTY | nix::libc::O_CLOEXEC;
    // SAFETY: the ioctl takes flags by value and returns a new descriptor, which we own.
    unsafe {
        let fd = Errno::result(nix::libc::ioctl(
            master.as_fd().as_raw_fd(),
            nix::libc::TIOCGPTPEER,
            flags,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// `TIOCSPTLCK` 0: lets the slave be opened (`unlockpt(3)`).
///
/// # Errors
/// The errno of the call.
pub fn pty_unlock(master: impl AsFd) -> Result<(), Errno> {
    let unlock: nix::libc::c_int = 0;
    // SAFETY: the ioctl reads one int.
    let rc = unsafe {
        nix::libc::ioctl(
            master.as_fd().as_raw_fd(),
            nix::libc::TIOCSPTLCK,
            &raw const unlock,
        )
    };
    Errno::result(rc).map(drop)
}

/// Window size of a terminal (`ioctl_tty(2)`, TIOCGWINSZ).
///
/// # Errors
/// ENOTTY and others of the call.
pub fn window_size(tty: impl AsFd) -> Result<nix::libc::winsize, Errno> {
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the ioctl fills one winsize.
    let rc = unsafe {
        nix::libc::ioctl(
            tty.as_fd().as_raw_fd(),
            nix::libc::TIOCGWINSZ,
            &raw mut size,
        )
    };
    Errno::result(rc).map(|_| size)
}

/// Sets the window size (TIOCSWINSZ); the terminal's foreground group gets SIGWINCH.
///
/// # Errors
/// The errno of the call.
pub fn set_window_size(tty: impl AsFd, size: &nix::libc::winsize) -> Result<(), Errno> {
    // SAFETY: the ioctl reads one winsize.
    let rc = unsafe {
        nix::libc::ioctl(
            tty.as_fd().as_raw_fd(),
            nix::libc::TIOCSWINSZ,
            std::ptr::from_ref(size),
        )
    };
    Errno::result(rc).map(drop)
}

/// Makes `tty` the controlling terminal of our session (TIOCSCTTY).
///
/// # Errors
/// The errno of the call.
pub fn controlling_tty(tty: impl AsFd) -> Result<(), Errno> {
    // SAFETY: takes an int by value.
    let rc = unsafe { nix::libc::ioctl(tty.as_fd().as_raw_fd(), nix::libc::TIOCSCTTY, 0) };
    Errno::result(rc).map(drop)
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

/// `seccomp(2)`, SECCOMP_SET_MODE_FILTER, for us and all that we start. seccompiler's own way would set
/// no_new_privs first.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and no_new_privs; EINVAL without CONFIG_SECCOMP_FILTER.
pub fn filter_calls(program: &[seccompiler::sock_filter]) -> Result<(), Errno> {
    /// `struct sock_fprog` of include/uapi/linux/filter.h.
    #[repr(C)]
    struct Fprog {
        len: u16,
        filter: *const seccompiler::sock_filter,
    }
    let len = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let filter = program.as_ptr();
    let fprog = Fprog { len, filter };
    // SAFETY: the kernel reads `len` instructions of the layout of struct sock_filter, which live
    // across the call.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_seccomp,
            nix::libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const fprog,
        )
    };
    Errno::result(rc).map(drop)
}

/// `struct bpf_insn` of include/uapi/linux/bpf.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u8,
    /// In the lower half where to, in the upper where from.
    pub registers: u8,
    /// Of a jump or of memory.
    pub offset: i16,
    /// An operand.
    pub number: i32,
}

/// The part of `union bpf_attr` for BPF_PROG_LOAD that has been there since Linux 4.15.
#[repr(C)]
#[derive(Default)]
struct BpfLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
}

/// The part for BPF_PROG_ATTACH.
#[repr(C)]
struct BpfAttach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// `bpf(2)`, BPF_PROG_LOAD of a program that judges the opening of devices in a cgroup. Linux 4.15.
///
/// # Errors
/// The errno of the call.
pub fn load_device_program(instructions: &[Instruction]) -> Result<OwnedFd, Errno> {
    const PROG_LOAD: nix::libc::c_int = 5;
    const CGROUP_DEVICE: u32 = 15;
    let load = BpfLoad {
        kind: CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..BpfLoad::default()
    };
    // SAFETY: instructions and licence live across the call, their number and the size of load are
    // passed; the new descriptor is ours.
    unsafe {
        let fd = nix::libc::syscall(
            nix::libc::SYS_bpf,
            PROG_LOAD,
            &raw const load,
            size_of::<BpfLoad>(),
        );
        Ok(OwnedFd::from_raw_fd(Errno::result(fd)? as RawFd))
    }
}

/// The same, BPF_PROG_ATTACH to a cgroup's directory, beside what others attach. It goes with the
/// cgroup.
///
/// # Errors
/// The errno of the call.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<(), Errno> {
    const PROG_ATTACH: nix::libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let attach = BpfAttach {
        target: cgroup.as_fd().as_raw_fd().cast_unsigned(),
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: attach lives across the call and its size is passed.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attach,
            size_of::<BpfAttach>(),
        )
    };
    Errno::result(rc).map(drop)
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

/// `seccomp(2)`, SECCOMP_GET_ACTION_AVAIL: can the kernel refuse a call with an errno?
///
/// # Errors
/// ENOSYS or EINVAL if it cannot filter calls.
pub fn can_filter_calls() -> Result<(), Errno> {
    const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
    let action = SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one u32.
    let rc = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_seccomp,
            nix::libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    Errno::result(rc).map(drop)
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

/// Device and inode of the file behind a loop device (`loop(4)`, LOOP_GET_STATUS64). The
/// path in /sys is one of whoever attached it, perhaps in another mount namespace.
///
/// # Errors
/// ENXIO if nothing is attached, and others of the call.
pub fn loop_backing(device: impl AsFd) -> Result<(u64, u64), Errno> {
    const LOOP_GET_STATUS64: nix::libc::c_int = 0x4c05;
    // struct loop_info64 of include/uapi/linux/loop.h: 232 bytes, lo_device and lo_inode first.
    let mut info = [0u64; 29];
    // SAFETY: the ioctl fills one loop_info64.
    let rc = unsafe {
        nix::libc::ioctl(
            device.as_fd().as_raw_fd(),
            LOOP_GET_STATUS64 as _,
            info.as_mut_ptr(),
        )
    };
    Errno::result(rc).map(|_| (info[0], info[1]))
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

/// Takes over a descriptor that came in a message.
pub fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made it for us with SCM_RIGHTS; nobody else has the number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `clone(2)` as fork does, with further flags (CLONE_NEWUSER, CLONE_PARENT ...): the child's pid; none
/// in the child.
///
/// # Errors
/// The errno of the call.
pub fn clone_process(flags: i32) -> Result<Option<i32>, Errno> {
    let flags = flags | nix::libc::SIGCHLD;
    // SAFETY: no memory is shared, so the child is a copy of us as after fork; our tools have one
    // thread when they do this. All other arguments are null, in whatever order they come.
    let pid = Errno::result(unsafe {
        nix::libc::syscall(
            nix::libc::SYS_clone,
            nix::libc::c_ulong::from(flags.cast_unsigned()),
            0usize,
            0usize,
            0usize,
            0usize,
        )
    })?;
    Ok((pid != 0).then_some(pid as i32))
}

/// The user namespace that owns a namespace (`ioctl_ns(2)`, NS_GET_USERNS).
///
/// # Errors
/// The errno of the call.
pub fn owning_userns(namespace: impl AsFd) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: nix::libc::c_ulong = 0xb701;
    // SAFETY: the ioctl takes no argument and returns a new descriptor, which we own.
    unsafe {
        let fd = Errno::result(nix::libc::ioctl(
            namespace.as_fd().as_raw_fd(),
            NS_GET_USERNS as _,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The calling thread makes files as `id` (`setfsuid(2)`, `setfsgid(2)`) and keeps its capabilities
/// (SECBIT_NO_SETUID_FIXUP). For a thread that ends: nothing here is taken back.
///
/// # Errors
/// EPERM if it did not come true.
pub fn make_files_as(id: u32) -> Result<(), Errno> {
    const NO_SETUID_FIXUP: nix::libc::c_ulong = 1 << 2;
    // SAFETY: plain integers. These two calls never fail by themselves: asked again with an id that is
    // none, they tell what is set.
    unsafe {
        Errno::result(nix::libc::prctl(
            nix::libc::PR_SET_SECUREBITS,
            NO_SETUID_FIXUP,
            0,
            0,
            0,
        ))?;
        nix::libc::setfsgid(id);
        nix::libc::setfsuid(id);
        let now = (
            nix::libc::setfsgid(u32::MAX).cast_unsigned(),
            nix::libc::setfsuid(u32::MAX).cast_unsigned(),
        );
        match now == (id, id) {
            true => Ok(()),
            false => Err(Errno::EPERM),
        }
    }
}
