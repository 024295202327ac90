//! The command lines of all tools, and what they have in common: usage, messages, exit status.
//! From these definitions come help, manual pages and completions.

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

/// A tool: its command line, and what it does.
pub trait Tool: Parser {
    /// The status of usage errors and of failures that are not the subhost's.
    const OWN: Exit = Exit::Usage;

    /// What is common to all.
    fn common(&self) -> &Common;

    /// Does it; gives the status.
    ///
    /// # Errors
    /// What `main` prints.
    fn run(self) -> Result<u8>;
}

/// What a tool does with its command line, its name first; gives the status.
type Main = fn(Vec<OsString>) -> u8;

/// The tools by their names, less what all names begin with.
const TOOLS: [(&str, Main); 10] = [
    ("check", with::<CheckTool>),
    ("config", with::<ConfigTool>),
    ("enter", with::<EnterTool>),
    ("info", with::<InfoTool>),
    ("limit", with::<LimitTool>),
    ("list", with::<ListTool>),
    ("mount", with::<MountTool>),
    ("net", with::<NetTool>),
    ("start", with::<StartTool>),
    ("stop", with::<StopTool>),
];

/// All tools in one program: by the name that it is called by, or by its first argument. Gives the
/// status.
pub fn any() -> u8 {
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
        // A stop and those who look for what holds something go by the names of processes.
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

/// The main of every tool. Gives the status.
pub fn main<T: Tool + CommandFactory>() -> u8 {
    with::<T>(std::env::args_os().collect())
}

fn with<T: Tool + CommandFactory>(args: Vec<OsString>) -> u8 {
    // What is made on the way must not depend on who called.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    crate::kernel::privilege::adopt_lock();
    // What our caller left open is not for hooks and not for the inside.
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
                Exit::Own => enter::foreground(error.exit),
                _ => error.exit as u8,
            }
        }
    }
}

/// The command lines of all tools, for manual pages and completions.
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
    fn definitions_hold_together() {
        for command in super::commands() {
            command.debug_assert();
        }
    }
}
