//! Routes in the network namespace of a subhost.

use super::Kind;
use super::shell::Host;
use crate::base::envfile::quote;
use crate::config::Cidr;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Routes in a named network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// The name of the network namespace.
    pub netns: String,
    /// The gateways of the default routes.
    pub gateways: Vec<IpAddr>,
    /// The other routes: destination and gateway.
    pub routes: Vec<(Cidr, IpAddr)>,
}

impl Routes {
    /// Returns all routes: the destination, none for the default route, and the gateway.
    pub fn all(&self) -> impl Iterator<Item = (Option<Cidr>, IpAddr)> {
        let defaults = self.gateways.iter().map(|gateway| (None, *gateway));
        let others = self.routes.iter();
        defaults.chain(others.map(|(net, gateway)| (Some(*net), *gateway)))
    }
}

/// Returns a destination as `ip route` writes it.
pub fn destination_word(net: Option<Cidr>) -> String {
    net.map_or("default".into(), |net| net.to_string())
}

impl Kind for Routes {
    fn title(&self) -> String {
        format!("routes in {}", self.netns)
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        let netns = quote(&self.netns);
        let line = |(net, gateway)| {
            let net = destination_word(net);
            format!("ip -n {netns} route add {net} via {gateway} proto static")
        };
        self.all().map(line).collect()
    }
}
