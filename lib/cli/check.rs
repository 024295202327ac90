//! The tool subhost-check(8): prints what the host lacks and what is left.

use super::messages::to_json;
use super::{Common, Tool, print};
use crate::base::error::{Result, shown};
use crate::check::{self, Ability, Debris, Found, Level, Outcome, State};
use clap::Parser;
use std::time::Duration;

/// The number of holders that are named for each leftover.
const HOLDERS_SHOWN: usize = 8;

/// Check the host, and look for leftovers
///
/// subhost-check looks at three things. First, the abilities of the host: kernel, file systems, cgroups,
/// limits. For each missing one it prints what does not work without it and how to get it. Second,
/// leftovers: processes, mounts, links, network namespaces, loop devices, cgroups and state that no
/// subhost owns. For each it prints why no subhost owns it and which processes use it. Third, running
/// subhosts: what of their root or network was changed by other means, such as a cable that was deleted
/// or renamed. It prints these with the leftovers, with the kind changed; --repair leaves them alone, and
/// subhost-start mends the network.
///
/// Without --repair it changes nothing and loads no kernel module. With --repair it locks the subhost
/// of each leftover, looks again, and removes what it can remove without force. It only prints what a
/// command is working on, what a process uses, and what the commands did not make.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-check",
    version,
    after_help = "Examples:
  subhost-check               what is missing, and leftovers
  subhost-check -v            the same, and all that is fine
  subhost-check --repair      remove leftovers
  subhost-check -q            for cron: silent if all is well
  subhost-check --json | jq -r '.left[] | select(.level == \"left\").object'

Notes:
  A note is not a fault. An example is a set of mounts that a script made exactly as the commands would.
  --repair removes them too. Without --wait, subhost-check does not wait for a subhost that another command
  has locked.

Exit status:
  0   nothing essential is missing, no leftover remains, no running subhost was changed
  1   something essential is missing, a leftover remains, or a running subhost was changed
  2   wrong usage"
)]
pub struct CheckTool {
    /// Remove leftovers that can be removed without force
    #[arg(long)]
    pub repair: bool,
    /// Print JSON: an object with host and left
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
}

impl Tool for CheckTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        let tree = self.common.tree()?;
        let host = check::host(&tree);
        let mut left = check::left(&tree)?;
        if self.repair {
            let wait = self.common.wait.unwrap_or(Duration::ZERO);
            left = check::repair(&tree, left, wait)?;
        }
        let found = Found { host, left };
        if self.json {
            print(&to_json(&found)?)?;
        } else {
            let verbosity = match (self.common.quiet, self.common.verbose) {
                (true, _) => Verbosity::Quiet,
                (_, true) => Verbosity::All,
                _ => Verbosity::Usual,
            };
            print(&text(&found, verbosity))?;
        }
        Ok(if found.is_well() { 0 } else { 1 })
    }
}

/// What is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbosity {
    /// The missing abilities and the leftovers.
    Quiet,
    /// These, the notes, and a line for each of the two parts.
    Usual,
    /// All of it, with the abilities that the host has.
    All,
}

fn text(found: &Found, verbosity: Verbosity) -> String {
    let is_quiet = verbosity == Verbosity::Quiet;
    let mut out = String::new();
    let present = found
        .host
        .iter()
        .filter(|a| a.state != State::Missing)
        .count();
    let all = found.host.len();
    if !is_quiet {
        out += &match present == all {
            true => format!("host: all {all} abilities there\n"),
            false => format!("host: {present} of {all} abilities there\n"),
        };
    }
    for ability in &found.host {
        let is_printed = match ability.state {
            State::Missing => true,
            State::Note => !is_quiet,
            State::Ok => verbosity == Verbosity::All,
        };
        if is_printed {
            out += &ability_lines(ability);
        }
    }
    if !is_quiet {
        let left = found.left.iter().filter(|debris| debris.is_left()).count();
        out += &match left {
            0 => "left: nothing\n".to_owned(),
            1 => "left: 1 thing\n".to_owned(),
            more => format!("left: {more} things\n"),
        };
    }
    for debris in &found.left {
        if debris.is_left() || !is_quiet {
            out += &debris_lines(debris);
        }
    }
    out
}

fn ability_lines(ability: &Ability) -> String {
    let state = match ability.state {
        State::Ok => "ok",
        State::Missing => "missing",
        State::Note => "note",
    };
    let mut text = format!("  {state:<8} {}", ability.name);
    if !ability.found.is_empty() {
        text += &format!(": {}", shown(&ability.found));
    }
    text.push('\n');
    for more in [&ability.costs, &ability.remedy] {
        if !more.is_empty() {
            text += &format!("           {}\n", shown(more));
        }
    }
    text
}

fn debris_lines(debris: &Debris) -> String {
    let name = debris
        .subhost
        .as_ref()
        .map_or(String::new(), |name| format!("{name}: "));
    let note = match debris.level {
        Level::Left => "",
        Level::Note => "note: ",
    };
    let mut text = format!(
        "  {note}{name}{} {}\n",
        debris.kind.as_str(),
        shown(&debris.object)
    );
    let mut line = |more: String| text += &format!("           {}\n", shown(more));
    line(debris.why.clone());
    for held in debris.holders.iter().take(HOLDERS_SHOWN) {
        let namespace = held
            .mount_namespace
            .map_or(String::new(), |inode| format!(", mount namespace {inode}"));
        line(format!("pid {} ({}){namespace}", held.pid, held.command));
    }
    match debris.holders.len().saturating_sub(HOLDERS_SHOWN) {
        0 => {}
        more => line(format!("and {more} more")),
    }
    match &debris.outcome {
        None if debris.remedy.is_empty() => {}
        None => line(debris.remedy.clone()),
        Some(Outcome::Repaired) => line("repaired".into()),
        Some(Outcome::Failed(why)) => line(format!("cannot repair: {why}")),
    }
    text
}
