//! Routes in the network namespace of a subhost. The kernel removes them with the namespace.

use super::Network;
use super::named::{self, Found};
use crate::base::error::{Doing, Result};
use crate::config::Cidr;
use crate::kernel::mountinfo::Mark;
use crate::plan::steps::routes::{Routes, destination_word};
use crate::plan::{Act, Presence, PresenceQuery, UndoOptions};
use std::net::IpAddr;

impl Act<&mut Network> for Routes {
    fn present(&self, network: &mut Network, _: PresenceQuery<'_>) -> Result<Presence> {
        let Found::Namespace(namespace) = named::find(&self.netns)? else {
            return Ok(Presence::Absent);
        };
        let socket = network.netlink.inner(&self.netns, &namespace)?;
        let existing = network.netlink.routes(&socket).doing(|| "list routes")?;
        let wanted = |(net, gateway): (Option<Cidr>, IpAddr)| match net {
            Some(net) => (Some(net.address), net.prefix, gateway),
            None => (None, 0, gateway),
        };
        let all = self.all().map(wanted).all(|wanted| {
            existing.iter().any(|&(to, prefix, gateway)| {
                (to.filter(|_| prefix > 0), prefix, gateway) == wanted
            })
        });
        Ok(if all {
            Presence::Ours
        } else {
            Presence::Absent
        })
    }

    fn act(&self, network: &mut Network) -> Result<()> {
        let socket = network.netlink_socket(&self.netns)?;
        for (net, gateway) in self.all() {
            network
                .netlink
                .add_route(&socket, net, gateway)
                .doing(|| format!("add the route {} via {gateway}", destination_word(net)))?;
        }
        Ok(())
    }

    fn undo(&self, _: &mut Network, _: Option<&Mark>, _: UndoOptions) -> Result<()> {
        Ok(())
    }
}
