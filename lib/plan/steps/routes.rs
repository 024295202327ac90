//! Routes inside a subhost's network.

use super::Kind;
use super::shell::Host;
use crate::base::envfile::quote;
use crate::config::Cidr;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Routes inside a named namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// The namespace.
    pub netns: String,
    /// Default gateways.
    pub gateways: Vec<IpAddr>,
    /// Network and gateway.
    pub routes: Vec<(Cidr, IpAddr)>,
}

impl Routes {
    /// All of them: the network, none for the default route, and its gateway.
    pub fn all(&self) -> impl Iterator<Item = (Option<Cidr>, IpAddr)> {
        let defaults = self.gateways.iter().map(|gateway| (None, *gateway));
        let others = self.routes.iter();
        defaults.chain(others.map(|(net, gateway)| (Some(*net), *gateway)))
    }
}

/// A network as `ip route` names it.
pub fn net_word(net: Option<Cidr>) -> String {
    net.map_or("default".into(), |net| net.to_string())
}

impl Kind for Routes {
    fn title(&self) -> String {
        format!("routes in {}", self.netns)
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        let netns = quote(&self.netns);
        let line = |(net, gateway)| {
            let net = net_word(net);
            format!("ip -n {netns} route add {net} via {gateway} proto static")
        };
        self.all().map(line).collect()
    }
}
