//! Networks: from settings to steps, and each step's present, act, undo and shell form. The host's
//! own links, and whatever is not exactly what a plan makes, are never touched.

pub mod helper;
mod link;
pub mod mac;
mod netlink;
pub mod netns;
mod present;
pub mod shell;
mod socket;

pub use link::{Link, host_mac};

use crate::config::{Cable, Config, Net};
use crate::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::plan::{Planned, Step};
use crate::sys;
use netlink::Netlink;
use netns::Found;
use present::Cabled;
use socket::Socket;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

/// Has a link do without IPv6: a bridge's port has no use for it, and of each there would be a route to all
/// multicast, all of which the kernel looks through whenever a link changes. Where /proc/sys cannot be written to,
/// it only takes longer.
fn without_ipv6(link: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1");
}

/// The steps that make a subhost's network. `ids`: the first id of its user namespace.
pub fn steps(config: &Config, ids: Option<u32>) -> Vec<Step> {
    let Net::Private(private) = &config.net else {
        return Vec::new();
    };
    let netns = config.name.as_str().to_owned();
    let mut steps = vec![Step::Netns {
        name: netns.clone(),
        ids,
    }];
    steps.extend(private.cables.iter().map(|cable| Step::Cable {
        netns: netns.clone(),
        alias: format!("subhost:{netns}:{}", cable.index),
        cable: cable.clone(),
    }));
    if private.helper {
        steps.push(Step::Helper {
            netns: netns.clone(),
        });
    }
    if !private.gateways.is_empty() || !private.routes.is_empty() {
        steps.push(Step::Routes {
            netns,
            gateways: private.gateways.clone(),
            routes: private.routes.clone(),
        });
    }
    steps
}

