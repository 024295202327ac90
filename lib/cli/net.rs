//! The tool subhost-net(8): makes and removes networks.

use super::{Common, Tool, print};
use crate::base::error::Result;
use crate::plan::Part;
use clap::Parser;

/// Make the network of subhosts
///
/// Makes the named network namespace of each NAME, as `ip netns` knows it, and its cables: veth
/// pairs from NAME0, NAME1, ... on the host's bridges to eth0, eth1, ... inside, with addresses and
/// routes. What is there already is left. If a step fails, what this run did is undone.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-net",
    version,
    after_help = "Examples:
  subhost-net web               make it
  subhost-net -n web            show the commands that would
  subhost-net -u web            take it down
  ip netns exec web ip address  look at it

Status: 0 done or already so, 1 failed, 2 usage, 4 no such subhost, 5 invalid config or state,
6 timed out, 75 busy or running."
)]
pub struct NetTool {
    /// Take it down instead
    #[arg(short, long)]
    pub undo: bool,
    /// Print the shell commands that would be run, and do nothing
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
                (true, true) => print(&subhost.script_down(&[Part::Net], false)?)?,
                (false, false) => subhost.net()?,
                (false, true) => subhost.take_down(Part::Net)?,
            }
            Ok(0)
        })
    }
}
