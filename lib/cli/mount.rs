//! The tool subhost-mount(8): mounts and unmounts roots.

use super::{Common, Tool, print};
use crate::base::error::Result;
use crate::plan::Part;
use clap::Parser;

/// Mount or unmount the root of subhosts
///
/// subhost-mount mounts the root file system of each NAME on the directory live of the subhost. With
/// LOWER the root is an overlay: the directory root is the upper, LOWER names the layers below it.
/// Without LOWER it is a recursive bind mount of root. With IMAGE the directory root is in the image.
///
/// It leaves alone what is mounted already. If a step fails, it undoes what it did in this run.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-mount",
    version,
    after_help = "Examples:
  subhost-mount web               mount the root of web
  subhost-mount -n web            print the commands
  subhost-mount -n web | sh -x    let a shell run them
  subhost-mount -u web            unmount it
  subhost-mount --set READ_ONLY=yes web

Exit status:
  0   done, or nothing to do
  1   failed
  2   wrong usage
  4   no such subhost
  5   invalid config or state
  6   timed out
  75  busy: another command has locked the subhost, or it runs"
)]
pub struct MountTool {
    /// Unmount the root; refused while the subhost runs
    #[arg(short, long)]
    pub unmount: bool,
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

impl Tool for MountTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        self.common.each(&self.names, |subhost| {
            match (self.dry_run, self.unmount) {
                (true, false) => print(&subhost.script_up(Part::Root)?)?,
                (true, true) => print(&subhost.script_down(Part::Root)?)?,
                (false, false) => subhost.mount()?,
                (false, true) => subhost.take_down(Part::Root)?,
            }
            Ok(0)
        })
    }
}