/// Network steps and the kernel: holds the sockets for as long as steps are done.
#[derive(Default)]
pub struct Network {
    netlink: Netlink,
    /// The numbers of bridges that we have looked at.
    bridges: BTreeMap<String, u32>,
    /// Host ends that lost their names, with their aliases.
    discarded: Vec<(u32, String)>,
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
            Step::Cable { cable, .. } if crate::rootless::has_entered() => {
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
                let up = self.lo_up(name, &namespace);
                if up.is_err() {
                    self.netlink.close(name);
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

    fn lo_up(&mut self, name: &str, namespace: &std::os::fd::OwnedFd) -> Result<()> {
        let handle = self.netlink.inner(name, namespace)?;
        // lo is the first link of every namespace.
        self.netlink
            .up(&handle, 1)
            .doing(|| format!("bring up lo in {name}"))
    }

    fn cable(&mut self, name: &str, alias: &str, cable: &Cable) -> Result<()> {
        let made = self
            .add_cable(name, alias, cable)
            .and_then(|()| self.configure(name, alias, cable));
        match made {
            // Also where only the answer was lost. What has the name already is not ours.
            Err(error) if error.errno != Some(Errno::EEXIST) => {
                let left = match self.find_cable(name, alias, cable) {
                    Ok(Cabled::Ours(link)) => self.remove_cable(name, link, true),
                    other => other.map(drop),
                };
                Err(error.also(left.err()))
            }
            other => other,
        }
    }

    fn add_cable(&mut self, name: &str, alias: &str, cable: &Cable) -> Result<()> {
        let bridge = match &cable.bridge {
            Some(bridge) => Some(self.bridge(bridge)?),
            None => None,
        };
        let namespace = netns::open(name)?;
        let host = self.netlink.host()?;
        let add = |this: &Self| {
            // Ports of subhosts that have been stopped are the bridge's until the kernel takes them away.
            let mut waits = [2u64, 5, 10, 20, 50, 100, 200, 500].iter();
            loop {
                let netlink = &this.netlink;
                match netlink.add_cable(&host, cable, bridge, namespace.as_fd()) {
                    Err(Errno::EXFULL) if waits.len() > 0 => {
                        let wait = waits.next().copied().unwrap_or_default();
                        std::thread::sleep(Duration::from_millis(wait));
                    }
                    other => return other,
                }
            }
        };
        add(self)
            .or_else(|errno| match errno {
                Errno::EEXIST if self.remove_discarded(name, alias, cable)? => add(self),
                _ => Err(errno),
            })
            .map_err(|errno| {
                let error = Error::sys(format!("make the cable {}", cable.host), errno);
                match errno {
                    Errno::EOPNOTSUPP => error.hint("this kernel has no veth (CONFIG_VETH)"),
                    Errno::EXFULL => error.hint("a bridge has at most 1024 ports"),
                    _ => error,
                }
            })?;
        Ok(())
    }

    /// Takes away a cable of ours that has lost the name of its host end and still has the inner one:
    /// a run was killed between that and removing the namespace. False if it is not that.
    fn remove_discarded(
        &mut self,
        name: &str,
        alias: &str,
        cable: &Cable,
    ) -> std::result::Result<bool, Errno> {
        let fail = |error: Error| error.errno.unwrap_or(Errno::EEXIST);
        let host = self.netlink.host().map_err(fail)?;
        let inner = self.handle(name).map_err(fail)?;
        let peer = self.netlink.link(&inner, &cable.inner)?;
        let Some(index) = peer.and_then(|inner| inner.peer) else {
            return Ok(false);
        };
        let links = self.netlink.links(&host, false)?;
        let ours = |link: &&Link| link.index == index && link.alias == alias;
        match links.iter().find(ours) {
            Some(link) => self.netlink.delete(&host, link.index).map(|()| true),
            None => Ok(false),
        }
    }

    fn configure(&mut self, name: &str, alias: &str, cable: &Cable) -> Result<()> {
        let host = self.netlink.host()?;
        if cable.bridge.is_some() {
            without_ipv6(&cable.host);
        }
        self.netlink
            .set_alias(&host, &cable.host, alias)
            .doing(|| format!("mark the link {}", cable.host))?;
        let inner = self.handle(name)?;
        let index = inner
            .index(&cable.inner)
            .and_then(|index| index.ok_or(Errno::ENODEV))
            .doing(|| format!("find {} in {name}", cable.inner))?;
        self.netlink
            .up(&inner, index)
            .doing(|| format!("bring up {}", cable.inner))?;
        for cidr in &cable.addresses {
            self.netlink
                .add_address(&inner, index, *cidr)
                .doing(|| format!("give {} the address {cidr}", cable.inner))?;
        }
        // Last: what changes of a bridge's port that is up the kernel tells to all that listen, and each time
        // looks at the other ports and at every route.
        host.index(&cable.host)
            .and_then(|index| self.netlink.up(&host, index.ok_or(Errno::ENODEV)?))
            .doing(|| format!("bring up {}", cable.host))
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
                // Its cables are gone by now, so only its mark can tell that it is not ours.
                if let (Some(mark), Found::Namespace(namespace)) =
                    (planned.mark, netns::find(name)?)
                    && !self.is_marked(name, &namespace, mark)?
                {
                    let path = netns::path(name);
                    return left_alone(format!("{} is another one by now", path.display()));
                }
                self.netlink.close(name);
                netns::remove(name)
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

    /// Takes away a cable of ours by its host end.
    fn remove_cable(&mut self, netns: &str, link: Link, wait: bool) -> Result<()> {
        let host = self.netlink.host()?;
        if !wait
            && let Some(namespace) = self.peers_namespace(netns, &link)?
            && self.discard(&host, &link, &namespace).is_ok()
        {
            self.discarded.push((link.index, link.alias));
            return Ok(());
        }
        match self.netlink.delete(&host, link.index) {
            Ok(()) | Err(Errno::ENODEV) => Ok(()),
            Err(errno) => Err(Error::sys(format!("delete the link {}", link.name), errno)),
        }
    }

    /// Takes the name from a cable's host end, so that it is free at once, and cuts the cable: nothing passes it
    /// any more. Off its bridge the kernel takes it when it takes it away. It is cut at its inner end: what the
    /// kernel does when a bridge's port is taken down costs the more, the more ports the bridge has.
    fn discard(
        &self,
        host: &Socket,
        link: &Link,
        namespace: &OwnedFd,
    ) -> std::result::Result<(), Errno> {
        let name = format!("gone{}", link.index);
        let renamed = self.netlink.rename(host, link.index, &name);
        // A netlink socket would keep the namespace for a while after it was closed.
        let cut = |peer| {
            netns::within(namespace, || {
                let socket = UnixDatagram::unbound().map_err(IntoErrno::into_errno)?;
                sys::link_down(socket, peer)
            })
        };
        if renamed.is_ok() && link.peer.is_some_and(|peer| cut(peer).is_ok()) {
            return Ok(());
        }
        // Before Linux 6.2 one that is up cannot be renamed.
        self.netlink.down(host, link.index)?;
        renamed.or_else(|_| self.netlink.rename(host, link.index, &name))
    }

    /// Deletes the cables that were left to the kernel, as somebody keeps their namespace.
    ///
    /// # Errors
    /// The failed request.
    pub fn delete_discarded(&mut self) -> Result<()> {
        for (index, alias) in std::mem::take(&mut self.discarded) {
            self.delete_marked(index, &alias)?;
        }
        Ok(())
    }

    /// The namespace `name` if the other end is there, where we put it. Only then does it go with it.
    fn peers_namespace(&mut self, name: &str, link: &Link) -> Result<Option<OwnedFd>> {
        let Found::Namespace(namespace) = netns::find(name)? else {
            return Ok(None);
        };
        let host = self.netlink.host()?;
        let id = self.netlink.netns_id(&host, namespace.as_fd());
        // An answer that does not come costs the time of an explicit removal.
        let is_there = link.peer_netns.is_some() && id.unwrap_or(None) == link.peer_netns;
        Ok(is_there.then_some(namespace))
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

    /// Deletes the link `index` of the host if it still bears the alias; false if there is none
    /// such any more.
    ///
    /// # Errors
    /// The failed request.
    pub fn delete_marked(&mut self, index: u32, alias: &str) -> Result<bool> {
        let host = self.netlink.host()?;
        let found = self.netlink.link_at(&host, index);
        let found = found.doing(|| format!("look for the link {index}"))?;
        let Some(link) = found.filter(|link| link.alias == alias) else {
            return Ok(false);
        };
        match self.netlink.delete(&host, index) {
            Ok(()) => Ok(true),
            Err(Errno::ENODEV) => Ok(false),
            Err(errno) => Err(Error::sys(
                format!("delete the link {}", shown(&link.name)),
                errno,
            )),
        }
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
