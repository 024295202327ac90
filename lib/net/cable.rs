//! A cable: a veth pair from a bridge of the host into a subhost's namespace, from its making to its end.

use super::named::{self, Found};
use super::netns::left_alone;
use super::socket::Socket;
use super::{Link, Network, inside};
use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::config;
use crate::kernel::mountinfo::Mark;
use crate::plan::steps::cable::{Cable, host_mac};
use crate::plan::{Act, Asked, Presence, Step, Thoroughly};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Has a link do without IPv6: a bridge's port has no use for it, and of each there would be a route to all
/// multicast, all of which the kernel looks through whenever a link changes. Where /proc/sys cannot be written to,
/// it only takes longer.
fn without_ipv6(link: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1");
}

/// A cable whose host end has lost its name: the rest of it is the kernel's to take away.
#[derive(Debug)]
pub(super) struct Discarded {
    /// Of the host end.
    index: u32,
    alias: String,
}

/// What bears the name of a cable's host end.
enum Cabled {
    /// Nothing.
    Nothing,
    /// The cable.
    Ours(Link),
    /// What it is, in words.
    Foreign(String),
}

impl Act<&mut Network> for Cable {
    fn check(&self, network: &mut Network, _: &[Step]) -> Result<()> {
        if crate::kernel::privilege::has_entered() {
            let what = format!(
                "cannot make the cable {}: cables need root",
                self.cable.host
            );
            return Err(Error::new(Exit::Failed, what)
                .hint("leave BRIDGES away: an ordinary user has NET=user, NET=host, or lo alone"));
        }
        match &self.cable.bridge {
            Some(bridge) => network.bridge(bridge).map(drop),
            None => Ok(()),
        }
    }

    fn present(&self, network: &mut Network, asked: Asked<'_>) -> Result<Presence> {
        match asked.frozen {
            true => network.cable_still_present(self),
            false => network.cable_present(self),
        }
    }

    fn act(&self, network: &mut Network) -> Result<()> {
        network.make_cable(self)
    }

    fn undo(&self, network: &mut Network, _: Option<&Mark>, how: Thoroughly) -> Result<()> {
        match network.find_cable(self)? {
            Cabled::Nothing => Ok(()),
            Cabled::Foreign(what) => Err(left_alone(&what)),
            Cabled::Ours(link) => network.remove_cable(&self.netns, link, how.wait),
        }
    }
}

impl Network {
    pub(super) fn cable_present(&mut self, step: &Cable) -> Result<Presence> {
        Ok(match self.find_cable(step)? {
            Cabled::Nothing => Presence::Absent,
            Cabled::Ours(_) => Presence::Ours,
            Cabled::Foreign(what) => Presence::Foreign(what),
        })
    }

    /// Is a cable that was made still there? Its address, which no other has, tells for a tenth of what a
    /// look at the link costs; where that was changed, the link does.
    fn cable_still_present(&mut self, step: &Cable) -> Result<Presence> {
        let cable = &step.cable;
        let host = self.netlink.host()?;
        match host.address(&cable.host) {
            Ok(None) => Ok(Presence::Absent),
            Ok(Some(address)) if address == host_mac(cable.mac) => Ok(Presence::Ours),
            _ => self.cable_present(step),
        }
    }

