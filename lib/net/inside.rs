//! What is asked of a subhost's namespace, and done in it, without rtnetlink: the kernel lets go of a netlink
//! socket, and with it of its namespace, only a grace period after it was closed. A stop right after a start would
//! find the namespace alive, and look through all processes for who is in it.

use super::named;
use crate::base::error::{Errno, IntoErrno};
use crate::config::Cidr;
use crate::sys;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

/// How often addresses are looked for, 64 at a time, before that is given up.
const ROUNDS: usize = 64;
/// The least that a veth can have, bytes (ETH_MIN_MTU of include/uapi/linux/if_ether.h).
const LEAST_MTU: u32 = 68;

/// A socket in a namespace, which it keeps for as long as it is open.
#[derive(Debug)]
pub(super) struct Inside(OwnedFd);

impl Inside {
    /// In this namespace.
    ///
    /// # Errors
    /// It cannot be joined.
    pub(super) fn open(namespace: &OwnedFd) -> Result<Self, Errno> {
        named::run_in(namespace, plain).map(Self)
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
        sys::set_link_up(&self.0, link)
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
    named::run_in(namespace, || {
        let socket = plain()?;
        for link in with_ipv6()? {
            // Too small for it: there is none any more (net/ipv6/addrconf.c). To disable it is said in a file, and who
            // writes to that does not sleep while the kernel is busy with links, but spins.
            sys::set_mtu(&socket, &link, LEAST_MTU)?;
        }
        // Those of `lo` answer on all links.
        for _ in 0..ROUNDS {
            if sys::drop_ipv4(&socket)? == 0 {
                return Ok(());
            }
        }
        Err(Errno::E2BIG)
    })
}

/// The links of the calling thread's namespace that have IPv6 addresses, without `lo`.
fn with_ipv6() -> Result<BTreeSet<String>, Errno> {
    let text = match std::fs::read_to_string("/proc/thread-self/net/if_inet6") {
        // The kernel has no IPv6.
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
