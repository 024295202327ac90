//! The tool subhost-stop(8): stops subhosts.

use super::{Common, Tool, print};
use crate::base::error::Result;
use crate::config;
use crate::plan::Part;
use crate::state;
use crate::subhost::{StopHow, Subhost};
use clap::Parser;

/// Stop subhosts
///
/// Ends the processes of each NAME (STOP, then KILL after STOP_TIMEOUT), then takes down its root
/// and its network. Works with the config missing, broken or changed. Stopping what is not
/// running is fine: what is left of it goes.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-stop",
    version,
    after_help = "Examples:
  subhost-stop web          stop it
  subhost-stop --keep web   end its processes only: it hibernates
  subhost-stop --all        all that are up
  subhost-stop -n web       show the commands that would

Status: 0 done or already so, 1 something is left (the message says what, and who holds it),
2 usage, 4 no such subhost, 5 invalid state, 6 timed out, 75 busy."
)]
pub struct StopTool {
    /// End processes only; root and network stay up
    #[arg(short = 'K', long)]
    pub keep: bool,
    /// KILL at once
    #[arg(short, long)]
    pub kill: bool,
    /// Also end processes of the host that hold its tree, in whatever mount namespace, or its network
    #[arg(long, conflicts_with = "keep")]
    pub kill_holders: bool,
    /// Detach mounts that stay busy, and say who holds them
    #[arg(short = 'l', long = "lazy", conflicts_with = "keep")]
    pub lazy: bool,
    /// Wait until the kernel has done with everything, and say who keeps it from that
    #[arg(long, conflicts_with = "keep")]
    pub sync: bool,
    /// All that are up
    #[arg(long)]
    pub all: bool,
    /// Print the shell commands that would be run, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Names of subhosts
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub names: Vec<String>,
}

impl Tool for StopTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        let how = StopHow {
            keep: self.keep,
            kill: self.kill,
            kill_holders: self.kill_holders,
            detach: self.lazy,
            sync: self.sync,
        };
        let names = match self.all {
            true => self.names_up()?,
            false => self.names.clone(),
        };
        let parts: &[Part] = match self.keep {
            true => &[],
            false => &Part::SETTLED,
        };
        let stop = |subhost: &Subhost| {
            match self.dry_run {
                true => print(&subhost.script_down(parts, true)?)?,
                false => subhost.stop(how)?,
            }
            Ok(0)
        };
        match self.all && !self.dry_run {
            true => self.common.each_in_parallel(&names, stop),
            // NAMEs on the command line are stopped in their order.
            false => self.common.each(&names, stop),
        }
    }
}

impl StopTool {
    /// Returns the subhosts of this $SUBHOST that may be up: those with frozen plans, and those with a
    /// config, since a script of `subhost-mount -n` may have mounted them.
    fn names_up(&self) -> Result<Vec<String>> {
        let tree = self.common.tree()?;
        let mut names = config::names(&tree)?;
        names.extend(state::names().into_iter().filter(|name| {
            let subhost = Subhost::new(&tree, name, &[]);
            // `frozen` fails for a subhost of another $SUBHOST, which we must not stop.
            Part::SETTLED
                .iter()
                .any(|part| matches!(subhost.frozen(*part), Ok(Some(_))))
        }));
        names.sort();
        names.dedup();
        Ok(names.iter().map(ToString::to_string).collect())
    }
}
