//! The tool subhost-mount(8): mounts and unmounts roots.

use super::{Common, Tool, print};
use crate::base::error::Result;
use crate::plan::Part;
use clap::Parser;

/// Mount the root of subhosts
///
/// Mounts the root file system of each NAME on its live directory: an overlay of its root over
/// LOWER, a recursive bind of its root, or either from an image file. What is mounted already is
/// left. If a step fails, what this run did is undone.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-mount",
    version,
    after_help = "Examples:
  subhost-mount web               mount it
  subhost-mount -n web            show the commands that would
  subhost-mount -n web | sh -x    let a shell do it
  subhost-mount -u web            unmount it
  subhost-mount --set READ_ONLY=yes web

Status: 0 done or already so, 1 failed, 2 usage, 4 no such subhost, 5 invalid config or state,
6 timed out, 75 busy or running."
)]
pub struct MountTool {
    /// Unmount instead
    #[arg(short, long)]
    pub unmount: bool,
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

impl Tool for MountTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        self.common.each(&self.names, |subhost| {
            match (self.dry_run, self.unmount) {
                (true, false) => print(&subhost.script_up(Part::Root)?)?,
                (true, true) => print(&subhost.script_down(&[Part::Root], false)?)?,
                (false, false) => subhost.mount()?,
                (false, true) => subhost.take_down(Part::Root)?,
            }
            Ok(0)
        })
    }
}
