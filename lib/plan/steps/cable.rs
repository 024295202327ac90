//! A cable: a veth pair between a bridge of the host and the network namespace of a subhost.

use super::Kind;
use super::shell::Host;
use crate::base::envfile::quote;
use crate::config;
use crate::config::Mac;
use serde::{Deserialize, Serialize};

/// A veth pair between the host and a named network namespace, and the addresses of its inner end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cable {
    /// The name of the network namespace.
    pub netns: String,
    /// The alias of the host end, `subhost:NAME:INDEX`. It marks the link as ours.
    pub alias: String,
    /// The settings of the pair.
    pub cable: config::Cable,
}

/// Returns the MAC of the host end. It is high, because a bridge takes the lowest MAC of its ports: the
/// bridge keeps its MAC when a cable comes or goes.
pub fn host_mac(inner: Mac) -> Mac {
    let [_, rest @ ..] = inner.0;
    let [b, c, d, e, f] = rest;
    Mac([0xfe, b, c, d, e, f])
}

impl Kind for Cable {
    fn title(&self) -> String {
        format!("the cable {}", self.cable.host)
    }

    fn link(&self) -> Option<&str> {
        Some(&self.cable.host)
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        let cable = &self.cable;
        let (host, inner) = (quote(&cable.host), &cable.inner);
        let netns = quote(&self.netns);
        let mtu = cable.mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"));
        let mut lines = vec![
            format!(
                "ip link add {host} address {}{mtu} type veth peer name {inner} address {}{mtu} netns {netns}",
                host_mac(cable.mac),
                cable.mac
            ),
            format!("ip link set {host} alias {}", quote(&self.alias)),
        ];
        if let Some(bridge) = &cable.bridge {
            lines.push(format!(
                "[ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/{host}/disable_ipv6"
            ));
            lines.push(format!("ip link set {host} master {}", quote(bridge)));
        }
        lines.push(format!("ip -n {netns} link set {inner} up"));
        for cidr in &cable.addresses {
            let more = match (cidr.address.is_ipv6(), cidr.prefix) {
                (true, _) => " nodad",
                (false, 32) => "",
                (false, _) => " brd +",
            };
            lines.push(format!(
                "ip -n {netns} address add {cidr}{more} dev {inner}"
            ));
        }
        lines.push(format!("ip link set {host} up"));
        lines
    }

    fn shell_down(&self) -> Vec<String> {
        vec![format!("ip link delete {}", quote(&self.cable.host))]
    }
}
