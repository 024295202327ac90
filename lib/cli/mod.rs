//! The command lines of all tools, and what they have in common: usage, messages, exit status.
//! From these definitions come help, manual pages and completions.

mod check;
mod config;
mod enter;
mod info;
mod limit;
mod list;
mod mount;
mod net;
mod start;
mod stop;

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

use crate::config::Name;
use crate::error::{Doing, Error, Exit, Result};
use crate::processor;
use crate::subhost::Subhost;
use crate::sys;
use clap::{Args, CommandFactory, Parser};
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI8, Ordering};
use std::time::Duration;

/// -1 quiet, 0, 1 verbose.
static TALK: AtomicI8 = AtomicI8::new(0);

/// What every tool takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The directory that holds the subhosts [default: $SUBHOST, else /opt/subhost]
    #[arg(short = 'S', long = "subhosts", value_name = "DIR")]
    pub tree: Option<PathBuf>,
    /// Change a setting for this run only; it is kept with what the run makes
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Wait at most this long for another command on the same subhost [default: STOP_TIMEOUT + 5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// Say what is done
    #[arg(short, long)]
    pub verbose: bool,
    /// Warn of nothing
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

impl Common {
    /// $SUBHOST.
    ///
    /// # Errors
    /// As [`crate::config::tree`].
    pub fn tree(&self) -> Result<PathBuf> {
        crate::config::tree(self.tree.as_deref())
    }

    /// Root's work is to be done: by root, or by a user in his world. First thing, with one thread.
    ///
    /// # Errors
    /// As [`crate::rootless::enter`].
    pub fn be_root(&self) -> Result<()> {
        crate::rootless::enter(&self.tree()?)
    }

    /// The subhost of a name.
    ///
    /// # Errors
    /// The name cannot be one.
    pub fn subhost(&self, name: &str) -> Result<Subhost> {
        let name = Name::new(name)?;
        // Also where no config is read, as by those that join.
        for word in &self.set {
            crate::config::setting(word)?;
        }
        Ok(Subhost::new(&self.tree()?, &name, &self.set).waiting(self.wait))
    }

    /// Does `work` to each subhost, whatever becomes of the others; gives the status of the first
    /// failure.
    ///
    /// # Errors
    /// $SUBHOST cannot be told.
    pub fn each(&self, names: &[String], work: impl Fn(&Subhost) -> Result<u8>) -> Result<u8> {
        let mut first = 0;
        for name in names {
            let status = match self.subhost(name).and_then(|subhost| work(&subhost)) {
                Ok(status) => status,
                Err(error) => {
                    report(Name::new(name).ok().as_ref(), &error);
                    error.exit as u8
                }
            };
            if first == 0 {
                first = status;
            }
        }
        Ok(first)
    }
}

/// So many are done one after the other before it pays to do them side by side.
const FEW: usize = 4;

impl Common {
    /// As [`Common::each`], side by side where there are many: by processes of our own, each of which
    /// does its share one after the other. More than there are processors, as a stop mostly waits.
    ///
    /// # Errors
    /// $SUBHOST cannot be told; there can be no more processes.
    pub fn all(&self, names: &[String], work: impl Fn(&Subhost) -> Result<u8>) -> Result<u8> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = (processors * 4).min(names.len() / FEW);
        if workers < 2 {
            return self.each(names, work);
        }
        let us = rustix::process::getpid();
        let mut shares = Vec::new();
        for share in names.chunks(names.len().div_ceil(workers)) {
            match sys::fork_as_ever(0) {
                Ok(Some((_, pidfd))) => shares.push((share, Ok(pidfd))),
                // What cannot be done beside us is done by us.
                Err(errno) => shares.push((share, Err(errno))),
                Ok(None) => {
                    processor::share();
                    // Whoever ends us ends them, each after what it is at.
                    let end = rustix::process::Signal::TERM;
                    let _ = rustix::process::set_parent_process_death_signal(Some(end));
                    if rustix::process::getppid() != Some(us) {
                        sys::exit(Exit::Failed as i32);
                    }
                    let status = self.each(share, &work).unwrap_or_else(|error| {
                        report(None, &error);
                        error.exit as u8
                    });
                    sys::exit(i32::from(status));
                }
            }
        }
        let mut first = 0;
        for (share, child) in shares {
            let status = match child {
                Err(_) => self.each(share, &work)?,
                Ok(pidfd) => ended(&pidfd)?,
            };
            if first == 0 {
                first = status;
            }
        }
        Ok(first)
    }
}

/// Waits for a child of ours; its status as a shell has it.
fn ended(pidfd: &OwnedFd) -> Result<u8> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some(status)) => {
                let killed = || status.terminating_signal().unwrap_or_default() + 128;
                return Ok(status.exit_status().unwrap_or_else(killed) as u8);
            }
            other => return other.doing(|| "wait for a share of the work").map(|_| 0),
        }
    }
}

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
        let called = CALLED.get_or_init(|| args[0].to_string_lossy().into_owned());
        // A stop and those who look for what holds something go by the names of processes.
        let name = CString::new(called.as_str()).unwrap_or_default();
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
    crate::rootless::adopt_mark();
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
    let talk = match (tool.common().verbose, tool.common().quiet) {
        (true, _) => 1,
        (_, true) => -1,
        _ => 0,
    };
    TALK.store(talk, Ordering::Relaxed);
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

/// The tool's name where it is not what we were called by.
static CALLED: OnceLock<String> = OnceLock::new();

/// The name that the tool was called by.
pub fn program() -> String {
    if let Some(name) = CALLED.get() {
        return name.clone();
    }
    std::env::args_os()
        .next()
        .and_then(|path| {
            Some(
                PathBuf::from(path)
                    .file_name()?
                    .to_string_lossy()
                    .into_owned(),
            )
        })
        .unwrap_or_else(|| "subhost".into())
}

fn say(name: Option<&Name>, text: &str) {
    let mut line = format!("{}: ", program());
    if let Some(name) = name {
        line += &format!("{name}: ");
    }
    // A closed standard error is nothing to fail for.
    let _ = writeln!(std::io::stderr(), "{line}{text}");
}

/// Prints a failure and those that followed it.
pub fn report(name: Option<&Name>, error: &Error) {
    say(name, &error.to_string());
    for more in &error.also {
        report(name, more);
    }
}

/// Prints a warning, unless `-q`.
pub fn warn(name: Option<&Name>, text: &str) {
    if TALK.load(Ordering::Relaxed) >= 0 {
        say(name, &format!("warning: {text}"));
    }
}

/// Prints what is done, with `-v`.
pub fn tell(name: Option<&Name>, text: impl FnOnce() -> String) {
    if TALK.load(Ordering::Relaxed) > 0 {
        say(name, &text());
    }
}

/// Prints data. A reader that has gone away (`| head`) is no failure.
///
/// # Errors
/// Standard output cannot be written, as when a disk is full.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Exit::Failed,
            format!("cannot write to standard output: {e}"),
        )),
        _ => Ok(()),
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
