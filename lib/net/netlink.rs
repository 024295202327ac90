//! The requests that we make of rtnetlink (`rtnetlink(7)`): one short method each, on sockets to the
//! host's namespace and to those of subhosts. Messages are built by the crate rtnetlink.

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

type Answer<T> = std::result::Result<T, Errno>;

/// What makes something that must not be there yet.
const MAKE: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// How often a list is asked for again that changed while it was told.
const DUMPS: usize = 20;

/// Sockets to the host's namespace and to those of subhosts.
#[derive(Default)]
pub struct Netlink {
    host: Option<Rc<Socket>>,
    inner: BTreeMap<String, Rc<Socket>>,
}

impl Netlink {
    /// The socket to the namespace that we are in.
    pub fn host(&mut self) -> Result<Rc<Socket>> {
        if let Some(socket) = &self.host {
            return Ok(socket.clone());
        }
        let socket = Rc::new(Socket::open().doing(|| "open a netlink socket")?);
        self.host = Some(socket.clone());
        Ok(socket)
    }

    /// The socket to the named namespace `name`; `namespace` is its file.
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

    /// Forgets the socket to `name`: it would keep the namespace alive.
    pub fn close(&mut self, name: &str) {
        self.inner.remove(name);
    }

    /// The link `name`, without its bytes; none if there is none.
    pub fn link(&self, socket: &Socket, name: &str) -> Answer<Option<Link>> {
        let name = LinkAttribute::IfName(name.to_owned());
        one(socket, LinkMessage::default(), Some(name))
    }

    /// The link of a number, without its bytes; none if there is none.
    pub fn link_at(&self, socket: &Socket, index: u32) -> Answer<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        one(socket, message, None)
    }

    /// All links, with what went through them or without.
    pub fn links(&self, socket: &Socket, bytes: bool) -> Answer<Vec<Link>> {
        dump(|all: &mut Vec<Link>| {
            let mut message = LinkMessage::default();
            message.attributes.extend((!bytes).then(without_statistics));
            let ask = RouteNetlinkMessage::GetLink(message);
            socket.dump(ask, |_, message| all.extend(Link::parse(message)))
        })
    }

    /// The id by which the socket's namespace knows another one (RTM_GETNSID); none if it has given
    /// none.
    pub fn netns_id(&self, socket: &Socket, namespace: BorrowedFd<'_>) -> Answer<Option<i32>> {
        let mut ask = NsidMessage::default();
        let fd = namespace.as_raw_fd().cast_unsigned();
        ask.attributes.push(NsidAttribute::Fd(fd));
        let mut id = None;
        socket.get(RouteNetlinkMessage::GetNsId(ask), |kind, message| {
            if let Some(RouteNetlinkMessage::NewNsId(told)) = parsed(kind, message) {
                id = told
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

    /// A bridge, to see whether the kernel can.
    pub fn add_bridge(&self, socket: &Socket, name: &str) -> Answer<()> {
        let message = LinkBridge::new(name).build();
        socket.order(RouteNetlinkMessage::NewLink(message), MAKE)
    }

    /// A veth pair with both ends here, to see whether the kernel can.
    pub fn add_pair(&self, socket: &Socket, names: (&str, &str)) -> Answer<()> {
        let message = LinkVeth::new(names.0, names.1).build();
        socket.order(RouteNetlinkMessage::NewLink(message), MAKE)
    }

    /// Both ends of a cable, in one message: names, bridge, peer's namespace, MACs, MTU. Both are down.
    pub fn add_cable(
        &self,
        socket: &Socket,
        cable: &Cable,
        bridge: Option<u32>,
        namespace: BorrowedFd<'_>,
    ) -> Answer<()> {
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
        socket.order(RouteNetlinkMessage::NewLink(message), MAKE)
    }

    /// Marks a link, which the message that makes it cannot, and brings it up.
    pub fn mark_and_up(&self, socket: &Socket, name: &str, alias: &str) -> Answer<()> {
        let link = LinkUnspec::new_with_name(name).alias(alias);
        set(socket, link.up().build())
    }

    /// Takes a link down.
    pub fn down(&self, socket: &Socket, index: u32) -> Answer<()> {
        set(socket, LinkUnspec::new_with_index(index).down().build())
    }

    /// Gives a link another name.
    pub fn rename(&self, socket: &Socket, index: u32, name: &str) -> Answer<()> {
        set(socket, LinkUnspec::new_with_index(index).name(name).build())
    }

    /// Deletes a link, and with a veth its peer; waits for the kernel.
    pub fn delete(&self, socket: &Socket, index: u32) -> Answer<()> {
        let message = LinkUnspec::new_with_index(index).build();
        socket.order(RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Gives a link an address. No duplicate detection: a service must be able to bind to it at
    /// once, and the address is the administrator's choice.
    pub fn add_address(&self, socket: &Socket, index: u32, cidr: Cidr) -> Answer<()> {
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
        match socket.order(RouteNetlinkMessage::NewAddress(message), MAKE) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Adds a route; `to` none is the default route.
    pub fn add_route(&self, socket: &Socket, to: Option<Cidr>, gateway: IpAddr) -> Answer<()> {
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
        match socket.order(RouteNetlinkMessage::NewRoute(message), MAKE) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// The gateways of all routes, with the destination.
    pub fn routes(&self, socket: &Socket) -> Answer<Vec<(Option<IpAddr>, u8, IpAddr)>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            found.extend(dump(|all: &mut Vec<_>| {
                let mut ask = RouteMessage::default();
                ask.header.address_family = family;
                socket.dump(RouteNetlinkMessage::GetRoute(ask), |kind, message| {
                    if let Some(RouteNetlinkMessage::NewRoute(message)) = parsed(kind, message) {
                        all.extend(route(&message));
                    }
                })
            })?);
        }
        Ok(found)
    }
}

/// One link, without its statistics: nobody who asks for one wants them.
fn one(
    socket: &Socket,
    mut message: LinkMessage,
    name: Option<LinkAttribute>,
) -> Answer<Option<Link>> {
    message.attributes.extend(name);
    message.attributes.push(without_statistics());
    let mut found = None;
    let told = socket.get(RouteNetlinkMessage::GetLink(message), |_, message| {
        found = Some(Link::parse(message));
    });
    match (told, found) {
        (Err(Errno::ENODEV), _) => Ok(None),
        (Err(errno), _) => Err(errno),
        (Ok(()), Some(Some(link))) => Ok(Some(link)),
        (Ok(()), _) => Err(Errno::EBADMSG),
    }
}

/// Most of what the kernel tells of a link.
fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

/// Changes a link that is there.
fn set(socket: &Socket, message: LinkMessage) -> Answer<()> {
    socket.order(RouteNetlinkMessage::SetLink(message), 0)
}

/// A list, as it is at one moment.
fn dump<T>(mut all: impl FnMut(&mut Vec<T>) -> Answer<()>) -> Answer<Vec<T>> {
    let mut tries = 0;
    loop {
        let mut found = Vec::new();
        match all(&mut found) {
            Ok(()) => return Ok(found),
            Err(Errno::EINTR) if tries < DUMPS => tries += 1,
            Err(errno) => return Err(errno),
        }
    }
}

/// A message of any other kind than links.
fn parsed(kind: u16, message: &[u8]) -> Option<RouteNetlinkMessage> {
    use rtnetlink::packet_core::ParseableParametrized;
    RouteNetlinkMessage::parse_with_param(message, kind).ok()
}

fn route(message: &RouteMessage) -> Option<(Option<IpAddr>, u8, IpAddr)> {
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
