//! The rtnetlink requests that the tools make (`rtnetlink(7)`), one method each, on sockets in the network
//! namespaces of the host and of subhosts. The crate rtnetlink builds the messages.

use super::link::Link;
use super::named;
use super::socket::Socket;
use crate::base::error::{Doing, Errno, Result};
use crate::config::{Cable, Cidr};
use crate::plan::steps::cable::host_mac;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{
    InfoData, InfoVeth, LinkAttribute, LinkExtentMask, LinkMessage,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth,
    RouteMessageBuilder,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

type ErrnoResult<T> = std::result::Result<T, Errno>;

/// The flags of a request that creates an object: it fails with EEXIST if the object exists.
const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// The number of times that an interrupted dump is repeated.
const DUMP_RETRIES: usize = 20;

/// Whether links are requested with their statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// [`Link::bytes`] is filled in.
    Included,
    /// [`Link::bytes`] is 0, and the answer is shorter (IFLA_EXT_MASK with RTEXT_FILTER_SKIP_STATS).
    Skipped,
}

/// Netlink sockets in the network namespaces of the host and of subhosts.
#[derive(Default)]
pub struct Netlink {
    host: Option<Rc<Socket>>,
    inner: BTreeMap<String, Rc<Socket>>,
}

impl Netlink {
    /// Returns the socket in our own network namespace.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub fn host(&mut self) -> Result<Rc<Socket>> {
        if let Some(socket) = &self.host {
            return Ok(socket.clone());
        }
        let socket = Rc::new(Socket::open().doing(|| "open a netlink socket")?);
        self.host = Some(socket.clone());
        Ok(socket)
    }

    /// Returns the socket in the named network namespace `name`; `namespace` is its file.
    ///
    /// # Errors
    /// The socket cannot be opened there.
    pub fn inner(&mut self, name: &str, namespace: &OwnedFd) -> Result<Rc<Socket>> {
        if let Some(socket) = self.inner.get(name) {
            return Ok(socket.clone());
        }
        let socket = named::run_in(namespace, Socket::open)
            .doing(|| format!("open a netlink socket in the namespace {name}"))?;
        let socket = Rc::new(socket);
        self.inner.insert(name.to_owned(), socket.clone());
        Ok(socket)
    }

    /// Closes the socket in `name`, because an open socket keeps a network namespace alive.
    pub fn close(&mut self, name: &str) {
        self.inner.remove(name);
    }

    /// Returns the link `name`, without statistics; none if there is no such link.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn link(&self, socket: &Socket, name: &str) -> ErrnoResult<Option<Link>> {
        let name = LinkAttribute::IfName(name.to_owned());
        get_link(socket, LinkMessage::default(), Some(name))
    }

    /// Returns the link with an interface index, without statistics; none if there is no such link.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn link_at(&self, socket: &Socket, index: u32) -> ErrnoResult<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        get_link(socket, message, None)
    }

    /// Returns all links.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn links(&self, socket: &Socket, statistics: Statistics) -> ErrnoResult<Vec<Link>> {
        repeat_dump(|all: &mut Vec<Link>| {
            let mut message = LinkMessage::default();
            if statistics == Statistics::Skipped {
                message.attributes.push(skip_statistics());
            }
            let request = RouteNetlinkMessage::GetLink(message);
            socket.dump(request, |_, message| all.extend(Link::parse(message)))
        })
    }

    /// Returns the id by which the socket's network namespace knows another one (RTM_GETNSID); none if it has
    /// no id.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn netns_id(&self, socket: &Socket, namespace: BorrowedFd<'_>) -> ErrnoResult<Option<i32>> {
        let mut request = NsidMessage::default();
        let fd = namespace.as_raw_fd().cast_unsigned();
        request.attributes.push(NsidAttribute::Fd(fd));
        let mut id = None;
        socket.get(RouteNetlinkMessage::GetNsId(request), |kind, message| {
            if let Some(RouteNetlinkMessage::NewNsId(answer)) = parse(kind, message) {
                id = answer
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                        _ => None,
                    });
            }
        })?;
        Ok(id)
    }

    /// Makes a bridge.
    ///
    /// # Errors
    /// The errno of the request, EOPNOTSUPP if the kernel has no bridges.
    pub fn add_bridge(&self, socket: &Socket, name: &str) -> ErrnoResult<()> {
        let message = LinkBridge::new(name).build();
        socket.change(RouteNetlinkMessage::NewLink(message), CREATE)
    }

    /// Makes a veth pair with both ends in the socket's network namespace.
    ///
    /// # Errors
    /// The errno of the request, EOPNOTSUPP if the kernel has no veth.
    pub fn add_pair(&self, socket: &Socket, names: (&str, &str)) -> ErrnoResult<()> {
        let message = LinkVeth::new(names.0, names.1).build();
        socket.change(RouteNetlinkMessage::NewLink(message), CREATE)
    }

    /// Makes both ends of a cable by one message, with names, MACs, MTU, the bridge of the host end and the
    /// network namespace of the inner end. Both ends are down.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn add_cable(
        &self,
        socket: &Socket,
        cable: &Cable,
        bridge: Option<u32>,
        namespace: BorrowedFd<'_>,
    ) -> ErrnoResult<()> {
        let mut peer = LinkMessageBuilder::<LinkUnspec>::default()
            .name(cable.inner.clone())
            .address(cable.mac.0.to_vec())
            .setns_by_fd(namespace.as_raw_fd());
        let mut host = LinkMessageBuilder::<LinkVeth>::new(&cable.host, &cable.inner)
            .address(host_mac(cable.mac).0.to_vec());
        if let Some(mtu) = cable.mtu {
            peer = peer.mtu(mtu);
            host = host.mtu(mtu);
        }
        if let Some(bridge) = bridge {
            host = host.controller(bridge);
        }
        let message = host
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .build();
        socket.change(RouteNetlinkMessage::NewLink(message), CREATE)
    }

    /// Sets the alias of a link and brings it up. The kernel ignores an alias in the message that creates a
    /// link.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn set_alias_and_up(&self, socket: &Socket, name: &str, alias: &str) -> ErrnoResult<()> {
        let link = LinkUnspec::new_with_name(name).alias(alias);
        set_link(socket, link.up().build())
    }

    /// Sets a link down.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn set_down(&self, socket: &Socket, index: u32) -> ErrnoResult<()> {
        set_link(socket, LinkUnspec::new_with_index(index).down().build())
    }

    /// Renames a link.
    ///
    /// # Errors
    /// The errno of the request, EBUSY before Linux 6.2 if the link is up.
    pub fn rename(&self, socket: &Socket, index: u32, name: &str) -> ErrnoResult<()> {
        set_link(socket, LinkUnspec::new_with_index(index).name(name).build())
    }

    /// Makes a link a port of the bridge `master`, by interface indexes.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn set_master(&self, socket: &Socket, index: u32, master: u32) -> ErrnoResult<()> {
        let link = LinkUnspec::new_with_index(index).controller(master);
        set_link(socket, link.build())
    }

    /// Deletes a link, and the peer of a veth with it. It returns when the kernel has destroyed both.
    ///
    /// # Errors
    /// The errno of the request, ENODEV if there is no such link.
    pub fn delete(&self, socket: &Socket, index: u32) -> ErrnoResult<()> {
        let message = LinkUnspec::new_with_index(index).build();
        socket.change(RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Adds an address to a link, unless the link has it. Duplicate address detection is off (IFA_F_NODAD),
    /// so that a service can bind to the address at once.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn add_address(&self, socket: &Socket, index: u32, cidr: Cidr) -> ErrnoResult<()> {
        let mut message = match cidr.address {
            IpAddr::V4(address) => AddressMessageBuilder::<Ipv4Addr>::new()
                .address(address, cidr.prefix)
                .index(index)
                .build(),
            IpAddr::V6(address) => AddressMessageBuilder::<Ipv6Addr>::new()
                .address(address, cidr.prefix)
                .index(index)
                .build(),
        };
        if cidr.address.is_ipv6() {
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(flags);
        }
        match socket.change(RouteNetlinkMessage::NewAddress(message), CREATE) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Adds a route, unless it exists. The default route has no destination `to`.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn add_route(&self, socket: &Socket, to: Option<Cidr>, gateway: IpAddr) -> ErrnoResult<()> {
        let message = match gateway {
            IpAddr::V4(gateway) => {
                let mut route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway);
                if let Some(Cidr {
                    address: IpAddr::V4(net),
                    prefix,
                }) = to
                {
                    route = route.destination_prefix(net, prefix);
                }
                route.build()
            }
            IpAddr::V6(gateway) => {
                let mut route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway);
                if let Some(Cidr {
                    address: IpAddr::V6(net),
                    prefix,
                }) = to
                {
                    route = route.destination_prefix(net, prefix);
                }
                route.build()
            }
        };
        match socket.change(RouteNetlinkMessage::NewRoute(message), CREATE) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Returns the routes that have a gateway: destination, prefix length and gateway.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn routes(&self, socket: &Socket) -> ErrnoResult<Vec<Route>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            found.extend(repeat_dump(|all: &mut Vec<_>| {
                let mut request = RouteMessage::default();
                request.header.address_family = family;
                socket.dump(RouteNetlinkMessage::GetRoute(request), |kind, message| {
                    if let Some(RouteNetlinkMessage::NewRoute(message)) = parse(kind, message) {
                        all.extend(parse_route(&message));
                    }
                })
            })?);
        }
        Ok(found)
    }
}

