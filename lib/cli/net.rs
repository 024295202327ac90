//! The tool subhost-net(8): makes and removes networks.

use super::{Common, Tool, print};
use crate::base::error::Result;
use crate::plan::Part;
use clap::Parser;

/// Make or remove the network of subhosts
///
/// subhost-net makes the network namespace of each NAME and its cables. `ip netns` lists the namespace
/// under NAME. A cable is a veth pair: the host end NAME0, NAME1, ... is a port of a bridge of the host,
/// the inner end is eth0, eth1, ... in the namespace. subhost-net also sets the addresses and routes of
/// the config.
///
/// It leaves alone what is there already. If a step fails, it undoes what it did in this run.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-net",
    version,
    after_help = "Examples:
  subhost-net web               make the network of web
  subhost-net -n web            print the commands
  subhost-net -u web            remove it
  ip netns exec web ip address  show its addresses

Exit status:
  0   done, or nothing to do
  1   failed
  2   wrong usage
  4   no such subhost
  5   invalid config or state
  6   timed out
  75  busy: another command has locked the subhost, or it runs"
)]
pub struct NetTool {
    /// Remove the network; refused while the subhost runs
    #[arg(short, long)]
    pub undo: bool,
    /// Print shell commands that do the same, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Names of subhosts
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

impl Tool for NetTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        self.common.each(&self.names, |subhost| {
            match (self.dry_run, self.undo) {
                (true, false) => print(&subhost.script_up(Part::Net)?)?,
                (true, true) => print(&subhost.script_down(Part::Net)?)?,
                (false, false) => subhost.net()?,
                (false, true) => subhost.take_down(Part::Net)?,
            }
            Ok(0)
        })
    }
}
