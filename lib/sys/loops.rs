//! Loop devices.

use crate::base::error::Errno;
use std::os::fd::{AsFd, AsRawFd, RawFd};

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