/// A route: destination, none for the default route; prefix length; gateway.
pub type Route = (Option<IpAddr>, u8, IpAddr);

/// Requests one link. No caller needs its statistics.
fn get_link(
    socket: &Socket,
    mut message: LinkMessage,
    name: Option<LinkAttribute>,
) -> ErrnoResult<Option<Link>> {
    message.attributes.extend(name);
    message.attributes.push(skip_statistics());
    let mut found = None;
    let answer = socket.get(RouteNetlinkMessage::GetLink(message), |_, message| {
        found = Some(Link::parse(message));
    });
    match (answer, found) {
        (Err(Errno::ENODEV), _) => Ok(None),
        (Err(errno), _) => Err(errno),
        (Ok(()), Some(Some(link))) => Ok(Some(link)),
        (Ok(()), _) => Err(Errno::EBADMSG),
    }
}

/// Returns the attribute that omits statistics, the largest part of an answer.
fn skip_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

/// Changes an existing link.
fn set_link(socket: &Socket, message: LinkMessage) -> ErrnoResult<()> {
    socket.change(RouteNetlinkMessage::SetLink(message), 0)
}

/// Repeats a dump until no object has changed meanwhile.
fn repeat_dump<T>(mut dump: impl FnMut(&mut Vec<T>) -> ErrnoResult<()>) -> ErrnoResult<Vec<T>> {
    let mut retries = 0;
    loop {
        let mut found = Vec::new();
        match dump(&mut found) {
            Ok(()) => return Ok(found),
            Err(Errno::EINTR) if retries < DUMP_RETRIES => retries += 1,
            Err(errno) => return Err(errno),
        }
    }
}

/// Parses a message of any type but RTM_NEWLINK, for which [`Link::parse`] is faster.
fn parse(kind: u16, message: &[u8]) -> Option<RouteNetlinkMessage> {
    use rtnetlink::packet_core::ParseableParametrized;
    RouteNetlinkMessage::parse_with_param(message, kind).ok()
}

fn parse_route(message: &RouteMessage) -> Option<Route> {
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    };
    let (mut to, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(a) => to = address(a),
            RouteAttribute::Gateway(a) => gateway = address(a),
            _ => {}
        }
    }
    Some((to, message.header.destination_prefix_length, gateway?))
}
