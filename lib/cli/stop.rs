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
/// subhost-stop ends the processes of each NAME, unmounts its root and removes its network. It first
/// sends RUN or INIT the signal of STOP, or runs the command of STOP inside. After STOP_TIMEOUT it kills
/// what is left and names it in a warning. subhost-info shows that as the last run. On a terminal
/// subhost-stop shows what it waits for. --set STOP_TIMEOUT=3s sets the time for this stop.
///
/// It needs no config: it stops a subhost whose config is missing, invalid or changed. It also removes
/// what an interrupted command left of a subhost. If nothing is up, there is nothing to do.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-stop",
    version,
    after_help = "Examples:
  subhost-stop web          stop it
  subhost-stop --keep web   end its processes only: it hibernates
  subhost-stop --all        stop all that are up
  subhost-stop --set STOP_TIMEOUT=3s web
  subhost-stop -n web       print the commands

Notes:
  If a process of the host uses the root or the network, the message names it. End the process and stop
  again, or use --kill-holders or --lazy. If PID 1 does not end on KILL, it waits for a disk or a network
  file system: make that answer, and stop again.

Exit status:
  0   done, or nothing to do
  1   failed: something is left, or a hook failed; the message says which
  2   wrong usage
  4   no such subhost
  5   invalid state
  6   timed out: PID 1 does not end on KILL, or a hook was killed after HOOK_TIMEOUT
  75  busy: another command has locked the subhost"
)]
pub struct StopTool {
    /// End the processes only: the subhost hibernates
    #[arg(short = 'K', long)]
    pub keep: bool,
    /// Send KILL at once
    #[arg(short, long)]
    pub kill: bool,
    /// Also kill processes of the host that use its root, in any mount namespace, or its network
    #[arg(long, conflicts_with = "keep")]
    pub kill_holders: bool,
    /// Detach mounts that stay busy, and name the processes that use them
    #[arg(short = 'l', long = "lazy", conflicts_with = "keep")]
    pub lazy: bool,
    /// Wait until the kernel has released everything, and name the processes that prevent it
    #[arg(long, conflicts_with = "keep")]
    pub sync: bool,
    /// Stop all that are up
    #[arg(long)]
    pub all: bool,
    /// Print shell commands that do the same, and change nothing
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
            false => &Part::FROM_CONFIG,
        };
        let stop = |subhost: &Subhost| {
            match self.dry_run {
                true => print(&subhost.script_stop(parts)?)?,
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
            Part::FROM_CONFIG
                .iter()
                .any(|part| matches!(subhost.frozen(*part), Ok(Some(_))))
        }));
        names.sort();
        names.dedup();
        Ok(names.iter().map(ToString::to_string).collect())
    }
}