    /// What bears the name of a cable's host end.
    fn find_cable(&mut self, step: &Cable) -> Result<Cabled> {
        let Cable {
            netns,
            alias,
            cable,
        } = step;
        let Some(link) = self.host_end(cable)? else {
            return Ok(Cabled::Nothing);
        };
        let ours = link.kind == "veth"
            && (link.alias == *alias
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

    fn host_end(&mut self, cable: &config::Cable) -> Result<Option<Link>> {
        let host = self.netlink.host()?;
        let doing = || format!("look for the link {}", cable.host);
        // Mostly there is none, and that is told for less.
        match host.index(&cable.host).doing(doing)? {
            None => Ok(None),
            Some(_) => self.netlink.link(&host, &cable.host).doing(doing),
        }
    }

    /// Is the inner end of `cable` the peer of `host`?
    fn is_peer(&mut self, name: &str, cable: &config::Cable, host: &Link) -> Result<bool> {
        let Found::Namespace(namespace) = named::find(name)? else {
            return Ok(false);
        };
        let handle = self.netlink.inner(name, &namespace)?;
        let inner = self.netlink.link(&handle, &cable.inner);
        let inner = inner.doing(|| format!("look for the link {}", cable.inner))?;
        Ok(inner.is_some_and(|inner| inner.peer == Some(host.index)))
    }

    fn make_cable(&mut self, step: &Cable) -> Result<()> {
        let made = self.add_cable(step).and_then(|()| self.configure(step));
        match made {
            // Also where only the answer was lost. What has the name already is not ours.
            Err(error) if error.errno != Some(Errno::EEXIST) => {
                let left = match self.find_cable(step) {
                    Ok(Cabled::Ours(link)) => self.remove_cable(&step.netns, link, true),
                    other => other.map(drop),
                };
                Err(error.also(left.err()))
            }
            other => other,
        }
    }

    fn add_cable(&mut self, step: &Cable) -> Result<()> {
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
                Errno::EEXIST if self.remove_discarded(step)? => add(self),
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
    fn remove_discarded(&mut self, step: &Cable) -> std::result::Result<bool, Errno> {
        let Cable {
            netns: name,
            alias,
            cable,
        } = step;
        let fail = |error: Error| error.errno.unwrap_or(Errno::EEXIST);
        let host = self.netlink.host().map_err(fail)?;
        let inner = self.handle(name).map_err(fail)?;
        let peer = self.netlink.link(&inner, &cable.inner)?;
        let Some(index) = peer.and_then(|inner| inner.peer) else {
            return Ok(false);
        };
        let links = self.netlink.links(&host, false)?;
        let ours = |link: &&Link| link.index == index && link.alias == *alias;
        match links.iter().find(ours) {
            Some(link) => self.netlink.delete(&host, link.index).map(|()| true),
            None => Ok(false),
        }
    }

    fn configure(&mut self, step: &Cable) -> Result<()> {
        let Cable {
            netns: name,
            alias,
            cable,
        } = step;
        let host = self.netlink.host()?;
        if cable.bridge.is_some() {
            without_ipv6(&cable.host);
        }
        let namespace = named::open(name)?;
        let inside = self.inside(name, &namespace)?;
        let mut addresses = &cable.addresses[..];
        let doing = |cidr| move || format!("give {} the address {cidr}", cable.inner);
        if let [first, others @ ..] = addresses
            && inside
                .first_address(&cable.inner, *first)
                .doing(doing(first))?
        {
            addresses = others;
        }
        inside
            .up(&cable.inner)
            .doing(|| format!("bring up {}", cable.inner))?;
        if !addresses.is_empty() {
            let inner = self.handle(name)?;
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
        // Last: what changes of a bridge's port that is up the kernel tells to all that listen, and each time
        // looks at the other ports and at every route.
        self.netlink
            .mark_and_up(&host, &cable.host, alias)
            .doing(|| format!("mark the link {} and bring it up", cable.host))
    }

    /// Takes away a cable of ours by its host end.
    fn remove_cable(&mut self, netns: &str, link: Link, wait: bool) -> Result<()> {
        let host = self.netlink.host()?;
        if !wait && self.has_peer_in(netns, &link)? && self.discard(&host, &link).is_ok() {
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

    /// Takes the name from a cable's host end, so that it is free at once. Off its bridge the kernel takes it when
    /// it takes it away.
    fn discard(&self, host: &Socket, link: &Link) -> std::result::Result<(), Errno> {
        let name = format!("gone{}", link.index);
        self.netlink.rename(host, link.index, &name).or_else(|_| {
            // Before Linux 6.2 one that is up cannot be renamed.
            self.netlink.down(host, link.index)?;
            self.netlink.rename(host, link.index, &name)
        })
    }

    /// Has nothing answer any more at the other ends of the cables that were left to the kernel.
    pub(super) fn silence_discarded(&mut self, namespace: &OwnedFd) {
        if self.discarded.is_empty() || inside::silence(namespace).is_ok() {
            return;
        }
        // Nobody is left to be told if that fails too: they end with their namespace, only later.
        if let Ok(host) = self.netlink.host() {
            for cable in &self.discarded {
                let _ = self.netlink.down(&host, cable.index);
            }
        }
    }

    /// Deletes the cables that were left to the kernel, as somebody keeps their namespace.
    ///
    /// # Errors
    /// The failed request.
    pub fn delete_discarded(&mut self) -> Result<()> {
        for cable in std::mem::take(&mut self.discarded) {
            self.delete_marked(cable.index, &cable.alias)?;
        }
        Ok(())
    }

    /// Is the other end in the namespace `name`, where we put it? Only then does it go with it.
    fn has_peer_in(&mut self, name: &str, link: &Link) -> Result<bool> {
        let Found::Namespace(namespace) = named::find(name)? else {
            return Ok(false);
        };
        let host = self.netlink.host()?;
        let id = self.netlink.netns_id(&host, namespace.as_fd());
        // An answer that does not come costs the time of an explicit removal.
        Ok(link.peer_netns.is_some() && id.unwrap_or(None) == link.peer_netns)
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
