//! Parses RTM_NEWLINK messages of the kernel into links.
//!
//! A link has some fifty attributes, and this file parses the seven that we use. The crate rtnetlink would
//! parse all of them, with the statistics of each protocol, which takes longer than the kernel takes to send
//! them.

use rtnetlink::packet_core::NlasIterator;

/// The attributes of a link that we use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The interface index in its network namespace.
    pub index: u32,
    /// The interface name.
    pub name: String,
    /// The kind, as `veth` or `bridge`; empty for a hardware device.
    pub kind: String,
    /// The alias (`ip link set alias`).
    pub alias: String,
    /// The interface index of a veth's peer, in the peer's network namespace.
    pub peer: Option<u32>,
    /// The id of the peer's network namespace in the link's own one; none if both ends are in the same.
    pub peer_netns: Option<i32>,
    /// The interface index of the bridge that the link is a port of.
    pub master: Option<u32>,
    /// The administrative state: IFF_UP is set.
    pub up: bool,
    /// The bytes received and sent; 0 without statistics.
    pub bytes: (u64, u64),
}

/// The size of `struct ifinfomsg` (include/uapi/linux/rtnetlink.h), and the offsets of index and flags in it,
/// in bytes.
const HEADER: usize = 16;
const INDEX: usize = 4;
const FLAGS: usize = 8;
const IFF_UP: u32 = 1;

// Attribute types, IFLA_* of include/uapi/linux/if_link.h.
const IFNAME: u16 = 3;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const IFALIAS: u16 = 20;
const STATS64: u16 = 23;
const LINK_NETNSID: u16 = 37;
/// The type of IFLA_INFO_KIND, an attribute nested in IFLA_LINKINFO.
const KIND: u16 = 1;

impl Link {
    /// Parses the payload of an RTM_NEWLINK message; none if it is malformed.
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
                MASTER => link.master = number(value),
                LINK_NETNSID => link.peer_netns = number(value).map(u32::cast_signed),
                STATS64 => link.bytes = (number64(value, 2)?, number64(value, 3)?),
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

/// Returns element `index` of an array of 64 bit numbers.
fn number64(bytes: &[u8], index: usize) -> Option<u64> {
    let eight = bytes.get(index * 8..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*eight))
}

/// Returns the text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}
