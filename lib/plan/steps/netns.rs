//! A named network namespace.

use super::Kind;
use super::shell::{self, Host};
use crate::base::envfile::quote;
use serde::{Deserialize, Serialize};

/// A named network namespace with `lo` up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Netns {
    /// Its name in /run/netns.
    pub name: String,
    /// The first host id of the user namespace that owns it; none if the host's user namespace does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
}

impl Kind for Netns {
    fn title(&self) -> String {
        format!("the network namespace {}", self.name)
    }

    fn namespace(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn shell_up(&self, _: &Host) -> Vec<String> {
        let name = quote(&self.name);
        let mut lines = match self.ids {
            None => vec![format!("ip netns add {name}")],
            // A process holds both namespaces until the network namespace has its name.
            Some(base) => {
                let mut lines = shell::start_in_namespaces(base, "net", "--user --net");
                lines.push(format!("ip netns attach {name} $p"));
                lines.push(shell::END.to_owned());
                lines
            }
        };
        lines.push(format!("ip -n {name} link set lo up"));
        lines
    }

    fn shell_down(&self) -> Vec<String> {
        vec![format!("ip netns delete {}", quote(&self.name))]
    }
}
