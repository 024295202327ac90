//! Links of a network namespace, by the ioctls of `netdevice(7)`: any socket that is in it takes them, and they
//! cost a tenth of a message of rtnetlink's.

use crate::base::error::Errno;
use nix::libc::{self, IFNAMSIZ, c_ulong};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

// include/uapi/linux/sockios.h; the crate libc has them for Android alone.
const SIOCGIFCONF: c_ulong = 0x8912;
const SIOCSIFADDR: c_ulong = 0x8916;
const SIOCSIFNETMASK: c_ulong = 0x891c;

/// `struct ifreq`: a name, or an IPv4 address's label, and a union of 24 bytes.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Request {
    name: [u8; IFNAMSIZ],
    content: [u8; 24],
}

/// `struct ifconf`: the size of a buffer, bytes, and where it is.
#[repr(C)]
struct Buffer {
    size: libc::c_int,
    requests: *mut Request,
}

impl Request {
    fn for_link(name: &str) -> Result<Self, Errno> {
        let mut request = Self::default();
        // The last byte stays NUL.
        if name.len() >= IFNAMSIZ {
            return Err(Errno::EINVAL);
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    fn make(&mut self, socket: impl AsFd, request: c_ulong) -> Result<(), Errno> {
        // SAFETY: the kernel reads the name, which ends with a NUL, and writes no more than the struct.
        let rc = unsafe {
            let asked = std::ptr::from_mut(self);
            libc::ioctl(socket.as_fd().as_raw_fd(), request as _, asked)
        };
        Errno::result(rc).map(drop)
    }

    /// A `struct sockaddr_in`: family, port, address.
    fn holds(&mut self, address: Ipv4Addr) {
        self.content = [0; 24];
        self.content[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        self.content[4..8].copy_from_slice(&address.octets());
    }
}

/// The number of a link (SIOCGIFINDEX).
///
/// # Errors
/// ENODEV if there is none; EINVAL for what can be no name.
pub fn link_index(socket: impl AsFd, name: &str) -> Result<u32, Errno> {
    let mut link = Request::for_link(name)?;
    link.make(socket, libc::SIOCGIFINDEX)?;
    let [a, b, c, d, ..] = link.content;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// The hardware address of a link (SIOCGIFHWADDR).
///
/// # Errors
/// As [`link_index`].
pub fn link_address(socket: impl AsFd, name: &str) -> Result<[u8; 6], Errno> {
    let mut link = Request::for_link(name)?;
    link.make(socket, libc::SIOCGIFHWADDR)?;
    // A struct sockaddr: two bytes of a family come first.
    let [_, _, a, b, c, d, e, f, ..] = link.content;
    Ok([a, b, c, d, e, f])
}

/// Brings a link up (SIOCGIFFLAGS, SIOCSIFFLAGS).
///
/// # Errors
/// As [`link_index`]; the errno of the call.
pub fn link_up(socket: impl AsFd, name: &str) -> Result<(), Errno> {
    let mut link = Request::for_link(name)?;
    link.make(&socket, libc::SIOCGIFFLAGS)?;
    let [low, high, ..] = link.content;
    let flags = u16::from_ne_bytes([low, high]) | libc::IFF_UP as u16;
    link.content[..2].copy_from_slice(&flags.to_ne_bytes());
    link.make(&socket, libc::SIOCSIFFLAGS)
}

/// Gives a link another MTU, bytes (SIOCSIFMTU).
///
/// # Errors
/// As [`link_index`]; EINVAL where it cannot have this one.
pub fn set_mtu(socket: impl AsFd, name: &str, mtu: u32) -> Result<(), Errno> {
    let mut link = Request::for_link(name)?;
    link.content[..4].copy_from_slice(&mtu.to_ne_bytes());
    link.make(socket, libc::SIOCSIFMTU)
}

/// Gives a link an IPv4 address, instead of the first that it has (SIOCSIFADDR, SIOCSIFNETMASK; `socket` is of
/// AF_INET). The broadcast address follows from it.
///
/// # Errors
/// As [`link_index`]; EINVAL for an address of no class; the errno of the call.
pub fn set_ipv4(
    socket: impl AsFd,
    name: &str,
    address: Ipv4Addr,
    mask: Ipv4Addr,
) -> Result<(), Errno> {
    let mut link = Request::for_link(name)?;
    link.holds(address);
    link.make(&socket, SIOCSIFADDR)?;
    link.holds(mask);
    link.make(&socket, SIOCSIFNETMASK)
}

/// Takes up to 64 IPv4 addresses away, of whatever links (SIOCGIFCONF, SIOCSIFADDR; `socket` is of AF_INET). Gives how
/// many there were.
///
/// # Errors
/// The errno of the call.
pub fn drop_ipv4(socket: impl AsFd) -> Result<usize, Errno> {
    let mut found = [Request::default(); 64];
    let mut buffer = Buffer {
        size: size_of_val(&found) as libc::c_int,
        requests: found.as_mut_ptr(),
    };
    // SAFETY: the kernel writes at most `size` bytes to `requests`, which has as many, and then how many it wrote.
    let rc = unsafe {
        let asked = &raw mut buffer;
        libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGIFCONF as _, asked)
    };
    Errno::result(rc)?;
    let count = buffer.size.unsigned_abs() as usize / size_of::<Request>();
    for request in found.iter_mut().take(count) {
        request.holds(Ipv4Addr::UNSPECIFIED);
        request.make(&socket, SIOCSIFADDR)?;
    }
    Ok(count)
}
