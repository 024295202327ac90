//! The tool subhost-enter(8): runs a command in a subhost.

use super::{Common, Tool};
use crate::base::error::{Error, Exit, Result, shown};
use crate::enter::Join;
use crate::kernel::terminal::{StdioMode, TtyMode};
use clap::Parser;
use std::collections::BTreeMap;

/// Run a command or a shell in a subhost
///
/// If the subhost runs, subhost-enter joins it: COMMAND runs beside the other processes inside. If not,
/// subhost-enter mounts the root and makes the network where they are missing, and boots the subhost
/// with COMMAND in the place of RUN. When COMMAND ends, subhost-enter ends all processes inside, and
/// removes the root and the network if it made them. If they were up before, they stay, and the subhost
/// hibernates.
///
/// In the place of each of standard input, output and error that is a terminal, COMMAND gets a terminal
/// of the subhost. Pipes and files are passed on as they are. No other descriptor is passed on.
///
/// If a subhost-enter that booted the subhost is killed by KILL, all processes inside end. If it had
/// joined the subhost, COMMAND keeps running without a terminal.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-enter",
    version,
    after_help = "Examples:
  subhost-enter web                         a login shell
  subhost-enter web -- ps ax                a command
  subhost-enter -j -u www-data web -- id    only if it runs, as another user
  tar c . | subhost-enter -w /srv web -- tar x

Exit status:
  N      the exit status of COMMAND
  128+N  signal N ended COMMAND
  3      the subhost does not run (with -j)
  125    subhost-enter failed: wrong usage, no such subhost, invalid config, busy, or another cause
  126    COMMAND cannot be run
  127    COMMAND was not found"
)]
pub struct EnterTool {
    /// Join a running subhost only; if it does not run, exit with status 3
    #[arg(short, long)]
    pub join: bool,
    /// Run COMMAND as this user inside, a name or a number; USER:GROUP also sets the group
    #[arg(short, long, value_name = "USER", default_value = "root")]
    pub user: String,
    /// Run COMMAND in this directory inside [default: the user's home]
    #[arg(short, long = "workdir", value_name = "DIR")]
    pub workdir: Option<String>,
    /// Set a variable in the environment of COMMAND
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Give COMMAND a terminal even if standard input, output and error are not terminals
    #[arg(short = 't', long = "tty", conflicts_with = "no_tty")]
    pub tty: bool,
    /// Pass on terminals of the caller as they are, and give COMMAND no terminal of the subhost
    #[arg(short = 'T', long = "no-tty")]
    pub no_tty: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Name of the subhost
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Command with its arguments [default: a login shell]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Returns the exit status of a failure of a tool that otherwise exits with the status of a command. Failures
/// of the tool itself become 125.
pub(super) fn foreground_status(exit: Exit) -> u8 {
    match exit {
        Exit::NotRunning | Exit::CannotRun | Exit::NotFound => exit as u8,
        _ => Exit::Own as u8,
    }
}

impl Tool for EnterTool {
    const OWN: Exit = Exit::Own;

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        let tty_mode = match (self.tty, self.no_tty) {
            (true, _) => TtyMode::Always,
            (_, true) => TtyMode::Never,
            _ => TtyMode::Auto,
        };
        let mut env = BTreeMap::new();
        for word in &self.env {
            let (key, value) = word
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| {
                    Error::new(Exit::Usage, format!("-e {}: not KEY=VALUE", shown(word)))
                })?;
            env.insert(key.to_owned(), value.to_owned());
        }
        let join = Join {
            argv: self.command,
            user: self.user,
            dir: self.workdir.unwrap_or_default(),
            env,
            stdio: StdioMode::new(tty_mode),
            tool: true,
        };
        let subhost = self.common.subhost(&self.name)?;
        let entered = match self.join {
            true => subhost.enter_running(&join),
            false => subhost.enter(&join),
        };
        entered.or_else(|error| {
            super::report(Some(subhost.name()), &error);
            Ok(foreground_status(error.exit))
        })
    }
}
