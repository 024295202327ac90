//! Network interfaces, by the ioctls of `netdevice(7)`. Any socket of the network namespace takes them, and
//! they take a tenth of the time of a message of rtnetlink(7).

use crate::base::error::Errno;
use nix::libc::{self, IFNAMSIZ, c_ulong};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

// From include/uapi/linux/sockios.h; the crate libc has them for Android only.
const SIOCGIFCONF: c_ulong = 0x8912;
const SIOCSIFADDR: c_ulong = 0x8916;
const SIOCSIFNETMASK: c_ulong = 0x891c;

/// `struct ifreq`: the name of an interface, or the label of an IPv4 address, and a union of 24 bytes.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Request {
    name: [u8; IFNAMSIZ],
    content: [u8; 24],
}

/// `struct ifconf`: the size of a buffer in bytes, and its address.
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

    fn send(&mut self, socket: impl AsFd, request: c_ulong) -> Result<(), Errno> {
        // SAFETY: the kernel reads the name, which ends with a NUL, and writes at most the struct.
        let rc = unsafe {
            let asked = std::ptr::from_mut(self);
            libc::ioctl(socket.as_fd().as_raw_fd(), request as _, asked)
        };
        Errno::result(rc).map(drop)
    }

    /// Sets the union to a `struct sockaddr_in`: family, port, address.
    fn set_address(&mut self, address: Ipv4Addr) {
        self.content = [0; 24];
        self.content[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        self.content[4..8].copy_from_slice(&address.octets());
    }
}

/// Returns the index of an interface (SIOCGIFINDEX).
///
/// # Errors
/// ENODEV if there is none; EINVAL if the name is too long.
pub fn link_index(socket: impl AsFd, name: &str) -> Result<u32, Errno> {
    let mut link = Request::for_link(name)?;
    link.send(socket, libc::SIOCGIFINDEX)?;
    let [a, b, c, d, ..] = link.content;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// Returns the hardware address of an interface (SIOCGIFHWADDR).
///
/// # Errors
/// See [`link_index`].
pub fn link_address(socket: impl AsFd, name: &str) -> Result<[u8; 6], Errno> {
    let mut link = Request::for_link(name)?;
    link.send(socket, libc::SIOCGIFHWADDR)?;
    // The result is a struct sockaddr, which begins with two bytes of the family.
    let [_, _, a, b, c, d, e, f, ..] = link.content;
    Ok([a, b, c, d, e, f])
}

/// Sets an interface up (SIOCGIFFLAGS, SIOCSIFFLAGS).
///
/// # Errors
/// See [`link_index`]; the errno of the call.
pub fn set_link_up(socket: impl AsFd, name: &str) -> Result<(), Errno> {
    let mut link = Request::for_link(name)?;
    link.send(&socket, libc::SIOCGIFFLAGS)?;
    let [low, high, ..] = link.content;
    let flags = u16::from_ne_bytes([low, high]) | libc::IFF_UP as u16;
    link.content[..2].copy_from_slice(&flags.to_ne_bytes());
    link.send(&socket, libc::SIOCSIFFLAGS)
}

/// Sets the MTU of an interface, in bytes (SIOCSIFMTU).
///
/// # Errors
/// See [`link_index`]; EINVAL if the interface does not support this MTU.
pub fn set_mtu(socket: impl AsFd, name: &str, mtu: u32) -> Result<(), Errno> {
    let mut link = Request::for_link(name)?;
    link.content[..4].copy_from_slice(&mtu.to_ne_bytes());
    link.send(socket, libc::SIOCSIFMTU)
}

/// Sets the first IPv4 address of an interface (SIOCSIFADDR, SIOCSIFNETMASK). The kernel derives the
/// broadcast address from it. `socket` is of AF_INET.
///
/// # Errors
/// See [`link_index`]; EINVAL for an address that is in no class; the errno of the call.
pub fn set_ipv4(
    socket: impl AsFd,
    name: &str,
    address: Ipv4Addr,
    mask: Ipv4Addr,
) -> Result<(), Errno> {
    let mut link = Request::for_link(name)?;
    link.set_address(address);
    link.send(&socket, SIOCSIFADDR)?;
    link.set_address(mask);
    link.send(&socket, SIOCSIFNETMASK)
}

/// Removes up to 64 IPv4 addresses, of any interfaces (SIOCGIFCONF, SIOCSIFADDR), and returns their number.
/// `socket` is of AF_INET.
///
/// # Errors
/// The errno of the call.
pub fn drop_ipv4(socket: impl AsFd) -> Result<usize, Errno> {
    let mut found = [Request::default(); 64];
    let mut buffer = Buffer {
        size: size_of_val(&found) as libc::c_int,
        requests: found.as_mut_ptr(),
    };
    // SAFETY: the kernel writes at most `size` bytes to `requests`, which has that size, and then sets
    // `size`.
    let rc = unsafe {
        let asked = &raw mut buffer;
        libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGIFCONF as _, asked)
    };
    Errno::result(rc)?;
    let count = buffer.size.unsigned_abs() as usize / size_of::<Request>();
    for request in found.iter_mut().take(count) {
        request.set_address(Ipv4Addr::UNSPECIFIED);
        request.send(&socket, SIOCSIFADDR)?;
    }
    Ok(count)
}
