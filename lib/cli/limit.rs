//! The tool subhost-limit(8): prints and changes limits, freezes and thaws.

use super::info::limit_hits;
use super::messages::{field_line, to_json};
use super::{Common, Tool, print};
use crate::base::error::{Error, Exit, Result};
use crate::base::words::bytes;
use crate::cgroup::Usage;
use clap::Parser;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Show and change limits of a running subhost
///
/// Without KEY=VALUE subhost-limit prints the limits of NAME, what it uses, and how often it reached a
/// limit. With KEY=VALUE it changes these limits at once, all of them or none. They last until the next
/// boot, which takes the limits of the config.
///
/// The keys are CPUS, CPU_WEIGHT, CPUSET, MEMORY, MEMORY_SWAP, PIDS, IO_WEIGHT and IO, as in
/// subhost.config(5). An empty VALUE removes the limit.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-limit",
    version,
    after_help = "Examples:
  subhost-limit web                        show limits and use
  subhost-limit web MEMORY=512M CPUS=1.5   change two limits
  subhost-limit web CPUS=                  remove one
  subhost-limit --freeze web               freeze it; --thaw thaws it

Notes:
  If MEMORY is less than what is in use, the kernel takes back what it can. With cgroup v2 it may then
  kill processes inside. With cgroup v1 it refuses the change.

Exit status:
  0   done
  1   failed; the limits are as before
  2   wrong usage
  3   not running
  4   no such subhost
  5   invalid value
  6   timed out
  75  busy: another command has locked the subhost"
)]
pub struct LimitTool {
    /// Freeze all processes inside: they stay in memory and do not run
    #[arg(long, conflicts_with_all = ["thaw", "limits", "json"])]
    pub freeze: bool,
    /// Thaw them: they run again
    #[arg(long, conflicts_with_all = ["limits", "json"])]
    pub thaw: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "limits")]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Name of the subhost
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Limits to change
    #[arg(value_name = "KEY=VALUE")]
    pub limits: Vec<String>,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Limits {
    name: String,
    frozen: bool,
    limits: BTreeMap<String, String>,
    usage: Usage,
    cgroups: Vec<PathBuf>,
}

impl Tool for LimitTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        self.common
            .each(std::slice::from_ref(&self.name), |subhost| {
                if self.freeze || self.thaw {
                    match self.freeze {
                        true => subhost.freeze()?,
                        false => subhost.thaw()?,
                    }
                    return Ok(0);
                }
                if !self.limits.is_empty() {
                    subhost.limit(&self.limits)?;
                    return Ok(0);
                }
                subhost.must_exist()?;
                if subhost.running()?.is_none() {
                    return Err(Error::new(Exit::NotRunning, "it is not running")
                        .hint(format!("subhost-config {} shows what is set", self.name)));
                }
                let group = subhost.state().cgroups()?;
                let limits = Limits {
                    name: subhost.name().to_string(),
                    frozen: group.is_frozen(),
                    usage: group.usage(),
                    cgroups: group.dirs.iter().map(|dir| dir.path.clone()).collect(),
                    limits: group.settings,
                };
                match self.json {
                    true => print(&to_json(&limits)?)?,
                    false => print(&text(&limits))?,
                }
                Ok(0)
            })
    }
}

fn text(limits: &Limits) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            out += &field_line(key, &value);
        }
    };
    let usage = &limits.usage;
    for (key, value) in &limits.limits {
        line("Limit", Some(format!("{key}={value}")));
    }
    let cpu = usage.cpu.map(|micros| micros as f64 / 1e6);
    line("CPU use", cpu.map(|cpu| format!("{cpu:.2} seconds")));
    let used_of_max = |used: Option<u64>, max: Option<u64>, show: fn(u64) -> String| {
        used.map(|used| match max {
            Some(max) => format!("{} of {}", show(used), show(max)),
            None => show(used),
        })
    };
    line(
        "Memory use",
        used_of_max(usage.memory, usage.memory_max, bytes),
    );
    line(
        "Processes",
        used_of_max(usage.pids, usage.pids_max, |count| count.to_string()),
    );
    line("Limit hits", limit_hits(usage));
    line("Frozen", limits.frozen.then(|| "yes".to_owned()));
    for cgroup in &limits.cgroups {
        line("Cgroup", Some(crate::base::error::shown(cgroup)));
    }
    out
}
