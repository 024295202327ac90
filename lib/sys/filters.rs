//! Seccomp filters, and device programs of cgroups.

use crate::base::error::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Installs a filter for this thread and all that it starts (`seccomp(2)`, SECCOMP_SET_MODE_FILTER). It
/// does not set no_new_privs.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and no_new_privs; EINVAL without CONFIG_SECCOMP_FILTER.
pub fn filter_calls(program: &[nix::libc::sock_filter]) -> Result<(), Errno> {
    let fprog = nix::libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions, which outlive the call.
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

/// `struct bpf_insn` of include/uapi/linux/bpf.h: one instruction of an eBPF program.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u8,
    /// The destination register in the lower four bits, the source register in the upper four.
    pub registers: u8,
    /// The offset of a jump or a memory access.
    pub offset: i16,
    /// The immediate operand.
    pub number: i32,
}

/// The part of `union bpf_attr` for BPF_PROG_LOAD that exists since Linux 4.15.
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

/// The part of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct BpfAttach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program that decides which devices a cgroup may open (`bpf(2)`, BPF_PROG_LOAD). Linux 4.15.
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
    // SAFETY: instructions and licence outlive the call, which gets their number and the size of load. We own
    // the new descriptor.
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

/// Attaches a device program to the directory of a cgroup, besides the programs of others (`bpf(2)`,
/// BPF_PROG_ATTACH). It is detached when the cgroup is removed.
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
    // SAFETY: attach outlives the call, which gets its size.
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

/// Checks that the kernel can fail a system call with an errno (`seccomp(2)`, SECCOMP_GET_ACTION_AVAIL).
///
/// # Errors
/// ENOSYS, EINVAL or EOPNOTSUPP if it cannot.
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
