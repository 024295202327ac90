//! The tool subhost-start(8): starts subhosts.

use super::common::keep_first;
use super::{Common, Tool};
use crate::base::error::{Error, Exit, Result};
use crate::config::{self, Config};
use crate::kernel::terminal::{StdioMode, TtyMode};
use crate::subhost::{StartHow, Subhost};
use clap::Parser;

/// Start subhosts
///
/// subhost-start mounts the root of each NAME, makes its network and boots it in the background. With
/// RUN, PID 1 is subhost-init, which runs RUN. With INIT, PID 1 is the init of the tree. With neither,
/// PID 1 keeps the subhost running until a stop. subhost-start returns when the subhost is up.
///
/// A subhost that runs keeps running. If something of its network was changed by other means, such as a
/// cable that was deleted, renamed or taken off its bridge, subhost-start mends that and says so. A
/// hibernating subhost boots on the root and the network that are there. If a step fails, subhost-start
/// undoes what it did. When RUN, INIT or the shell of -i ends, the subhost hibernates.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-start",
    version,
    after_help = "Examples:
  subhost-start web db      start two
  subhost-start -i web      boot web with a shell; when the shell ends, it hibernates
  subhost-start --auto      start all whose AUTOSTART is not no
  subhost-start --auto=dmz  start all whose AUTOSTART names dmz

Exit status:
  0   done, or nothing to do
  1   failed; the message says why
  2   wrong usage
  4   no such subhost
  5   invalid config or state
  6   timed out: the boot took too long, or a hook was killed after HOOK_TIMEOUT
  75  busy: locked by another command, frozen, or in the foreground of another command
With -f and -i the exit status is that of RUN or the shell, and 125 to 127 as with subhost-enter."
)]
pub struct StartTool {
    /// Stay in the foreground until RUN or INIT ends
    #[arg(short, long, conflicts_with_all = ["auto", "all"])]
    pub foreground: bool,
    /// Stay in the foreground, with a shell in the place of RUN
    #[arg(short, long, conflicts_with_all = ["foreground", "auto", "all"])]
    pub interactive: bool,
    /// Start all whose AUTOSTART names SET; without SET, all whose AUTOSTART is not no
    #[arg(long, value_name = "SET", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub auto: Option<String>,
    /// Start all that have a config
    #[arg(long, conflicts_with = "auto")]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Names of subhosts
    #[arg(value_name = "NAME", required_unless_present_any = ["auto", "all"], conflicts_with_all = ["auto", "all"])]
    pub names: Vec<String>,
}

impl Tool for StartTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        let how = match (self.foreground, self.interactive) {
            (true, _) => StartHow::Foreground,
            (_, true) => StartHow::Shell,
            _ => StartHow::Background,
        };
        if how != StartHow::Background {
            let [name] = &self.names[..] else {
                return Err(Error::new(
                    Exit::Usage,
                    "only one subhost can be in the foreground",
                ));
            };
            let subhost = self.common.subhost(name)?;
            let started = subhost.start(how, Some(StdioMode::new(TtyMode::Auto)));
            return started.or_else(|error| {
                super::report(Some(subhost.name()), &error);
                Ok(super::enter::foreground_status(error.exit))
            });
        }
        let (names, config_status) = match (&self.auto, self.all) {
            (Some(set), _) => self.names_in_set(set)?,
            (_, true) => (all_names(&self.common)?, 0),
            _ => (self.names.clone(), 0),
        };
        let start = |subhost: &Subhost| subhost.start(how, None);
        let mut status = match self.all || self.auto.is_some() {
            true => self.common.each_in_parallel(&names, start)?,
            // NAMEs on the command line are started in their order.
            false => self.common.each(&names, start)?,
        };
        keep_first(&mut status, config_status);
        Ok(status)
    }
}

/// Returns the names of all subhosts that have a config.
fn all_names(common: &Common) -> Result<Vec<String>> {
    let names = config::names(&common.tree()?)?;
    Ok(names.iter().map(ToString::to_string).collect())
}

impl StartTool {
    /// Returns the subhosts whose AUTOSTART names `set`, or any set if it is empty. A subhost with an invalid
    /// config is reported and left out; the number is the exit status of the last such report, else 0.
    fn names_in_set(&self, set: &str) -> Result<(Vec<String>, u8)> {
        let tree = self.common.tree()?;
        let mut chosen = Vec::new();
        let mut status = 0;
        for name in config::names(&tree)? {
            match Config::load(&tree, &name, &self.common.set) {
                Ok(config) => {
                    let mut sets = config.autostart.iter();
                    if sets.any(|word| set.is_empty() || word == set) {
                        chosen.push(name.to_string());
                    }
                }
                Err(error) => {
                    super::report(Some(&name), &error);
                    status = error.exit as u8;
                }
            }
        }
        Ok((chosen, status))
    }
}
