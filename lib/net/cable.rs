//! Makes, recognises and removes cables: veth pairs between bridges of the host and network namespaces of
//! subhosts.

use super::named::{self, Found};
use super::netns::foreign_error;
use super::socket::Socket;
use super::{Link, Network, Statistics, inet};
use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::config;
use crate::kernel::mountinfo::Mark;
use crate::plan::steps::cable::{Cable, host_mac};
use crate::plan::{Act, Presence, PresenceQuery, Step, UndoOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Disables IPv6 on a link that is the port of a bridge. The port does not need it, and IPv6 adds a multicast
/// route per link: the kernel scans all of them at each change of a link. A failure, as with a read-only
/// /proc/sys, only costs time.
fn disable_ipv6(link: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1");
}

/// A cable whose host end was renamed. The kernel deletes it with the network namespace of its inner end.
#[derive(Debug)]
pub(super) struct Discarded {
    /// The interface index of the host end.
    index: u32,
    alias: String,
}

/// The link that has the name of a cable's host end.
enum HostEnd {
    /// No link has the name.
    Nothing,
    /// The link is the cable.
    Ours(Link),
    /// The link is another one; the text describes it.
    Foreign(String),
}

/// How a cable came to have its name.
enum Added {
    /// It was made.
    New,
    /// It had been renamed by other means, and has its name back. Its interface index.
    Renamed(u32),
}

/// Returns the name of a discarded cable's host end.
fn discarded_name(index: u32) -> String {
    format!("gone{index}")
}

impl Act<&mut Network> for Cable {
    fn check(&self, network: &mut Network, _: &[Step]) -> Result<()> {
        if crate::kernel::privilege::has_entered() {
            let what = format!(
                "cannot make the cable {}: cables need root",
                self.cable.host
            );
            return Err(Error::new(Exit::Failed, what).hint(
                "leave out BRIDGES: without root there are NET=user, NET=host, or lo alone",
            ));
        }
        match &self.cable.bridge {
            Some(bridge) => network.bridge(bridge).map(drop),
            None => Ok(()),
        }
    }

    fn present(&self, network: &mut Network, asked: PresenceQuery<'_>) -> Result<Presence> {
        match asked.frozen {
            true => network.cable_still_present(self),
            false => network.cable_present(self),
        }
    }

    fn act(&self, network: &mut Network) -> Result<()> {
        network.make_cable(self)
    }

    fn undo(&self, network: &mut Network, _: Option<&Mark>, how: UndoOptions) -> Result<()> {
        match network.find_cable(self)? {
            HostEnd::Nothing => Ok(()),
            HostEnd::Foreign(what) => Err(foreign_error(&what)),
            HostEnd::Ours(link) => network.remove_cable(&self.netns, link, how),
        }
    }
}

impl Network {
    pub(super) fn cable_present(&mut self, step: &Cable) -> Result<Presence> {
        Ok(match self.find_cable(step)? {
            HostEnd::Nothing => Presence::Absent,
            HostEnd::Ours(_) => Presence::Ours,
            HostEnd::Foreign(what) => Presence::Foreign(what),
        })
    }

    /// Tells whether a cable of a frozen plan is still present. It compares the MAC of the host end, which
    /// takes a tenth of the time of a link request. If the MAC differs, the link is requested.
    fn cable_still_present(&mut self, step: &Cable) -> Result<Presence> {
        let cable = &step.cable;
        let host = self.netlink.host()?;
        match host.address(&cable.host) {
            Ok(None) => Ok(Presence::Absent),
            Ok(Some(address)) if address == host_mac(cable.mac) && !self.compares_bridges => {
                Ok(Presence::Ours)
            }
            _ => match self.find_cable(step)? {
                HostEnd::Ours(link) if self.compares_bridges => self.plugged_in(step, &link),
                HostEnd::Nothing => Ok(Presence::Absent),
                HostEnd::Ours(_) => Ok(Presence::Ours),
                HostEnd::Foreign(what) => Ok(Presence::Foreign(what)),
            },
        }
    }

    /// Judges a cable of ours by the bridge that it is a port of. One that was unplugged, or whose bridge was made anew, counts
    /// as absent: to make it is to plug it in.
    fn plugged_in(&mut self, step: &Cable, link: &Link) -> Result<Presence> {
        let Some(bridge) = &step.cable.bridge else {
            return Ok(Presence::Ours);
        };
        let host = self.netlink.host()?;
        let found = self.netlink.link(&host, bridge);
        let found = found.doing(|| format!("look for the bridge {bridge}"))?;
        Ok(
            match found.is_some_and(|bridge| link.master == Some(bridge.index)) {
                true => Presence::Ours,
                false => Presence::Absent,
            },
        )
    }

    /// Finds the link that has the name of a cable's host end.
    fn find_cable(&mut self, step: &Cable) -> Result<HostEnd> {
        let Cable {
            netns,
            alias,
            cable,
        } = step;
        let Some(link) = self.host_end(cable)? else {
            return Ok(HostEnd::Nothing);
        };
        let ours = link.kind == "veth"
            && (link.alias == *alias
                || (link.alias.is_empty() && self.is_peer(netns, cable, &link)?));
        if ours {
            return Ok(HostEnd::Ours(link));
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
        Ok(HostEnd::Foreign(format!(
            "a link {} exists already: {kind}{alias}",
            cable.host
        )))
    }

    fn host_end(&mut self, cable: &config::Cable) -> Result<Option<Link>> {
        let host = self.netlink.host()?;
        let doing = || format!("look for the link {}", cable.host);
        // Usually there is no such link, and the request of its index is the fastest way to know.
        match host.index(&cable.host).doing(doing)? {
            None => Ok(None),
            Some(_) => self.netlink.link(&host, &cable.host).doing(doing),
        }
    }

    /// Tells whether the inner end of `cable` is the peer of `host`.
    fn is_peer(&mut self, name: &str, cable: &config::Cable, host: &Link) -> Result<bool> {
        let Found::Namespace(namespace) = named::find(name)? else {
            return Ok(false);
        };
        let socket = self.netlink.inner(name, &namespace)?;
        let inner = self.netlink.link(&socket, &cable.inner);
        let inner = inner.doing(|| format!("look for the link {}", cable.inner))?;
        Ok(inner.is_some_and(|inner| inner.peer == Some(host.index)))
    }

    /// Makes a cable; deletes it again if its configuration fails.
    fn make_cable(&mut self, step: &Cable) -> Result<()> {
        if self.compares_bridges
            && let HostEnd::Ours(link) = self.find_cable(step)?
        {
            return self.plug_in(step, link.index);
        }
        let made = match self.add_cable(step) {
            // It is in use: a failure must not delete it.
            Ok(Added::Renamed(index)) => return self.plug_in(step, index),
            Ok(Added::New) => self.configure(step),
            Err(error) => Err(error),
        };
        match made {
            // The cable may exist despite the error, as after a timeout of the answer. After EEXIST the link
            // is foreign.
            Err(error) if error.errno != Some(Errno::EEXIST) => {
                let how = UndoOptions {
                    wait: true,
                    ..UndoOptions::default()
                };
                let left = match self.find_cable(step) {
                    Ok(HostEnd::Ours(link)) => self.remove_cable(&step.netns, link, how),
                    other => other.map(drop),
                };
                Err(error.also(left.err()))
            }
            other => other,
        }
    }

    /// Makes a cable of ours a port of its bridge again, and brings it up.
    fn plug_in(&mut self, step: &Cable, index: u32) -> Result<()> {
        let Cable { alias, cable, .. } = step;
        let host = self.netlink.host()?;
        if let Some(bridge) = &cable.bridge {
            let master = self.bridge(bridge)?;
            let plugged = self.netlink.set_master(&host, index, master);
            plugged.doing(|| format!("plug {} into {bridge}", cable.host))?;
        }
        let up = self.netlink.set_alias_and_up(&host, &cable.host, alias);
        up.doing(|| format!("bring up {}", cable.host))
    }

    /// Gives a cable of ours its name back that was renamed by other means. Returns its index; `None` if there is none.
    fn rename_back(&mut self, step: &Cable) -> std::result::Result<Option<u32>, Errno> {
        let fail = |error: Error| error.errno.unwrap_or(Errno::EEXIST);
        let Some(link) = self.find_renamed(step)? else {
            return Ok(None);
        };
        let name = &step.cable.host;
        let host = self.netlink.host().map_err(fail)?;
        self.netlink.rename(&host, link.index, name).or_else(|_| {
            // Before Linux 6.2 a link that is up cannot be renamed.
            self.netlink.set_down(&host, link.index)?;
            self.netlink.rename(&host, link.index, name)
        })?;
        Ok(Some(link.index))
    }

    /// Makes the veth pair, or finds that it was only renamed.
    fn add_cable(&mut self, step: &Cable) -> Result<Added> {
        let Cable {
            netns: name, cable, ..
        } = step;
        let bridge = match &cable.bridge {
            Some(bridge) => Some(self.bridge(bridge)?),
            None => None,
        };
        let namespace = named::open(name)?;
        let host = self.netlink.host()?;
        let add = |this: &Self| {
            // EXFULL: the bridge has no free port. Ports of stopped subhosts are free once the kernel has
            // deleted them.
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
            .map(|()| Added::New)
            .or_else(|errno| match errno {
                Errno::EEXIST => match self.rename_back(step)? {
                    Some(index) => Ok(Added::Renamed(index)),
                    None if self.remove_discarded(step)? => add(self).map(|()| Added::New),
                    None => Err(errno),
                },
                _ => Err(errno),
            })
            .map_err(|errno| {
                let error = Error::sys(format!("make the cable {}", cable.host), errno);
                match errno {
                    Errno::EOPNOTSUPP => error.hint("this kernel has no veth (CONFIG_VETH)"),
                    Errno::EXFULL => error.hint("a bridge has at most 1024 ports"),
                    _ => error,
                }
            })
    }

    /// Deletes a cable that a stop has discarded and was killed before it removed the namespace. Returns false if the inner end
    /// does not belong to such a cable.
    fn remove_discarded(&mut self, step: &Cable) -> std::result::Result<bool, Errno> {
        let fail = |error: Error| error.errno.unwrap_or(Errno::EEXIST);
        let host = self.netlink.host().map_err(fail)?;
        match self.find_by_peer(step)? {
            Some(link) => self.netlink.delete(&host, link.index).map(|()| true),
            None => Ok(false),
        }
    }

    /// Finds a cable of ours that has another name, which no stop has given it.
    fn find_renamed(&mut self, step: &Cable) -> std::result::Result<Option<Link>, Errno> {
        let found = self.find_by_peer(step)?;
        Ok(found.filter(|link| link.name != discarded_name(link.index)))
    }

    /// Finds the link of the host that is the peer of the cable's inner end and has the cable's alias.
    fn find_by_peer(&mut self, step: &Cable) -> std::result::Result<Option<Link>, Errno> {
        let Cable {
            netns: name,
            alias,
            cable,
        } = step;
        let fail = |error: Error| error.errno.unwrap_or(Errno::EEXIST);
        let host = self.netlink.host().map_err(fail)?;
        let inner = self.netlink_socket(name).map_err(fail)?;
        let peer = self.netlink.link(&inner, &cable.inner)?;
        let Some(index) = peer.and_then(|inner| inner.peer) else {
            return Ok(None);
        };
        let links = self.netlink.links(&host, Statistics::Skipped)?;
        let ours = |link: &Link| link.index == index && link.alias == *alias;
        Ok(links.into_iter().find(ours))
    }

    /// Sets addresses and alias of a new cable, and brings both ends up.
    fn configure(&mut self, step: &Cable) -> Result<()> {
        let Cable {
            netns: name,
            alias,
            cable,
        } = step;
        let host = self.netlink.host()?;
        if cable.bridge.is_some() {
            disable_ipv6(&cable.host);
        }
        let namespace = named::open(name)?;
        let socket = self.inet_socket(name, &namespace)?;
        let mut addresses = &cable.addresses[..];
        let doing = |cidr| move || format!("give {} the address {cidr}", cable.inner);
        if let [first, others @ ..] = addresses
            && socket
                .set_first_address(&cable.inner, *first)
                .doing(doing(first))?
        {
            addresses = others;
        }
        socket
            .set_up(&cable.inner)
            .doing(|| format!("bring up {}", cable.inner))?;
        if !addresses.is_empty() {
            let inner = self.netlink_socket(name)?;
            let index = inner
                .index(&cable.inner)
                .and_then(|index| index.ok_or(Errno::ENODEV))
                .doing(|| format!("find {} in {name}", cable.inner))?;
            for cidr in addresses {
                self.netlink
                    .add_address(&inner, index, *cidr)
                    .doing(doing(cidr))?;
            }
        }
        // The host end comes up last: for each change of a bridge port that is up, the kernel notifies all
        // listeners and scans the other ports and all routes.
        self.netlink
            .set_alias_and_up(&host, &cable.host, alias)
            .doing(|| format!("mark the link {} and bring it up", cable.host))
    }

    /// Removes a cable of ours, whose host end is `link`. Unless `how` says to wait, it only renames the host
    /// end and leaves the deletion to the kernel, which deletes the pair with the namespace of the inner end.
    fn remove_cable(&mut self, netns: &str, link: Link, how: UndoOptions) -> Result<()> {
        let host = self.netlink.host()?;
        if !how.wait && self.has_peer_in(netns, &link)? && self.discard(&host, &link).is_ok() {
            self.discarded.push(Discarded {
                index: link.index,
                alias: link.alias,
            });
            return Ok(());
        }
        match self.netlink.delete(&host, link.index) {
            Ok(()) | Err(Errno::ENODEV) => Ok(()),
            Err(errno) => Err(Error::sys(format!("delete the link {}", link.name), errno)),
        }
    }

    /// Renames the host end of a cable, so that its name is free at once. The kernel removes it from its
    /// bridge when it deletes it.
    fn discard(&self, host: &Socket, link: &Link) -> std::result::Result<(), Errno> {
        let name = discarded_name(link.index);
        self.netlink.rename(host, link.index, &name).or_else(|_| {
            // Before Linux 6.2 a link that is up cannot be renamed.
            self.netlink.set_down(host, link.index)?;
            self.netlink.rename(host, link.index, &name)
        })
    }

    /// Removes the addresses of the namespace if it has discarded cables, so that it no longer answers on
    /// them.
    pub(super) fn drop_discarded_addresses(&mut self, namespace: &OwnedFd) {
        if self.discarded.is_empty() || inet::drop_addresses(namespace).is_ok() {
            return;
        }
        // A failure here is ignored: the cables end with their namespace in any case, only later.
        if let Ok(host) = self.netlink.host() {
            for cable in &self.discarded {
                let _ = self.netlink.set_down(&host, cable.index);
            }
        }
    }

    /// Deletes the discarded cables. It is needed if a process keeps their namespace alive.
    ///
    /// # Errors
    /// The failed request.
    pub fn delete_discarded(&mut self) -> Result<()> {
        for cable in std::mem::take(&mut self.discarded) {
            self.delete_marked(cable.index, &cable.alias)?;
        }
        Ok(())
    }

    /// Tells whether the peer of the link is in the network namespace `name`. Only then does the cable end
    /// with that namespace.
    fn has_peer_in(&mut self, name: &str, link: &Link) -> Result<bool> {
        let Found::Namespace(namespace) = named::find(name)? else {
            return Ok(false);
        };
        let host = self.netlink.host()?;
        let id = self.netlink.netns_id(&host, namespace.as_fd());
        // After a failed request the answer is no, and the cable is deleted explicitly.
        Ok(link.peer_netns.is_some() && id.unwrap_or(None) == link.peer_netns)
    }

    /// Deletes the link `index` of the host if it still has the alias. It returns false if there is no such
    /// link.
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
