//! Networks: what each kind of step of a network means to the kernel. The host's own links, and whatever is not exactly what a plan makes, are never touched.

mod cable;
mod helper;
mod inside;
mod link;
pub mod named;
mod netlink;
mod netns;
mod routes;
mod socket;

pub use helper::carrier;
pub use link::Link;

use crate::base::error::{Doing, Errno, Error, Exit, Result};
use cable::Discarded;
use inside::Inside;
use netlink::Netlink;
use socket::Socket;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Network steps and the kernel: holds the sockets for as long as steps are done.
#[derive(Default)]
pub struct Network {
    netlink: Netlink,
    /// Sockets in the namespaces of subhosts.
    inside: BTreeMap<String, Rc<Inside>>,
    /// The numbers of bridges that we have looked at.
    bridges: BTreeMap<String, u32>,
    /// Cables whose host ends lost their names.
    discarded: Vec<Discarded>,
}

impl Network {
    /// Opens nothing yet: a subhost whose network is the host's needs nothing.
    pub fn new() -> Self {
        Self::default()
    }

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

    fn handle(&mut self, name: &str) -> Result<Rc<Socket>> {
        let namespace = named::open(name)?;
        self.netlink.inner(name, &namespace)
    }

    /// The socket in the named namespace `name`; `namespace` is its file.
    fn inside(&mut self, name: &str, namespace: &OwnedFd) -> Result<Rc<Inside>> {
        if let Some(inside) = self.inside.get(name) {
            return Ok(inside.clone());
        }
        let inside =
            Inside::open(namespace).doing(|| format!("open a socket in the namespace {name}"))?;
        let inside = Rc::new(inside);
        self.inside.insert(name.to_owned(), inside.clone());
        Ok(inside)
    }

    /// Closes the sockets to `name`, which would keep the namespace alive.
    fn let_go(&mut self, name: &str) {
        self.netlink.close(name);
        self.inside.remove(name);
    }

    /// All links of the host by name, with what went through them or without. With a thousand subhosts the
    /// kernel takes longer to tell them than a list does for all else.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn host_links(&mut self, bytes: bool) -> Result<BTreeMap<String, Link>> {
        let host = self.netlink.host()?;
        let links = self.netlink.links(&host, bytes).doing(|| "list links")?;
        Ok(links
            .into_iter()
            .map(|link| (link.name.clone(), link))
            .collect())
    }

    /// What our namespace calls another one, as [`Link::peer_netns`] has it; none if it has
    /// given it no number, or the other cannot be asked for.
    pub fn namespace_id(&mut self, namespace: impl AsFd) -> Option<i32> {
        let host = self.netlink.host().ok()?;
        self.netlink
            .netns_id(&host, namespace.as_fd())
            .ok()
            .flatten()
    }
}

/// Can the kernel make bridges and veth pairs? Tried in a network namespace that ends with the socket to it.
///
/// # Errors
/// A namespace or a socket cannot be had.
pub fn probe() -> Result<[std::result::Result<(), Errno>; 2]> {
    let socket = named::run_in_new(Socket::open).doing(|| "make a network namespace")?;
    let netlink = Netlink::default();
    Ok([
        netlink.add_bridge(&socket, "bridge"),
        netlink.add_pair(&socket, ("veth0", "veth1")),
    ])
}
