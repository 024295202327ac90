//! Networks: from settings to steps, and each step's present, act, undo and shell form. The host's
//! own links, and whatever is not exactly what a plan makes, are never touched.

mod cable;
pub mod helper;
mod inside;
mod link;
mod netlink;
pub mod netns;
mod present;
pub mod shell;
mod socket;

pub use link::{Link, host_mac};

use crate::base::error::{Doing, Errno, Error, Exit, Result};
use crate::config::Cable;
use crate::kernel::processor::elsewhere;
use crate::plan::{Planned, Step};
use cable::Discarded;
use inside::Inside;
use netlink::Netlink;
use netns::Found;
use present::Cabled;
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

    /// What must hold before anything is touched: bridges exist and are bridges.
    ///
    /// # Errors
    /// `Failed` with the command that makes the bridge.
    pub fn check(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Cable { cable, .. } if crate::kernel::privilege::has_entered() => {
                let what = format!("cannot make the cable {}: cables need root", cable.host);
                Err(Error::new(Exit::Failed, what).hint(
                    "leave BRIDGES away: an ordinary user has NET=user, NET=host, or lo alone",
                ))
            }
            Step::Cable {
                cable:
                    Cable {
                        bridge: Some(bridge),
                        ..
                    },
                ..
            } => self.bridge(bridge).map(drop),
            Step::Helper { netns } => helper::check(netns),
            _ => Ok(()),
        }
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

    /// Does the step; what it makes is not there yet. If it fails it leaves nothing.
    ///
    /// # Errors
    /// The failed request with its object.
    pub fn act(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Netns { name, ids } => {
                let namespace = netns::make(name, *ids)?;
                let up = self.inside(name, &namespace).and_then(|inside| {
                    let up = inside.up("lo");
                    up.doing(|| format!("bring up lo in {name}"))
                });
                if up.is_err() {
                    self.let_go(name);
                    let _ = netns::remove(name);
                }
                up
            }
            Step::Cable {
                netns,
                alias,
                cable,
            } => self.cable(netns, alias, cable),
            Step::Helper { netns } => self.start_helper(netns),
            Step::Routes {
                netns,
                gateways,
                routes,
            } => {
                let handle = self.handle(netns)?;
                let defaults = gateways.iter().map(|gateway| (None, *gateway));
                let others = routes.iter().map(|(net, gateway)| (Some(*net), *gateway));
                for (to, gateway) in defaults.chain(others) {
                    let net = to.map_or("default".into(), |net| net.to_string());
                    self.netlink
                        .add_route(&handle, to, gateway)
                        .doing(|| format!("add the route {net} via {gateway}"))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn handle(&mut self, name: &str) -> Result<Rc<Socket>> {
        let namespace = netns::open(name)?;
        self.netlink.inner(name, &namespace)
    }

    /// The socket in the named namespace `name`; `namespace` is its file.
    fn inside(&mut self, name: &str, namespace: &OwnedFd) -> Result<Rc<Inside>> {
        if let Some(inside) = self.inside.get(name) {
            return Ok(inside.clone());
        }
        let inside =
            Inside::of(namespace).doing(|| format!("open a socket in the namespace {name}"))?;
        let inside = Rc::new(inside);
        self.inside.insert(name.to_owned(), inside.clone());
        Ok(inside)
    }

    /// Closes the sockets to `name`, which would keep the namespace alive.
    fn let_go(&mut self, name: &str) {
        self.netlink.close(name);
        self.inside.remove(name);
    }

    /// Takes away what the step made, if it is there and ours. `wait`: until the kernel has done
    /// with it; else its name is free and the kernel takes the rest in its own time, which for a
    /// veth is an RCU barrier later.
    ///
    /// # Errors
    /// The failed request; something foreign in its place.
    pub fn undo(&mut self, planned: Planned, wait: bool) -> Result<()> {
        let left_alone = |what| {
            Err(Error::new(
                Exit::Failed,
                format!("left alone what is not ours: {what}"),
            ))
        };
        match planned.step {
            Step::Netns { name, .. } => {
                let found = netns::find(name)?;
                // Its cables are gone by now, so only its mark can tell that it is not ours.
                if let (Some(mark), Found::Namespace(namespace)) = (planned.mark, &found)
                    && !self.is_marked(name, namespace, mark)?
                {
                    let path = netns::path(name);
                    let what = format!("{} is another one by now", path.display());
                    let deleted = self.delete_discarded();
                    return left_alone(what).map_err(|error| error.also(deleted.err()));
                }
                self.let_go(name);
                elsewhere(|| {
                    let removed = netns::remove(name);
                    if let Found::Namespace(namespace) = &found {
                        self.silence_discarded(namespace);
                    }
                    drop(found);
                    removed
                })
            }
            Step::Cable {
                netns,
                alias,
                cable,
            } => match self.find_cable(netns, alias, cable)? {
                Cabled::Nothing => Ok(()),
                Cabled::Foreign(what) => left_alone(what),
                Cabled::Ours(link) => self.remove_cable(netns, link, wait),
            },
            Step::Helper { netns } => self.end_helper(netns),
            _ => Ok(()),
        }
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
    let socket = netns::within_new(Socket::open).doing(|| "make a network namespace")?;
    let netlink = Netlink::default();
    Ok([
        netlink.add_bridge(&socket, "bridge"),
        netlink.add_pair(&socket, ("veth0", "veth1")),
    ])
}
