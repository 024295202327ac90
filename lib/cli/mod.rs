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

use crate::base::error::{Exit, Result, shown};
use crate::base::message::{Level, program, set_program};
use crate::kernel::inherited;
use clap::{CommandFactory, Parser};
pub use common::Common;
use messages::{print, printed_data, report};
use std::ffi::{CString, OsStr, OsString};
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

/// The help of plain `subhost`: it fits a terminal of 24 lines and 80 columns.
const USAGE: &str = "\
usage: subhost COMMAND [OPTION...] [NAME...]

A subhost is a system tree that runs on this host like a machine of its own.

Daily work:
  start    mount the root, make the network, boot in the background
  enter    run a shell or a command inside; boot for as long as that runs
  stop     end the processes, remove network and root
  list     print a table of all subhosts
  info     show all about a subhost; status 0 if it runs
Settings and limits:
  config   print or check the settings
  limit    show or change limits while it runs; freeze, thaw
Single steps:
  mount    mount or unmount the root
  net      make or remove the network namespace and its cables
This host:
  check    show what this host lacks and what is left over; repair

'subhost help COMMAND' shows the options, 'man subhost-COMMAND' is the page,
'man subhost' the overview. 'subhost-start web' does the same as
'subhost start web'.
";

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
    match first.as_deref() {
        Some("help") if args.len() > 2 => {
            let verb = args.remove(2);
            match verb.to_str().and_then(named) {
                Some(main) => main(vec![
                    format!("subhost-{}", verb.display()).into(),
                    "--help".into(),
                ]),
                None => no_command(&verb),
            }
        }
        Some("-h" | "--help" | "help") => print_or_report(USAGE),
        Some("-V" | "--version") => {
            print_or_report(concat!("subhost ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        _ if args.len() > 1 => no_command(&args[1]),
        _ => {
            let _ = std::io::stderr().write_all(USAGE.as_bytes());
            Exit::Usage as u8
        }
    }
}

/// Prints data and returns the exit status: a help that could not be written is a failure, too.
fn print_or_report(text: &str) -> u8 {
    report_if_failed(print(text))
}

fn report_if_failed(result: Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            report(None, &error);
            error.exit as u8
        }
    }
}

/// Reports a command that does not exist, and returns the exit status.
fn no_command(word: &OsStr) -> u8 {
    let word = word.to_string_lossy();
    let near = TOOLS
        .iter()
        .map(|(name, _)| (strsim::osa_distance(&word, name), name))
        .filter(|(distance, _)| *distance <= 2 && *distance < word.chars().count())
        .min();
    let remedy = match near {
        Some((_, name)) => format!("; did you mean '{name}'?"),
        None => " ('subhost help' lists them)".to_owned(),
    };
    let line = format!("subhost: no command '{}'{remedy}\n", shown(&*word));
    let _ = std::io::stderr().write_all(line.as_bytes());
    Exit::Usage as u8
}

/// Runs a tool with the command line of the process, and returns the exit status.
pub fn main<T: Tool + CommandFactory>() -> u8 {
    run_tool::<T>(std::env::args_os().collect())
}

fn run_tool<T: Tool + CommandFactory>(args: Vec<OsString>) -> u8 {
    // The modes of the files that we make must not depend on the caller.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    inherited::reset_signals();
    inherited::lift_limits();
    crate::kernel::privilege::adopt_lock();
    // Hooks and subhosts must not inherit the open files of the caller.
    let _ = crate::sys::cloexec_from(3);
    let tool = match T::try_parse_from(args) {
        Ok(tool) => tool,
        Err(error) => {
            if error.use_stderr() {
                let _ = error.print();
                return T::OWN as u8;
            }
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return report_if_failed(printed_data(printed));
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

    #[test]
    fn usage_fits_a_terminal_and_names_every_command() {
        assert!(super::USAGE.lines().count() <= 24);
        for line in super::USAGE.lines() {
            assert!(line.len() <= 80, "{line}");
        }
        for (name, _) in super::TOOLS {
            let begins = |line: &str| line.starts_with(&format!("  {name} "));
            assert!(super::USAGE.lines().any(begins), "{name}");
        }
    }
}
