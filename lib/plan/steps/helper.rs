//! The helper of NET=user: a process that carries the traffic of an ordinary user's network namespace.

use super::Kind;
use super::shell::Host;
use crate::base::envfile::quote;
use crate::base::paths;
use serde::{Deserialize, Serialize};

/// The address of the name server inside. The helper forwards queries to the name server of the host.
pub const DNS: &str = "10.0.2.3";

/// The command line of a program that can be the helper. `NETNS` stands for the path of the network
/// namespace.
pub type Carrier = [&'static str];

/// The supported programs, in the order of preference.
pub const KNOWN: [&Carrier; 2] = [
    &[
        "/usr/bin/pasta",
        "--foreground",
        "--quiet",
        "--config-net",
        "--no-map-gw",
        "--tcp-ports",
        "none",
        "--udp-ports",
        "none",
        "--tcp-ns",
        "none",
        "--udp-ns",
        "none",
        "--dns-forward",
        DNS,
        "--netns-only",
        "--netns",
        "NETNS",
    ],
    &[
        "/usr/bin/slirp4netns",
        "--configure",
        "--disable-host-loopback",
        "--netns-type=path",
        "NETNS",
        "eth0",
    ],
];

/// A process that carries the traffic of a named network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Helper {
    /// The name of the network namespace.
    pub netns: String,
}

impl Helper {
    /// Returns the command line of `carrier` for this network namespace.
    pub fn command_line(&self, carrier: &Carrier) -> Vec<String> {
        let path = paths::netns(&self.netns).to_string_lossy().into_owned();
        let word = |word: &&str| match *word {
            "NETNS" => path.clone(),
            word => word.to_owned(),
        };
        carrier.iter().map(word).collect()
    }
}

impl Kind for Helper {
    fn title(&self) -> String {
        format!("the helper of the network {}", self.netns)
    }

    fn shell_up(&self, host: &Host) -> Vec<String> {
        let Some(carrier) = host.carrier else {
            return Vec::new();
        };
        // Without --foreground pasta detaches itself when it is ready. slirp4netns has no such option.
        let line = self.command_line(carrier);
        let words = line.iter().filter(|word| *word != "--foreground");
        let words: Vec<String> = words.map(|word| quote(word)).collect();
        let detaches = words.len() < line.len();
        vec![match detaches {
            true => words.join(" "),
            false => format!("{} &", words.join(" ")),
        }]
    }

    /// The helper does not end with its network namespace, so the script kills it.
    fn shell_down(&self) -> Vec<String> {
        vec![format!(
            "kill -KILL \"$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' /run/subhost/{}/helper)\"",
            quote(&self.netns)
        )]
    }
}
