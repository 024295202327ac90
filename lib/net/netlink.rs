//! rtnetlink's connections and the requests that we make: one short method each. The only file
//! that knows rtnetlink and its runtime, which has no thread of its own.

use crate::config::{Cable, Cidr, Mac};
use crate::error::{Doing, Errno, Error, IntoErrno, Result};
use futures_util::{StreamExt, TryStreamExt};
use nix::sys::socket::{AddressFamily as AddressFamilyOf, SockFlag, SockType};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    new_connection,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

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
    /// Bytes received and sent.
    pub bytes: (u64, u64),
}

/// A socket to one network namespace.
pub struct Socket {
    handle: Handle,
    /// Ends only when the socket fails.
    connection: JoinHandle<()>,
    /// Of its namespace; 0: not asked for, or before Linux 5.14.
    cookie: u64,
}

impl Socket {
    /// The cookie of its namespace.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// One that failed once takes no further request.
    fn works(&self) -> bool {
        !self.connection.is_finished()
    }
}

/// Sockets to the host's namespace and to those of subhosts.
#[derive(Default)]
pub struct Netlink {
    runtime: Option<Runtime>,
    host: Option<Rc<Socket>>,
    inner: BTreeMap<String, Rc<Socket>>,
}

/// The kernel answers at once, or after what holds its lock: an RCU barrier, a driver.
const PATIENCE: Duration = Duration::from_secs(30);

type Answer<T> = std::result::Result<T, rtnetlink::Error>;

impl IntoErrno for rtnetlink::Error {
    fn into_errno(self) -> Errno {
        match self {
            rtnetlink::Error::NetlinkError(message) => {
                Errno::from_raw(message.raw_code().saturating_neg())
            }
            _ => Errno::EIO,
        }
    }
}

impl Netlink {
    fn runtime(&mut self) -> Result<&Runtime> {
        if self.runtime.is_none() {
            let runtime = Builder::new_current_thread().enable_all().build();
            self.runtime = Some(runtime.doing(|| "open an event queue")?);
        }
        self.runtime
            .as_ref()
            .ok_or_else(|| Error::sys("open an event queue", Errno::EIO))
    }

    /// The socket to the namespace that we are in.
    pub fn host(&mut self) -> Result<Rc<Socket>> {
        if let Some(socket) = self.host.as_ref().filter(|socket| socket.works()) {
            return Ok(socket.clone());
        }
        let runtime = self.runtime()?;
        let _entered = runtime.enter();
        let (connection, handle, _) = new_connection().doing(|| "open a netlink socket")?;
        let connection = runtime.spawn(connection);
        let socket = Rc::new(Socket {
            handle,
            connection,
            cookie: 0,
        });
        self.host = Some(socket.clone());
        Ok(socket)
    }

    /// The socket to the named namespace `name`; `namespace` is its file. A scratch thread joins it
    /// and ends, so that there is nothing to go back from.
    pub fn inner(&mut self, name: &str, namespace: &OwnedFd) -> Result<Rc<Socket>> {
        if let Some(socket) = self.inner.get(name).filter(|socket| socket.works()) {
            return Ok(socket.clone());
        }
        let runtime = self.runtime()?;
        let opened = std::thread::scope(|scope| {
            let work = || {
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
                let _entered = runtime.enter();
                let made = new_connection().map_err(IntoErrno::into_errno)?;
                Ok((made, cookie()))
            };
            // A full process table is an error, not a panic.
            match std::thread::Builder::new().spawn_scoped(scope, work) {
                Ok(thread) => thread.join().unwrap_or(Err(Errno::EIO)),
                Err(e) => Err(e.into_errno()),
            }
        });
        let ((connection, handle, _), cookie) =
            opened.doing(|| format!("open a netlink socket in the namespace {name}"))?;
        let connection = runtime.spawn(connection);
        let socket = Rc::new(Socket {
            handle,
            connection,
            cookie,
        });
        self.inner.insert(name.to_owned(), socket.clone());
        Ok(socket)
    }

