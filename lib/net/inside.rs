//! What is asked of a subhost's namespace, and done in it, without rtnetlink: the kernel lets go of a netlink
//! socket, and with it of its namespace, only a grace period after it was closed. A stop right after a start would
//! find the namespace alive, and look through all processes for who is in it.

use super::netns;
use crate::config::Cidr;
use crate::error::{Errno, IntoErrno};
use crate::sys;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

/// How often addresses are looked for, 64 at a time, before that is given up.
const ROUNDS: usize = 64;

/// A socket in a namespace, which it keeps for as long as it is open.
#[derive(Debug)]
pub(super) struct Inside(OwnedFd);

impl Inside {
    /// In this namespace.
    ///
    /// # Errors
    /// It cannot be joined.
    pub(super) fn of(namespace: &OwnedFd) -> Result<Self, Errno> {
        netns::within(namespace, plain).map(Self)
    }

    /// The cookie of the namespace, which no other gets again; 0 before Linux 5.14.
    pub(super) fn cookie(&self) -> u64 {
        sys::netns_cookie(&self.0).unwrap_or(0)
    }

    /// Brings a link up.
    ///
    /// # Errors
    /// The failed call.
    pub(super) fn up(&self, link: &str) -> Result<(), Errno> {
        sys::link_up(&self.0, link)
    }

    /// Gives a link that has no address yet its first one, if that can be said without rtnetlink: an IPv4 address of
    /// a class, and with a broadcast address. False if it can not.
    ///
    /// # Errors
    /// The failed call.
    pub(super) fn first_address(&self, link: &str, cidr: Cidr) -> Result<bool, Errno> {
        let IpAddr::V4(address) = cidr.address else {
            return Ok(false);
        };
        let has_class = matches!(address.octets(), [1..=126 | 128..=223, ..]);
        if !has_class || !matches!(cidr.prefix, 1..=30) {
            return Ok(false);
        }
        let mask = Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(cidr.prefix)));
        sys::set_ipv4(&self.0, link, address, mask).map(|()| true)
    }
}

fn plain() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Inet, SockType::Datagram, flags, None)
}

/// Takes all addresses from a namespace: nothing answers in it any more. To take its links down has a bridge look at
/// all of its ports, for a millisecond with a thousand of them.
///
/// # Errors
/// Some may be left.
pub(super) fn silence(namespace: &OwnedFd) -> Result<(), Errno> {
    netns::within(namespace, || {
        match std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1") {
            // The kernel has no IPv6.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(IntoErrno::into_errno)?,
        }
        let socket = plain()?;
        for _ in 0..ROUNDS {
            if sys::drop_ipv4(&socket, "lo")? == 0 {
                return Ok(());
            }
        }
        Err(Errno::E2BIG)
    })
}
