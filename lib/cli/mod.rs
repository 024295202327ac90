//! The command lines of all tools, their messages and their exit statuses. Help, manual pages and completions
//! are generated from these definitions.

mod check;
mod common;
mod config;
mod enter;
mod info;
pub mod init;
mod limit;
mod list;
mod messages;
mod mount;
mod net;
pub mod program;
mod start;
mod stop;
mod tree;

pub use check::CheckTool;
pub use config::ConfigTool;
pub use enter::EnterTool;
pub use info::InfoTool;
pub use limit::LimitTool;
pub use list::ListTool;
pub use mount::MountTool;
pub use net::NetTool;
pub use start::StartTool;
pub use stop::StopTool;

use crate::base::error::{Exit, Result};
use crate::base::message::{Level, program, set_program};
use clap::{CommandFactory, Parser};
pub use common::Common;
use messages::{print, report};
use std::ffi::{CString, OsString};
use std::io::Write;

/// A tool: its command line and its action.
pub trait Tool: Parser {
    /// The exit status of usage errors, and of failures of the tool itself.
    const OWN: Exit = Exit::Usage;

    /// Returns the options that all tools take.
    fn common(&self) -> &Common;

    /// Runs the tool and returns its exit status.
    ///
    /// # Errors
    /// A failure that [`main`] reports, with its exit status.
    fn run(self) -> Result<u8>;
}

/// A function that runs a tool with a command line, whose first word is the tool's name, and returns the exit
/// status.
type Main = fn(Vec<OsString>) -> u8;

/// The tools, by their names without `subhost-`.
const TOOLS: [(&str, Main); 10] = [
    ("check", run_tool::<CheckTool>),
    ("config", run_tool::<ConfigTool>),
    ("enter", run_tool::<EnterTool>),
    ("info", run_tool::<InfoTool>),
    ("limit", run_tool::<LimitTool>),
    ("list", run_tool::<ListTool>),
    ("mount", run_tool::<MountTool>),
    ("net", run_tool::<NetTool>),
    ("start", run_tool::<StartTool>),
    ("stop", run_tool::<StopTool>),
];

/// Runs the tool that the program's name selects, or its first argument, and returns the exit status.
pub fn multi_call_main() -> u8 {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let named = |name: &str| {
        let tool = TOOLS.iter().find(|(tool, _)| *tool == name);
        tool.map(|(_, main)| *main)
    };
    if let Some(main) = program().strip_prefix("subhost-").and_then(named) {
        return main(args);
    }
    let first = args.get(1).and_then(|arg| arg.to_str()).map(str::to_owned);
    if let Some(main) = first.as_deref().and_then(named) {
        args.remove(0);
        args[0] = format!("subhost-{}", first.unwrap_or_default()).into();
        let called = set_program(&args[0].to_string_lossy());
        // The process gets the tool's name, which lists of holders show.
        let name = CString::new(called).unwrap_or_default();
        let _ = rustix::thread::set_name(&name);
        return main(args);
    }
    let names: Vec<&str> = TOOLS.iter().map(|(name, _)| *name).collect();
    let usage = format!(
        "usage: subhost TOOL [ARGUMENT...]\n\nTools: {}\n\n`subhost TOOL --help` tells more, and subhost(7) of all of them. Each is also a program of\nits own, as subhost-start.\n",
        names.join(" ")
    );
    match first.as_deref() {
        Some("-h" | "--help" | "help") => print(&usage).map_or(1, |()| 0),
        Some("-V" | "--version") => {
            print(concat!("subhost ", env!("CARGO_PKG_VERSION"), "\n")).map_or(1, |()| 0)
        }
        _ => {
            let _ = std::io::stderr().write_all(usage.as_bytes());
            Exit::Usage as u8
        }
    }
}

/// Runs a tool with the command line of the process, and returns the exit status.
pub fn main<T: Tool + CommandFactory>() -> u8 {
    run_tool::<T>(std::env::args_os().collect())
}

fn run_tool<T: Tool + CommandFactory>(args: Vec<OsString>) -> u8 {
    // The modes of the files that we make must not depend on the caller.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    crate::kernel::privilege::adopt_mark();
    // Hooks and subhosts must not inherit the open files of the caller.
    let _ = crate::sys::cloexec_from(3);
    let tool = match T::try_parse_from(args) {
        Ok(tool) => tool,
        Err(error) => {
            let _ = error.print();
            return match error.use_stderr() {
                true => T::OWN as u8,
                false => 0,
            };
        }
    };
    messages::listen(match (tool.common().verbose, tool.common().quiet) {
        (true, _) => Level::Step,
        (_, true) => Level::Error,
        _ => Level::Notice,
    });
    match tool.run() {
        Ok(status) => status,
        Err(error) => {
            report(None, &error);
            match T::OWN {
                Exit::Own => enter::foreground_status(error.exit),
                _ => error.exit as u8,
            }
        }
    }
}

/// Returns the command lines of all tools, for manual pages and completions.
pub fn commands() -> Vec<clap::Command> {
    vec![
        MountTool::command(),
        NetTool::command(),
        EnterTool::command(),
        StartTool::command(),
        StopTool::command(),
        ListTool::command(),
        InfoTool::command(),
        ConfigTool::command(),
        LimitTool::command(),
        CheckTool::command(),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn definitions_are_consistent() {
        for command in super::commands() {
            command.debug_assert();
        }
    }
}
