//! Is what a step makes there, and is it ours?

use super::Network;
use super::link::{Link, host_mac};
use super::netns::{self, Found};
use crate::base::error::{Doing, Result, shown};
use crate::config::{Cable, Cidr};
use crate::kernel::mountinfo;
use crate::kernel::mountinfo::Mark;
use crate::plan::{Planned, Presence, Step};
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// What bears the name of a cable's host end.
pub(super) enum Cabled {
    /// Nothing.
    Nothing,
    /// The cable.
    Ours(Link),
    /// What it is, in words.
    Foreign(String),
}

impl Network {
    /// Is what `step` makes there? `frozen`: our plan says that it is to be, so a bare name is
    /// ours; without, only what is whole and exact.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn present(&mut self, planned: Planned, all: &[Step], frozen: bool) -> Result<Presence> {
        match planned.step {
            Step::Netns { name, .. } => self.netns_present(name, planned.mark, all, frozen),
            Step::Cable {
                netns,
                alias,
                cable,
            } if frozen => self.cable_still_present(netns, alias, cable),
            Step::Cable {
                netns,
                alias,
                cable,
            } => self.cable_present(netns, alias, cable),
            Step::Helper { netns } => self.helper_present(netns),
            Step::Routes {
                netns,
                gateways,
                routes,
            } => self.routes_present(netns, gateways, routes),
            _ => Ok(Presence::Absent),
        }
    }

    fn netns_present(
        &mut self,
        name: &str,
        mark: Option<&Mark>,
        all: &[Step],
        frozen: bool,
    ) -> Result<Presence> {
        if mark.is_some_and(|mark| mountinfo::is_marked(&netns::path(name), mark)) {
            return Ok(Presence::Ours);
        }
        let namespace = match netns::find(name)? {
            Found::Nothing => return Ok(Presence::Absent),
            // A kill between making the file and mounting the namespace on it.
            Found::Other if netns::is_leftover(name) => return Ok(Presence::Absent),
            Found::Other => return Ok(Presence::Foreign(netns::describe(name))),
            // Without a mark it was being made: before, nothing else had the name.
            Found::Namespace(_) if frozen && mark.is_none() => return Ok(Presence::Ours),
            Found::Namespace(namespace) => namespace,
        };
        if let Some(mark) = mark
            && self.is_marked(name, &namespace, mark)?
        {
            return Ok(Presence::Ours);
        }
        self.netns_as_planned(name, &namespace, all)
    }

    /// The mark of what a step made.
    pub fn mark(&mut self, step: &Step) -> Option<Mark> {
        let Step::Netns { name, .. } = step else {
            return None;
        };
        let Ok(Found::Namespace(namespace)) = netns::find(name) else {
            return None;
        };
        let cookie = self.inside(name, &namespace).ok()?.cookie();
        let mark = mountinfo::mark(&netns::path(name))?;
        Some(Mark {
            netns: Some((netns::inode(&namespace), cookie)),
            ..mark
        })
    }

    /// Is it the namespace of the mark? The mount on its name tells it, and where that is another, as
    /// after `ip netns add` has bound the whole directory onto itself or in another mount namespace,
    /// the cookie.
    pub(super) fn is_marked(
        &mut self,
        name: &str,
        namespace: &OwnedFd,
        mark: &Mark,
    ) -> Result<bool> {
        if mountinfo::is_marked(&netns::path(name), mark) {
            return Ok(true);
        }
        let Some((inode, cookie)) = mark.netns else {
            return Ok(false);
        };
        Ok(netns::inode(namespace) == inode && self.inside(name, namespace)?.cookie() == cookie)
    }

    /// Is a namespace of which we know nothing but its name what a script of `-n` makes, or one that
    /// failed half-way? Nothing but our cables is in it then, and without cables `lo` is up, which
    /// `ip netns add` leaves down.
    fn netns_as_planned(
        &mut self,
        name: &str,
        namespace: &OwnedFd,
        all: &[Step],
    ) -> Result<Presence> {
        let socket = self.netlink.inner(name, namespace)?;
        let links = self.netlink.links(&socket, false).doing(|| "list links")?;
        let (mut planned, mut ours) = (vec!["lo"], false);
        for step in all {
            if let Step::Cable {
                netns,
                alias,
                cable,
            } = step
            {
                planned.push(&cable.inner);
                ours |= self.cable_present(netns, alias, cable)? == Presence::Ours;
            }
        }
        let bare = planned.len() == 1 && links.iter().all(|link| link.up);
        let only = links
            .iter()
            .all(|link| planned.contains(&link.name.as_str()));
        if only && (ours || bare) {
            return Ok(Presence::Ours);
        }
        let there: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        Ok(Presence::Foreign(format!(
            "a network namespace {} exists already, with {}",
            netns::path(name).display(),
            shown(there.join(" "))
        )))
    }

    fn cable_present(&mut self, netns: &str, alias: &str, cable: &Cable) -> Result<Presence> {
        Ok(match self.find_cable(netns, alias, cable)? {
            Cabled::Nothing => Presence::Absent,
            Cabled::Ours(_) => Presence::Ours,
            Cabled::Foreign(what) => Presence::Foreign(what),
        })
    }

    /// Is a cable that was made still there? Its address, which no other has, tells for a tenth of what a
    /// look at the link costs; where that was changed, the link does.
    fn cable_still_present(&mut self, netns: &str, alias: &str, cable: &Cable) -> Result<Presence> {
        let host = self.netlink.host()?;
        match host.address(&cable.host) {
            Ok(None) => Ok(Presence::Absent),
            Ok(Some(address)) if address == host_mac(cable.mac) => Ok(Presence::Ours),
            _ => self.cable_present(netns, alias, cable),
        }
    }

    /// What bears the name of a cable's host end.
    pub(super) fn find_cable(&mut self, netns: &str, alias: &str, cable: &Cable) -> Result<Cabled> {
        let Some(link) = self.host_end(cable)? else {
            return Ok(Cabled::Nothing);
        };
        let ours = link.kind == "veth"
            && (link.alias == alias
                || (link.alias.is_empty() && self.is_peer(netns, cable, &link)?));
        if ours {
            return Ok(Cabled::Ours(link));
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
        Ok(Cabled::Foreign(format!(
            "a link {} exists already: {kind}{alias}",
            cable.host
        )))
    }

    fn host_end(&mut self, cable: &Cable) -> Result<Option<Link>> {
        let host = self.netlink.host()?;
        let doing = || format!("look for the link {}", cable.host);
        // Mostly there is none, and that is told for less.
        match host.index(&cable.host).doing(doing)? {
            None => Ok(None),
            Some(_) => self.netlink.link(&host, &cable.host).doing(doing),
        }
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
}
