//! A link as we look at it, read from the kernel's message about it.
//!
//! Of the fifty attributes that a link has we know six, so only these are looked at: rtnetlink would
//! parse them all, statistics of every protocol too, which takes longer than the kernel needs to tell.

use rtnetlink::packet_core::NlasIterator;

/// A link as we look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `veth`, `bridge`, ...; empty for a device.
    pub kind: String,
    /// Its alias.
    pub alias: String,
    /// Number of a veth's peer in the peer's namespace.
    pub peer: Option<u32>,
    /// Id of the peer's namespace as the link's own numbers it; none if they are in one.
    pub peer_netns: Option<i32>,
    /// Is it up, as the administrator wants it?
    pub up: bool,
    /// Bytes received and sent; 0 if they were not asked for.
    pub bytes: (u64, u64),
}

/// `struct ifinfomsg` of include/uapi/linux/rtnetlink.h: its size, and where index and flags are.
const HEADER: usize = 16;
const INDEX: usize = 4;
const FLAGS: usize = 8;
const IFF_UP: u32 = 1;

// Attributes, of include/uapi/linux/if_link.h.
const IFNAME: u16 = 3;
const LINK: u16 = 5;
const LINKINFO: u16 = 18;
const IFALIAS: u16 = 20;
const STATS64: u16 = 23;
const LINK_NETNSID: u16 = 37;
/// Within IFLA_LINKINFO.
const KIND: u16 = 1;

impl Link {
    /// From the content of RTM_NEWLINK; none if that is damaged.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let (header, attributes) = message.split_at_checked(HEADER)?;
        let mut link = Self {
            index: number(&header[INDEX..])?,
            up: number(&header[FLAGS..])? & IFF_UP != 0,
            ..Self::default()
        };
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute.ok()?;
            let value = attribute.value();
            match attribute.kind() {
                IFNAME => link.name = text(value),
                IFALIAS => link.alias = text(value),
                LINK => link.peer = number(value),
                LINK_NETNSID => link.peer_netns = number(value).map(u32::cast_signed),
                STATS64 => link.bytes = (long(value, 2)?, long(value, 3)?),
                LINKINFO => {
                    for info in NlasIterator::new(value).flatten() {
                        if info.kind() == KIND {
                            link.kind = text(info.value());
                        }
                    }
                }
                _ => {}
            }
        }
        Some(link)
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

/// The `at`th of the 64 bit numbers.
fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at * 8..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*eight))
}

/// A text, which may end with a NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}
