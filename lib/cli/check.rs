//! `subhost-check`.

use super::{Common, Tool, print};
use crate::base::error::{Error, Exit, Result, shown};
use crate::check::{self, Ability, Debris, Found, Level, Outcome, State};
use clap::Parser;
use std::time::Duration;

/// How many processes are named for one thing.
const TOLD: usize = 8;

/// Check the host, and look for leftovers
///
/// subhost-check looks at two things. First, the abilities of the host: kernel, file systems, cgroups,
/// limits. For each one that is missing it prints what does not work without it and how to get it.
/// Second, leftovers: processes, mounts, links, network namespaces, loop devices, cgroups and state
/// that no subhost owns. For each it prints why no subhost owns it and which processes use it.
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
  A note is not a fault, as a set of mounts that a script made exactly as the commands would. --repair
  removes that as well. Without --wait, subhost-check does not wait for a subhost that another command
  has locked.

Exit status:
  0   nothing essential is missing and no leftover remains
  1   something essential is missing, or a leftover remains
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
        self.common.be_root()?;
        let tree = self.common.tree()?;
        let host = check::host(&tree);
        let mut left = check::left(&tree)?;
        if self.repair {
            let wait = self.common.wait.unwrap_or(Duration::ZERO);
            left = check::repair(&tree, left, wait)?;
        }
        let found = Found { host, left };
        if self.json {
            let text = serde_json::to_string_pretty(&found)
                .map_err(|e| Error::new(Exit::Failed, format!("cannot put it into JSON: {e}")))?;
            print(&(text + "\n"))?;
        } else {
            let talk = match (self.common.quiet, self.common.verbose) {
                (true, _) => Talk::Quiet,
                (_, true) => Talk::All,
                _ => Talk::Usual,
            };
            print(&text(&found, talk))?;
        }
        Ok(if found.is_well() { 0 } else { 1 })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// What is missing and what is left.
    Quiet,
    /// And notes, and a line for each part.
    Usual,
    /// And what is fine.
    All,
}

fn text(found: &Found, talk: Talk) -> String {
    let mut out = String::new();
    let there = found
        .host
        .iter()
        .filter(|a| a.state != State::Missing)
        .count();
    let all = found.host.len();
    if talk != Talk::Quiet {
        out += &match there == all {
            true => format!("host: all {all} abilities there\n"),
            false => format!("host: {there} of {all} abilities there\n"),
        };
    }
    for ability in &found.host {
        let is_told = match ability.state {
            State::Missing => true,
            State::Note => talk != Talk::Quiet,
            State::Ok => talk == Talk::All,
        };
        if is_told {
            out += &line_of(ability);
        }
    }
    if talk != Talk::Quiet {
        let left = found.left.iter().filter(|debris| debris.is_left()).count();
        out += &match left {
            0 => "left: nothing\n".to_owned(),
            1 => "left: 1 thing\n".to_owned(),
            more => format!("left: {more} things\n"),
        };
    }
    for debris in &found.left {
        if debris.is_left() || talk != Talk::Quiet {
            out += &lines_of(debris);
        }
    }
    out
}

fn line_of(ability: &Ability) -> String {
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

fn lines_of(debris: &Debris) -> String {
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
    for held in debris.holders.iter().take(TOLD) {
        let namespace = held
            .mount_namespace
            .map_or(String::new(), |inode| format!(", mount namespace {inode}"));
        line(format!("pid {} ({}){namespace}", held.pid, held.command));
    }
    match debris.holders.len().saturating_sub(TOLD) {
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
