//! Filters of system calls, and device rules of cgroups.

use crate::base::error::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `seccomp(2)`, SECCOMP_SET_MODE_FILTER, for us and all that we start; sets no no_new_privs.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and no_new_privs; EINVAL without CONFIG_SECCOMP_FILTER.
pub fn filter_calls(program: &[nix::libc::sock_filter]) -> Result<(), Errno> {
    let fprog = nix::libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions, which live across the call.
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
