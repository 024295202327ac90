//! The tool subhost-enter(8): runs a command in a subhost.

use super::{Common, Tool};
use crate::base::error::{Error, Exit, Result, shown};
use crate::enter::Join;
use crate::kernel::terminal::{StdioMode, TtyMode};
use clap::Parser;
use std::collections::BTreeMap;

/// Run a command or a shell in a subhost
///
/// Joins the subhost if it is running. Else brings up what is missing of its root and network,
/// boots it with the command as what its PID 1 runs, and when that ends, ends everything inside and
/// takes down what this run brought up: after subhost-mount and subhost-net it hibernates.
///
/// If standard input, output or error is a terminal, the inside gets a terminal of the subhost's
/// own in its place. Those of the three that are none are handed on untouched; others are closed.
///
/// A boot ends with the subhost-enter that made it, however that ends. What joined is a process of
/// the subhost: if subhost-enter is killed by KILL, it runs on without a terminal, until it ends or
/// the subhost is stopped.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-enter",
    version,
    after_help = "Examples:
  subhost-enter web                         a login shell
  subhost-enter web -- ps ax                a command
  subhost-enter -j -u www-data web -- id    only if it is running, as a user of its own
  tar c . | subhost-enter -w /srv web -- tar x

Status: that of the command; 128+N if signal N ended it; 125 our own failure and usage, 126 the
command cannot be run, 127 it was not found; 3 not running (with -j)."
)]
pub struct EnterTool {
    /// Only if it is running (status 3 else)
    #[arg(short, long)]
    pub join: bool,
    /// User inside: name or number, with :GROUP or without
    #[arg(short, long, value_name = "USER", default_value = "root")]
    pub user: String,
    /// Working directory inside [default: the user's home]
    #[arg(short, long = "workdir", value_name = "DIR")]
    pub workdir: Option<String>,
    /// Set a variable in the command's environment
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Give it a terminal in any case
    #[arg(short = 't', long = "tty", conflicts_with = "no_tty")]
    pub tty: bool,
    /// Give it no terminal of its own
    #[arg(short = 'T', long = "no-tty")]
    pub no_tty: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Name of the subhost
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Command and arguments [default: a login shell]
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
            wiring: StdioMode::new(tty_mode),
            tool: true,
        };
        let subhost = self.common.subhost(&self.name)?;
        subhost.enter(&join, self.join).or_else(|error| {
            super::report(Some(subhost.name()), &error);
            Ok(foreground_status(error.exit))
        })
    }
}
