//! The tool subhost-info(8): prints everything about subhosts.

use super::common::keep_first;
use super::messages::{field_line, to_json};
use super::{Common, Tool, print};
use crate::base::error::{Exit, Result, shown};
use crate::base::name::Name;
use crate::base::words::{bytes, span};
use crate::cgroup::Usage;
use crate::report::{Look, Row, describe_last, rows};
use clap::Parser;

/// Show all about subhosts
///
/// subhost-info prints the state of each NAME, its PID 1, its addresses, the CPU time and memory that
/// its processes use, the bytes that its cables carried, where its root is mounted, how its last run
/// ended, and which of its settings weaken its confinement.
///
/// The line Problem says why a subhost is broken or invalid. For a running subhost it names what of its
/// root or network was changed by other means, such as a cable that was deleted, renamed or taken off
/// its bridge; subhost-start mends the network.
///
/// The line Config changed says whether keys of its root or network changed since these were made. It
/// does not compare keys of processes, such as RUN.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-info",
    version,
    after_help = "Examples:
  subhost-info web
  subhost-info --json web | jq .memory
  subhost-info web >/dev/null || subhost-start web

Exit status:
  0   running
  1   failed
  2   wrong usage
  3   not running
  4   no such subhost
Of several it is the first status that is not 0."
)]
pub struct InfoTool {
    /// Print JSON: an object for one NAME, an array for several
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Names of subhosts
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

impl Tool for InfoTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        let mut first = 0;
        let mut all = Vec::new();
        let tree = self.common.tree()?;
        for text in &self.names {
            let status = match self.common.existing_name(text) {
                Err(error) => {
                    super::report(Name::new(text).ok().as_ref(), &error);
                    error.exit as u8
                }
                Ok(name) => {
                    let found = rows(&tree, Some(&[name]), Look::Whole)?;
                    let running = found.iter().all(|row| row.pid.is_some());
                    all.extend(found);
                    if running { 0 } else { Exit::NotRunning as u8 }
                }
            };
            keep_first(&mut first, status);
        }
        if self.json {
            let text = match &all[..] {
                // For one NAME the output is an object, for several an array. An object goes through a Value,
                // so its keys are sorted.
                [row] if self.names.len() == 1 => {
                    let text = to_json(row)?;
                    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                    format!("{value:#}\n")
                }
                rows => to_json(rows)?,
            };
            print(&text)?;
        } else {
            let texts: Vec<String> = all.iter().map(text).collect();
            print(&texts.join("\n"))?;
        }
        Ok(first)
    }
}

fn text(row: &Row) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            out += &field_line(key, &value);
        }
    };
    line("Name", Some(row.name.clone()));
    line("State", Some(row.state.clone()));
    line("Problem", row.problem.clone());
    line("PID", row.pid.map(|pid| pid.to_string()));
    line("Booted by", row.booted_by.clone());
    line("Uptime", row.uptime.map(span));
    for address in &row.addresses {
        line("IP", Some(address.clone()));
    }
    line("CPU use", row.cpu.map(|cpu| format!("{cpu:.2} seconds")));
    line("Memory use", row.memory.map(bytes));
    line("Processes", row.processes.map(|count| count.to_string()));
    for (key, value) in &row.limits {
        line("Limit", Some(format!("{key}={value}")));
    }
    line("Limit hits", limit_hits(&row.usage));
    for link in &row.links {
        line("Link", Some(link.link.clone()));
        line(" TX bytes", Some(bytes(link.tx)));
        line(" RX bytes", Some(bytes(link.rx)));
        line(" Total bytes", Some(bytes(link.tx + link.rx)));
    }
    line("Type", row.kind.clone());
    line("Root", row.root.as_ref().map(shown));
    let ids = row.ids.map(|(first, last)| format!("{first}-{last}"));
    let shared = || row.root.is_some().then(|| "the host's".to_owned());
    line("Ids", ids.or_else(shared));
    for mount in &row.mounts {
        line("Mount", Some(shown(mount)));
    }
    line("Last run", row.last.as_ref().map(describe_last));
    let changed = |yes| {
        if yes {
            "yes, applies after a stop"
        } else {
            "no"
        }
        .to_owned()
    };
    line("Config changed", row.changed.map(changed));
    for weakened in &row.weakened {
        line("Weakened", Some(weakened.clone()));
    }
    out
}

/// Describes how often the subhost has hit which limits; none if it has hit none.
pub(super) fn limit_hits(usage: &Usage) -> Option<String> {
    let count = |count: Option<u64>, what: &str| match count {
        Some(count @ 1..) => Some(format!("{what} {count}")),
        _ => None,
    };
    let all: Vec<String> = [
        count(usage.throttled, "CPU"),
        count(usage.memory_hits, "memory"),
        count(usage.oom_kills, "killed for want of memory"),
        count(usage.pids_hits, "processes"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!all.is_empty()).then(|| all.join(", "))
}
