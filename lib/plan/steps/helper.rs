//! NET=user: a process that carries what goes in and out of an ordinary user's network.

use super::Kind;
use super::shell::Host;
use crate::base::envfile::quote;
use crate::base::paths;
use serde::{Deserialize, Serialize};

/// Where queries for names go inside: the helper hands them to the host's name server.
pub const DNS: &str = "10.0.2.3";

/// A program that can be the helper: its path and arguments. `NETNS` stands for the namespace.
pub type Carrier = [&'static str];

/// Those that are known, the better first.
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

/// A process that carries what goes in and out of a named namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Helper {
    /// The namespace.
    pub netns: String,
}

impl Helper {
    /// The command line of `carrier` for this network.
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
        // It goes into the background when it is ready, or has no such option.
        let line = self.command_line(carrier);
        let words = line.iter().filter(|word| *word != "--foreground");
        let words: Vec<String> = words.map(|word| quote(word)).collect();
        let goes_by_itself = words.len() < line.len();
        vec![match goes_by_itself {
            true => words.join(" "),
            false => format!("{} &", words.join(" ")),
        }]
    }

    /// It would stay else.
    fn shell_down(&self) -> Vec<String> {
        vec![format!(
            "kill -KILL \"$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' /run/subhost/{}/helper)\"",
            quote(&self.netns)
        )]
    }
}
