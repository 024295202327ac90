//! Networks: the actions of the steps that make a network. This room never changes a link or a namespace that
//! no plan has made.

mod cable;
mod helper;
mod inet;
mod link;
pub mod named;
mod netlink;
mod netns;
mod routes;
mod socket;

pub use helper::carrier;
pub use link::Link;
pub use netlink::Statistics;

use crate::base::error::{Doing, Errno, Error, Exit, Result};
use cable::Discarded;
use inet::InetSocket;
use netlink::Netlink;
use socket::Socket;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// The sockets and caches that network steps share. It opens each socket at the first use, since a subhost
/// with NET=host needs none.
#[derive(Default)]
pub struct Network {
    netlink: Netlink,
    /// Sockets in the network namespaces of subhosts, by name.
    inet: BTreeMap<String, Rc<InetSocket>>,
    /// Interface indexes of bridges, by name.
    bridges: BTreeMap<String, u32>,
    /// Cables whose host ends were renamed, for the kernel to delete.
    discarded: Vec<Discarded>,
    /// The PID 1 of the subhost whose steps are asked about, if it runs in its own network namespace: then that is the
    /// namespace, whatever has its name.
    pid_1: Option<i32>,
    /// Whether the bridge of a cable is compared, which takes a request for each cable.
    compares_bridges: bool,
}

impl Network {
    /// Makes a network without open sockets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the PID 1 of the subhost whose steps are asked about next; none if it does not run.
    pub fn set_pid_1(&mut self, pid: Option<i32>) {
        self.pid_1 = pid;
    }

    /// Has [`Act::present`](crate::plan::Act::present) of a cable compare its bridge, too.
    pub fn compare_bridges(&mut self) {
        self.compares_bridges = true;
    }

    /// Returns the interface index of the bridge `name`.
    ///
    /// # Errors
    /// The link is missing or no bridge.
    fn bridge(&mut self, name: &str) -> Result<u32> {
        if let Some(index) = self.bridges.get(name) {
            return Ok(*index);
        }
        let host = self.netlink.host()?;
        let found = self.netlink.link(&host, name);
        match found.doing(|| format!("look for the bridge {name}"))? {
            Some(link) if link.kind == "bridge" => {
                self.bridges.insert(name.to_owned(), link.index);
                Ok(link.index)
            }
            Some(_) => Err(Error::new(
                Exit::Failed,
                format!("the link {name} is not a bridge"),
            )),
            None => Err(
                Error::new(Exit::Failed, format!("there is no bridge {name}")).hint(format!(
                    "ip link add {name} type bridge && ip link set {name} up"
                )),
            ),
        }
    }

    /// Returns the netlink socket in the named network namespace `name`.
    fn netlink_socket(&mut self, name: &str) -> Result<Rc<Socket>> {
        let namespace = named::open(name)?;
        self.netlink.inner(name, &namespace)
    }

    /// Returns the inet socket in the named network namespace `name`; `namespace` is its file.
    fn inet_socket(&mut self, name: &str, namespace: &OwnedFd) -> Result<Rc<InetSocket>> {
        if let Some(socket) = self.inet.get(name) {
            return Ok(socket.clone());
        }
        let socket = InetSocket::open(namespace)
            .doing(|| format!("open a socket in the namespace {name}"))?;
        let socket = Rc::new(socket);
        self.inet.insert(name.to_owned(), socket.clone());
        Ok(socket)
    }

    /// Closes the sockets in the namespace `name`, because an open socket keeps a network namespace alive.
    fn close_sockets(&mut self, name: &str) {
        self.netlink.close(name);
        self.inet.remove(name);
    }

    /// Returns all links of the host by name. With a thousand subhosts the statistics take the kernel longer
    /// than a list takes for everything else.
    ///
    /// # Errors
    /// A failed request to the kernel.
    pub fn host_links(&mut self, statistics: Statistics) -> Result<BTreeMap<String, Link>> {
        let host = self.netlink.host()?;
        let links = self.netlink.links(&host, statistics);
        let links = links.doing(|| "list links")?;
        Ok(links
            .into_iter()
            .map(|link| (link.name.clone(), link))
            .collect())
    }

    /// Returns the id by which our network namespace knows another one, as in [`Link::peer_netns`]; none if
    /// it has no id, or the request fails.
    pub fn namespace_id(&mut self, namespace: impl AsFd) -> Option<i32> {
        let host = self.netlink.host().ok()?;
        self.netlink
            .netns_id(&host, namespace.as_fd())
            .ok()
            .flatten()
    }
}

/// Tries whether the kernel can make a bridge and a veth pair, in a new network namespace that ends with its
/// socket.
///
/// # Errors
/// The namespace or the socket cannot be made.
pub fn probe() -> Result<[std::result::Result<(), Errno>; 2]> {
    let socket = named::run_in_new(Socket::open).doing(|| "make a network namespace")?;
    let netlink = Netlink::default();
    Ok([
        netlink.add_bridge(&socket, "bridge"),
        netlink.add_pair(&socket, ("veth0", "veth1")),
    ])
}