    /// Forgets the socket to `name`: it would keep the namespace alive.
    pub fn close(&mut self, name: &str) {
        if self.inner.remove(name).is_some()
            && let Some(runtime) = &self.runtime
        {
            // The connection ends when its handle is gone, at the runtime's next turn.
            runtime.block_on(async {
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    fn wait<T>(
        &self,
        socket: &Socket,
        request: impl Future<Output = Answer<T>>,
    ) -> std::result::Result<T, Errno> {
        let runtime = self.runtime.as_ref().ok_or(Errno::ENOTCONN)?;
        let answer = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, request).await })
            .map_err(|_| Errno::ETIMEDOUT)?
            .map_err(IntoErrno::into_errno);
        // rtnetlink takes the end of the answers for success.
        if answer.is_ok() && !socket.works() {
            return Err(Errno::EIO);
        }
        answer
    }

    /// The link `name`; none if there is none.
    pub fn link(&self, socket: &Socket, name: &str) -> std::result::Result<Option<Link>, Errno> {
        let request = socket.handle.link().get().match_name(name).execute();
        match self.wait(socket, async { std::pin::pin!(request).try_next().await }) {
            Ok(message) => Ok(message.map(|message| link(&message))),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The id by which the socket's namespace knows another one (`rtnetlink(7)`, RTM_GETNSID); none if
    /// it has given none.
    pub fn netns_id(
        &self,
        socket: &Socket,
        namespace: BorrowedFd<'_>,
    ) -> std::result::Result<Option<i32>, Errno> {
        let mut ask = NsidMessage::default();
        let fd = namespace.as_raw_fd().cast_unsigned();
        ask.attributes.push(NsidAttribute::Fd(fd));
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(ask));
        message.header.flags = NLM_F_REQUEST;
        let mut handle = socket.handle.clone();
        self.wait(socket, async {
            let mut answers = handle.request(message)?;
            let mut id = None;
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(told)) => {
                        id = told
                            .attributes
                            .iter()
                            .find_map(|attribute| match attribute {
                                NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                                _ => None,
                            });
                    }
                    NetlinkPayload::Error(error) => {
                        return Err(rtnetlink::Error::NetlinkError(error));
                    }
                    _ => {}
                }
            }
            Ok(id)
        })
    }

    /// The link of a number; none if there is none.
    pub fn link_at(&self, socket: &Socket, index: u32) -> std::result::Result<Option<Link>, Errno> {
        let request = socket.handle.link().get().match_index(index).execute();
        match self.wait(socket, async { std::pin::pin!(request).try_next().await }) {
            Ok(message) => Ok(message.map(|message| link(&message))),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// A bridge, to see whether the kernel can.
    pub fn add_bridge(&self, socket: &Socket, name: &str) -> std::result::Result<(), Errno> {
        let message = LinkBridge::new(name).build();
        self.wait(socket, socket.handle.link().add(message).execute())
    }

    /// A veth pair with both ends here, to see whether the kernel can.
    pub fn add_pair(&self, socket: &Socket, names: (&str, &str)) -> std::result::Result<(), Errno> {
        let message = LinkVeth::new(names.0, names.1).build();
        self.wait(socket, socket.handle.link().add(message).execute())
    }

    /// All links.
    pub fn links(&self, socket: &Socket) -> std::result::Result<Vec<Link>, Errno> {
        let request = socket.handle.link().get().execute();
        let all: Vec<LinkMessage> = self.wait(socket, request.try_collect())?;
        Ok(all.iter().map(link).collect())
    }

    /// Both ends of a cable, in one message: names, bridge, peer's namespace, MACs, MTU, host end
    /// up. The inner end cannot be up before it has a peer (ENOTCONN).
    pub fn add_cable(
        &self,
        socket: &Socket,
        cable: &Cable,
        bridge: Option<u32>,
        namespace: BorrowedFd<'_>,
    ) -> std::result::Result<(), Errno> {
        let mut peer = LinkMessageBuilder::<LinkUnspec>::default()
            .name(cable.inner.clone())
            .address(cable.mac.0.to_vec())
            .setns_by_fd(namespace.as_raw_fd());
        let mut host = LinkMessageBuilder::<LinkVeth>::new(&cable.host, &cable.inner)
            .address(host_mac(cable.mac).0.to_vec())
            .up();
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
        self.wait(socket, socket.handle.link().add(message).execute())
    }

    /// Marks a link; not possible in the message that makes it.
    pub fn set_alias(
        &self,
        socket: &Socket,
        name: &str,
        alias: &str,
    ) -> std::result::Result<(), Errno> {
        let message = LinkUnspec::new_with_name(name).alias(alias).build();
        self.wait(socket, socket.handle.link().set(message).execute())
    }

    /// Brings a link up.
    pub fn up(&self, socket: &Socket, index: u32) -> std::result::Result<(), Errno> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.wait(socket, socket.handle.link().set(message).execute())
    }

    /// Takes a link down and off its bridge and gives it another name, so that its own is free at
    /// once. Down first: before Linux 6.2 a link that is up cannot be renamed.
    pub fn discard(
        &self,
        socket: &Socket,
        index: u32,
        name: &str,
    ) -> std::result::Result<(), Errno> {
        let down = LinkUnspec::new_with_index(index)
            .down()
            .nocontroller()
            .build();
        self.wait(socket, socket.handle.link().set(down).execute())?;
        let renamed = LinkUnspec::new_with_index(index).name(name).build();
        self.wait(socket, socket.handle.link().set(renamed).execute())
    }

    /// Deletes a link, and with a veth its peer; waits for the kernel.
    pub fn delete(&self, socket: &Socket, index: u32) -> std::result::Result<(), Errno> {
        self.wait(socket, socket.handle.link().del(index).execute())
    }

    /// Gives a link an address. No duplicate detection: a service must be able to bind to it at
    /// once, and the address is the administrator's choice.
    pub fn add_address(
        &self,
        socket: &Socket,
        index: u32,
        cidr: Cidr,
    ) -> std::result::Result<(), Errno> {
        use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
        let mut request = socket
            .handle
            .address()
            .add(index, cidr.address, cidr.prefix);
        if cidr.address.is_ipv6() {
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            request.message_mut().attributes.push(flags);
        }
        match self.wait(socket, request.execute()) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Adds a route; `to` none is the default route.
    pub fn add_route(
        &self,
        socket: &Socket,
        to: Option<Cidr>,
        gateway: IpAddr,
    ) -> std::result::Result<(), Errno> {
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
        match self.wait(socket, socket.handle.route().add(message).execute()) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// The gateways of all routes, with the destination.
    pub fn routes(
        &self,
        socket: &Socket,
    ) -> std::result::Result<Vec<(Option<IpAddr>, u8, IpAddr)>, Errno> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut ask = RouteMessage::default();
            ask.header.address_family = family;
            let all: Vec<RouteMessage> = self.wait(
                socket,
                socket.handle.route().get(ask).execute().try_collect(),
            )?;
            found.extend(all.iter().filter_map(route));
        }
        Ok(found)
    }
}

/// The cookie of the calling thread's network namespace.
fn cookie() -> u64 {
    let (family, kind) = (AddressFamilyOf::Netlink, SockType::Raw);
    nix::sys::socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
        .and_then(crate::sys::netns_cookie)
        .unwrap_or(0)
}

/// The host end's address: high, so that a bridge, which takes the lowest of its members', does
/// not change its own when a cable comes or goes.
pub fn host_mac(inner: Mac) -> Mac {
    let [_, rest @ ..] = inner.0;
    let [b, c, d, e, f] = rest;
    Mac([0xfe, b, c, d, e, f])
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Link(peer) => link.peer = Some(*peer),
            LinkAttribute::LinkNetNsId(id) => link.peer_netns = Some(*id),
            LinkAttribute::Stats64(stats) => link.bytes = (stats.rx_bytes, stats.tx_bytes),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = match kind {
                            InfoKind::Other(kind) => kind.clone(),
                            kind => kind.to_string(),
                        };
                    }
                }
            }
            _ => {}
        }
    }
    link
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
