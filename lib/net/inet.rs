//! Requests to a subhost's network namespace by ioctl (`netdevice(7)`) instead of rtnetlink. The kernel frees
//! a closed netlink socket, and with it the reference to its namespace, only after an RCU grace period. A
//! stop right after a start would then find the namespace alive, and search all processes for one in it.

use super::named;
use crate::base::error::{Errno, IntoErrno};
use crate::config::Cidr;
use crate::sys;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

/// The number of rounds after which [`drop_addresses`] gives up; a round removes up to 64 addresses.
const ROUNDS: usize = 64;
/// The smallest MTU of a veth, in bytes (ETH_MIN_MTU of include/uapi/linux/if_ether.h).
const MIN_MTU: u32 = 68;

/// A datagram socket in a network namespace. It keeps the namespace alive while it is open.
#[derive(Debug)]
pub(super) struct InetSocket(OwnedFd);

impl InetSocket {
    /// Opens a socket in the namespace.
    ///
    /// # Errors
    /// The errno of setns(2) or socket(2).
    pub(super) fn open(namespace: &OwnedFd) -> Result<Self, Errno> {
        named::run_in(namespace, open_socket).map(Self)
    }

    /// Returns the cookie of the namespace, which the kernel never reuses; 0 before Linux 5.14.
    pub(super) fn cookie(&self) -> u64 {
        sys::netns_cookie(&self.0).unwrap_or(0)
    }

    /// Brings a link up.
    ///
    /// # Errors
    /// The errno of the ioctl.
    pub(super) fn set_up(&self, link: &str) -> Result<(), Errno> {
        sys::set_link_up(&self.0, link)
    }

    /// Sets the first address of a link, and returns true, if the ioctl can express it. It can express an
    /// IPv4 address of class A, B or C whose prefix leaves room for a broadcast address. Otherwise it returns
    /// false.
    ///
    /// # Errors
    /// The errno of the ioctl.
    pub(super) fn set_first_address(&self, link: &str, cidr: Cidr) -> Result<bool, Errno> {
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

fn open_socket() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Inet, SockType::Datagram, flags, None)
}

/// Removes all addresses of a network namespace, so that it no longer answers. Setting its links down would
/// do the same, but makes the bridge scan all its ports, which takes a millisecond with a thousand of them.
///
/// # Errors
/// The errno of the failed call; then some addresses may be left.
pub(super) fn drop_addresses(namespace: &OwnedFd) -> Result<(), Errno> {
    named::run_in(namespace, || {
        let socket = open_socket()?;
        for link in links_with_ipv6()? {
            // Below 1280 bytes the kernel removes IPv6 from the link (net/ipv6/addrconf.c). A write to
            // disable_ipv6 does so as well, but it spins, instead of sleeping, while the kernel holds the
            // RTNL lock.
            sys::set_mtu(&socket, &link, MIN_MTU)?;
        }
        // This includes the addresses of `lo`, which answer on all links.
        for _ in 0..ROUNDS {
            if sys::drop_ipv4(&socket)? == 0 {
                return Ok(());
            }
        }
        Err(Errno::E2BIG)
    })
}

/// Returns the links of the calling thread's network namespace that have IPv6 addresses, without `lo`.
fn links_with_ipv6() -> Result<BTreeSet<String>, Errno> {
    let text = match std::fs::read_to_string("/proc/thread-self/net/if_inet6") {
        // The file is missing in a kernel without IPv6.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.map_err(IntoErrno::into_errno)?,
    };
    let names = text
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().last());
    Ok(names
        .filter(|name| *name != "lo")
        .map(str::to_owned)
        .collect())
}
