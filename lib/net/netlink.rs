//! rtnetlink's connections and the requests that we make: one short method each. The only file
//! that knows rtnetlink and its runtime, which has no thread of its own.

use crate::config::{Cable, Cidr, Mac};
use crate::error::{Doing, Errno, Error, IntoErrno, Result};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use tokio::runtime::{Builder, Runtime};

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
    /// Bytes received and sent.
    pub bytes: (u64, u64),
}

/// Sockets to the host's namespace and to those of subhosts.
#[derive(Default)]
pub struct Netlink {
    runtime: Option<Runtime>,
    host: Option<Handle>,
    inner: BTreeMap<String, Handle>,
}

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
            let runtime = Builder::new_current_thread().enable_io().build();
            self.runtime = Some(runtime.doing(|| "open an event queue")?);
        }
        self.runtime
            .as_ref()
            .ok_or_else(|| Error::sys("open an event queue", Errno::EIO))
    }

    /// The socket to the namespace that we are in.
    pub fn host(&mut self) -> Result<Handle> {
        if let Some(handle) = &self.host {
            return Ok(handle.clone());
        }
        let runtime = self.runtime()?;
        let _entered = runtime.enter();
        let (connection, handle, _) = new_connection().doing(|| "open a netlink socket")?;
        runtime.spawn(connection);
        self.host = Some(handle.clone());
        Ok(handle)
    }

    /// The socket to the named namespace `name`; `namespace` is its file. A scratch thread joins it
    /// and ends, so that there is nothing to go back from.
    pub fn inner(&mut self, name: &str, namespace: &OwnedFd) -> Result<Handle> {
        if let Some(handle) = self.inner.get(name) {
            return Ok(handle.clone());
        }
        let runtime = self.runtime()?;
        let opened = std::thread::scope(|scope| {
            let work = || {
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
                let _entered = runtime.enter();
                new_connection().map_err(IntoErrno::into_errno)
            };
            // A full process table is an error, not a panic.
            match std::thread::Builder::new().spawn_scoped(scope, work) {
                Ok(thread) => thread.join().unwrap_or(Err(Errno::EIO)),
                Err(e) => Err(e.into_errno()),
            }
        });
        let (connection, handle, _) =
            opened.doing(|| format!("open a netlink socket in the namespace {name}"))?;
        runtime.spawn(connection);
        self.inner.insert(name.to_owned(), handle.clone());
        Ok(handle)
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

    fn wait<T>(&self, request: impl Future<Output = Answer<T>>) -> std::result::Result<T, Errno> {
        let runtime = self.runtime.as_ref().ok_or(Errno::ENOTCONN)?;
        runtime.block_on(request).map_err(IntoErrno::into_errno)
    }

    /// The link `name`; none if there is none.
    pub fn link(&self, handle: &Handle, name: &str) -> std::result::Result<Option<Link>, Errno> {
        let request = handle.link().get().match_name(name).execute();
        match self.wait(async { std::pin::pin!(request).try_next().await }) {
            Ok(message) => Ok(message.map(|message| link(&message))),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// All links.
    pub fn links(&self, handle: &Handle) -> std::result::Result<Vec<Link>, Errno> {
        let request = handle.link().get().execute();
        let all: Vec<LinkMessage> = self.wait(request.try_collect())?;
        Ok(all.iter().map(link).collect())
    }

    /// Both ends of a cable, in one message: names, bridge, peer's namespace, MACs, MTU, host end
    /// up. The inner end cannot be up before it has a peer (ENOTCONN).
    pub fn add_cable(
        &self,
        handle: &Handle,
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
        self.wait(handle.link().add(message).execute())
    }

    /// Marks a link; not possible in the message that makes it.
    pub fn set_alias(
        &self,
        handle: &Handle,
        name: &str,
        alias: &str,
    ) -> std::result::Result<(), Errno> {
        let message = LinkUnspec::new_with_name(name).alias(alias).build();
        self.wait(handle.link().set(message).execute())
    }

    /// Brings a link up.
    pub fn up(&self, handle: &Handle, index: u32) -> std::result::Result<(), Errno> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.wait(handle.link().set(message).execute())
    }

    /// Takes a link down and off its bridge and gives it another name, so that its own is free at
    /// once. Down first: before Linux 6.2 a link that is up cannot be renamed.
    pub fn discard(
        &self,
        handle: &Handle,
        index: u32,
        name: &str,
    ) -> std::result::Result<(), Errno> {
        let down = LinkUnspec::new_with_index(index)
            .down()
            .nocontroller()
            .build();
        self.wait(handle.link().set(down).execute())?;
        let renamed = LinkUnspec::new_with_index(index).name(name).build();
        self.wait(handle.link().set(renamed).execute())
    }

    /// Deletes a link, and with a veth its peer; waits for the kernel.
    pub fn delete(&self, handle: &Handle, index: u32) -> std::result::Result<(), Errno> {
        self.wait(handle.link().del(index).execute())
    }

    /// Gives a link an address. No duplicate detection: a service must be able to bind to it at
    /// once, and the address is the administrator's choice.
    pub fn add_address(
        &self,
        handle: &Handle,
        index: u32,
        cidr: Cidr,
    ) -> std::result::Result<(), Errno> {
        use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
        let mut request = handle.address().add(index, cidr.address, cidr.prefix);
        if cidr.address.is_ipv6() {
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            request.message_mut().attributes.push(flags);
        }
        match self.wait(request.execute()) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Adds a route; `to` none is the default route.
    pub fn add_route(
        &self,
        handle: &Handle,
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
        match self.wait(handle.route().add(message).execute()) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// The gateways of all routes, with the destination.
    pub fn routes(
        &self,
        handle: &Handle,
    ) -> std::result::Result<Vec<(Option<IpAddr>, u8, IpAddr)>, Errno> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut ask = RouteMessage::default();
            ask.header.address_family = family;
            let all: Vec<RouteMessage> =
                self.wait(handle.route().get(ask).execute().try_collect())?;
            found.extend(all.iter().filter_map(route));
        }
        Ok(found)
    }
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
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Link(peer) => link.peer = Some(*peer),
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
