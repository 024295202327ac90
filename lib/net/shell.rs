//! Network steps as the `ip` commands that a person knows, for `-n`.

use super::host_mac;
use crate::base::envfile::quote;
use crate::kernel::userns;
use crate::plan::Step;

/// The commands that do `step`.
pub fn up(step: &Step) -> Vec<String> {
    match step {
        Step::Netns { name, ids } => {
            let add = match ids {
                None => vec![format!("ip netns add {}", quote(name))],
                Some(base) => owned(name, *base),
            };
            let up = format!("ip -n {} link set lo up", quote(name));
            add.into_iter().chain([up]).collect()
        }
        Step::Cable {
            netns,
            alias,
            cable,
        } => {
            let (host, inner, netns) = (quote(&cable.host), &cable.inner, quote(netns));
            let mtu = cable.mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"));
            let mut lines = vec![
                format!(
                    "ip link add {host} address {}{mtu} type veth peer name {inner} address {}{mtu} netns {netns}",
                    host_mac(cable.mac),
                    cable.mac
                ),
                format!("ip link set {host} alias {}", quote(alias)),
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
        Step::Helper { netns } => match super::helper::command_line(netns) {
            // It goes into the background when it is ready.
            Ok(line) => {
                let words = line.iter().filter(|word| *word != "--foreground");
                let words: Vec<String> = words.map(|word| quote(word)).collect();
                let words = words.join(" ");
                vec![match line.len() {
                    ..=6 => format!("{words} &"),
                    _ => words,
                }]
            }
            Err(_) => vec![],
        },
        Step::Routes {
            netns,
            gateways,
            routes,
        } => {
            let defaults = gateways
                .iter()
                .map(|gateway| ("default".to_owned(), gateway));
            let others = routes
                .iter()
                .map(|(net, gateway)| (net.to_string(), gateway));
            let line = |(net, gateway): (String, _)| {
                format!(
                    "ip -n {} route add {net} via {gateway} proto static",
                    quote(netns)
                )
            };
            defaults.chain(others).map(line).collect()
        }
        _ => vec![],
    }
}

/// A namespace that belongs to a user namespace: a process holds both until it has its name.
fn owned(name: &str, base: u32) -> Vec<String> {
    let mut lines = userns::shell(base, "net", "--user --net");
    lines.push(format!("ip netns attach {} $p", quote(name)));
    lines.push(userns::SHELL_END.to_owned());
    lines
}

/// The commands that undo `step`.
pub fn down(step: &Step) -> Vec<String> {
    match step {
        Step::Netns { name, .. } => vec![format!("ip netns delete {}", quote(name))],
        // It would stay else.
        Step::Helper { netns } => vec![format!(
            "kill -KILL \"$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' /run/subhost/{}/helper)\"",
            quote(netns)
        )],
        Step::Cable { cable, .. } => vec![format!("ip link delete {}", quote(&cable.host))],
        _ => vec![],
    }
}
