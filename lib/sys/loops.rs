//! Loop devices (`loop(4)`).

use crate::base::error::Errno;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// `LO_FLAGS_READ_ONLY`: the device cannot be written.
pub const LOOP_READ_ONLY: u32 = 1;

/// `LO_FLAGS_AUTOCLEAR`: the kernel detaches the file when the device is neither open nor mounted.
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

/// `struct loop_config` of include/uapi/linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// The part of a file that a loop device shows, and the flags of the device.
#[derive(Debug, Clone, Copy)]
pub struct LoopRange {
    /// The first byte.
    pub offset: u64,
    /// The length in bytes; 0 is the rest of the file.
    pub size: u64,
    /// [`LOOP_READ_ONLY`] and [`LOOP_AUTOCLEAR`].
    pub flags: u32,
}

/// Attaches `file` to a free loop device and sets range and flags at once (`LOOP_CONFIGURE`). Linux 5.8.
///
/// # Errors
/// EBUSY if the device has a file; the errno of the call.
pub fn configure_loop(device: RawFd, file: impl AsFd, range: LoopRange) -> Result<(), Errno> {
    const LOOP_CONFIGURE: nix::libc::c_ulong = 0x4c0a;
    let config = LoopConfig {
        fd: file.as_fd().as_raw_fd().cast_unsigned(),
        block_size: 0,
        info: LoopInfo {
            ids: [0; 3],
            offset: range.offset,
            size_limit: range.size,
            number: 0,
            encryption: [0; 2],
            flags: range.flags,
            names: [[0; 64]; 2],
            key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the ioctl reads one loop_config, which outlives the call.
    let rc = unsafe { nix::libc::ioctl(device, LOOP_CONFIGURE as _, &raw const config) };
    Errno::result(rc).map(drop)
}

/// Returns device and inode of the file behind a loop device (LOOP_GET_STATUS64). /sys has only the path,
/// which may be of another mount namespace.
///
/// # Errors
/// ENXIO if no file is attached; the errno of the call.
pub fn loop_backing(device: impl AsFd) -> Result<(u64, u64), Errno> {
    const LOOP_GET_STATUS64: nix::libc::c_int = 0x4c05;
    // struct loop_info64 of include/uapi/linux/loop.h has 232 bytes and begins with lo_device and lo_inode.
    let mut info = [0u64; 29];
    // SAFETY: the ioctl writes one loop_info64.
    let rc = unsafe {
        nix::libc::ioctl(
            device.as_fd().as_raw_fd(),
            LOOP_GET_STATUS64 as _,
            info.as_mut_ptr(),
        )
    };
    Errno::result(rc).map(|_| (info[0], info[1]))
}
