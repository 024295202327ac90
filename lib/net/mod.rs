//! Networks: from settings to steps, and each step's present, act, undo and shell form. The host's
//! own links, and whatever is not exactly what a plan makes, are never touched.

pub mod mac;
mod netlink;
pub mod netns;
pub mod shell;

pub use netlink::{Link, host_mac};

use crate::config::{Cable, Cidr, Config, Net};
use crate::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::plan::{Presence, Step};
use netlink::Netlink;
use netns::Found;
use std::net::IpAddr;
use std::os::fd::AsFd;

/// The steps that make a subhost's network.
pub fn steps(config: &Config) -> Vec<Step> {
    let Net::Private(private) = &config.net else {
        return Vec::new();
    };
    let netns = config.name.as_str().to_owned();
    let mut steps = vec![Step::Netns {
        name: netns.clone(),
    }];
    steps.extend(private.cables.iter().map(|cable| Step::Cable {
        netns: netns.clone(),
        alias: format!("subhost:{netns}:{}", cable.index),
        cable: cable.clone(),
    }));
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
}

impl Network {
    /// Opens nothing yet: a subhost whose network is the host's needs nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Is what `step` makes there? `frozen`: our plan says that it is to be, so a bare name is
    /// ours; without, only what is whole and exact.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn present(&mut self, step: &Step, all: &[Step], frozen: bool) -> Result<Presence> {
        match step {
            Step::Netns { name } => self.netns_present(name, all, frozen),
            Step::Cable {
                netns,
                alias,
                cable,
            } => self.cable_present(netns, alias, cable),
            Step::Routes {
                netns,
                gateways,
                routes,
            } => self.routes_present(netns, gateways, routes),
            _ => Ok(Presence::Absent),
        }
    }

    fn netns_present(&mut self, name: &str, all: &[Step], frozen: bool) -> Result<Presence> {
        let namespace = match netns::find(name)? {
            Found::Nothing => return Ok(Presence::Absent),
            // A kill between making the file and mounting the namespace on it.
            Found::Other if netns::is_leftover(name) => return Ok(Presence::Absent),
            Found::Other => return Ok(Presence::Foreign(netns::describe(name))),
            Found::Namespace(_) if frozen => return Ok(Presence::Ours),
            Found::Namespace(namespace) => namespace,
        };
        let handle = self.netlink.inner(name, &namespace)?;
        let links = self.netlink.links(&handle).doing(|| "list links")?;
        let mut there: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let mut planned: Vec<&str> = all
            .iter()
            .filter_map(|step| match step {
                Step::Cable { cable, .. } => Some(cable.inner.as_str()),
                _ => None,
            })
            .chain(["lo"])
            .collect();
        there.sort_unstable();
        planned.sort_unstable();
        if there == planned || self.is_begun(all, &there, &planned)? {
            return Ok(Presence::Ours);
        }
        Ok(Presence::Foreign(format!(
            "a network namespace {} exists already, with {}",
            netns::path(name).display(),
            shown(there.join(" "))
        )))
    }

    /// A script of `-n` that failed half-way: nothing but ours is in the namespace, and at least one
    /// cable is.
    fn is_begun(&mut self, all: &[Step], there: &[&str], planned: &[&str]) -> Result<bool> {
        if !there.iter().all(|link| planned.contains(link)) {
            return Ok(false);
        }
        for step in all {
            if let Step::Cable {
                netns,
                alias,
                cable,
            } = step
                && self.cable_present(netns, alias, cable)? == Presence::Ours
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn cable_present(&mut self, netns: &str, alias: &str, cable: &Cable) -> Result<Presence> {
        let host = self.netlink.host()?;
        let found = self
            .netlink
            .link(&host, &cable.host)
            .doing(|| format!("look for the link {}", cable.host))?;
        let Some(link) = found else {
            return Ok(Presence::Absent);
        };
        let ours = link.kind == "veth"
            && (link.alias == alias
                || (link.alias.is_empty() && self.is_peer(netns, cable, &link)?));
        if ours {
            return Ok(Presence::Ours);
        }
        let kind = if link.kind.is_empty() {
            "device"
        } else {
            &link.kind
        };
        let alias = match link.alias.as_str() {
            "" => String::new(),
            alias => format!(" (alias {})", shown(alias)),
        };
        Ok(Presence::Foreign(format!(
            "a link {} exists already: {kind}{alias}",
            cable.host
        )))
    }

    /// Is the inner end of `cable` the peer of `host`?
    fn is_peer(&mut self, name: &str, cable: &Cable, host: &Link) -> Result<bool> {
        let Found::Namespace(namespace) = netns::find(name)? else {
            return Ok(false);
        };
        let handle = self.netlink.inner(name, &namespace)?;
        let inner = self.netlink.link(&handle, &cable.inner);
        let inner = inner.doing(|| format!("look for the link {}", cable.inner))?;
        Ok(inner.is_some_and(|inner| inner.peer == Some(host.index)))
    }

    fn routes_present(
        &mut self,
        name: &str,
        gateways: &[IpAddr],
        routes: &[(Cidr, IpAddr)],
    ) -> Result<Presence> {
        let Found::Namespace(namespace) = netns::find(name)? else {
            return Ok(Presence::Absent);
        };
        let handle = self.netlink.inner(name, &namespace)?;
        let there = self.netlink.routes(&handle).doing(|| "list routes")?;
        let defaults = gateways.iter().map(|gateway| (None, 0, *gateway));
        let others = routes
            .iter()
            .map(|(net, gateway)| (Some(net.address), net.prefix, *gateway));
        let all = defaults.chain(others).all(|wanted| {
            there.iter().any(|&(to, prefix, gateway)| {
                (to.filter(|_| prefix > 0), prefix, gateway) == wanted
            })
        });
        Ok(if all {
            Presence::Ours
        } else {
            Presence::Absent
        })
    }

    /// What must hold before anything is touched: bridges exist and are bridges.
    ///
    /// # Errors
    /// `Failed` with the command that makes the bridge.
    pub fn check(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Cable {
                cable:
                    Cable {
                        bridge: Some(bridge),
                        ..
                    },
                ..
            } => self.bridge(bridge).map(drop),
            _ => Ok(()),
        }
    }

    fn bridge(&mut self, name: &str) -> Result<u32> {
        let host = self.netlink.host()?;
        let found = self.netlink.link(&host, name);
        match found.doing(|| format!("look for the bridge {name}"))? {
            Some(link) if link.kind == "bridge" => Ok(link.index),
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
            Step::Netns { name } => {
                let namespace = netns::make(name)?;
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

    fn handle(&mut self, name: &str) -> Result<rtnetlink::Handle> {
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
        let bridge = match &cable.bridge {
            Some(bridge) => Some(self.bridge(bridge)?),
            None => None,
        };
        let namespace = netns::open(name)?;
        let host = self.netlink.host()?;
        self.netlink
            .add_cable(&host, cable, bridge, namespace.as_fd())
            .map_err(|errno| {
                let error = Error::sys(format!("make the cable {}", cable.host), errno);
                match errno {
                    Errno::EOPNOTSUPP => error.hint("this kernel has no veth (CONFIG_VETH)"),
                    _ => error,
                }
            })?;
        let configured = self.configure(name, alias, cable);
        if configured.is_err()
            && let Ok(Some(link)) = self.netlink.link(&host, &cable.host)
        {
            let _ = self.netlink.delete(&host, link.index);
        }
        configured
    }

    fn configure(&mut self, name: &str, alias: &str, cable: &Cable) -> Result<()> {
        let host = self.netlink.host()?;
        self.netlink
            .set_alias(&host, &cable.host, alias)
            .doing(|| format!("mark the link {}", cable.host))?;
        let inner = self.handle(name)?;
        let index = self
            .netlink
            .link(&inner, &cable.inner)
            .and_then(|link| link.ok_or(Errno::ENODEV))
            .doing(|| format!("find {} in {name}", cable.inner))?
            .index;
        self.netlink
            .up(&inner, index)
            .doing(|| format!("bring up {}", cable.inner))?;
        for cidr in &cable.addresses {
            self.netlink
                .add_address(&inner, index, *cidr)
                .doing(|| format!("give {} the address {cidr}", cable.inner))?;
        }
        Ok(())
    }

    /// Takes away what the step made, if it is there and ours. `wait`: until the kernel has done
    /// with it; else its name is free and the kernel takes the rest in its own time, which for a
    /// veth is an RCU barrier later.
    ///
    /// # Errors
    /// The failed request; something foreign in its place.
    pub fn undo(&mut self, step: &Step, wait: bool) -> Result<()> {
        match step {
            Step::Netns { name } => {
                self.netlink.close(name);
                netns::remove(name)
            }
            Step::Cable {
                netns,
                alias,
                cable,
            } => match self.cable_present(netns, alias, cable)? {
                Presence::Absent => Ok(()),
                Presence::Foreign(what) => Err(Error::new(
                    Exit::Failed,
                    format!("left alone what is not ours: {what}"),
                )),
                Presence::Ours => self.remove_cable(cable, wait),
            },
            _ => Ok(()),
        }
    }

    fn remove_cable(&mut self, cable: &Cable, wait: bool) -> Result<()> {
        let host = self.netlink.host()?;
        let found = self.netlink.link(&host, &cable.host);
        let Some(link) = found.doing(|| format!("look for the link {}", cable.host))? else {
            return Ok(());
        };
        if !wait {
            let name = format!("gone{}", link.index);
            if self.netlink.discard(&host, link.index, &name).is_ok() {
                return Ok(());
            }
        }
        match self.netlink.delete(&host, link.index) {
            Ok(()) | Err(Errno::ENODEV) => Ok(()),
            Err(errno) => Err(Error::sys(format!("delete the link {}", cable.host), errno)),
        }
    }

    /// All links of the host by name, for lists.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn host_links(&mut self) -> Result<std::collections::BTreeMap<String, Link>> {
        let host = self.netlink.host()?;
        let links = self.netlink.links(&host).doing(|| "list links")?;
        Ok(links
            .into_iter()
            .map(|link| (link.name.clone(), link))
            .collect())
    }
}
