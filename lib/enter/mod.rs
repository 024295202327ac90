//! Joining a running subhost by a pidfd of its PID 1: we join its mounts, to read its files and open its
//! terminals there, and the command, a child in its pid namespace that ends with it, joins the rest.
//!
//! A tool of ours, which has one thread, does so itself; for a program that uses the library a thread does, which
//! ends then ([`Join::tool`]).

mod apart;
mod inside;

use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::message;
use crate::base::name::Name;
use crate::confine::{Rights, Seccomp};
use crate::kernel::lsm::Label;
use crate::kernel::terminal::{self, Signals, StdioMode, Terminal};
use crate::kernel::trampoline::Trampoline;
use crate::kernel::{proc, spawn, tools};
use crate::login::{Program, StdioSource, cannot_run};
use crate::state::{Group, Running};
use crate::sys;
use inside::{Home, JoinRequest, Split, Way};
use rustix::thread::CapabilitySet;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// What is to be run inside, and how it is wired to the caller. By default a login shell of root's, without a
/// terminal.
#[derive(Debug, Clone)]
pub struct Join {
    /// Program and arguments; empty: a login shell.
    pub argv: Vec<String>,
    /// User inside, by name or number, with `:GROUP` or without.
    pub user: String,
    /// Directory inside; empty: the user's home.
    pub dir: String,
    /// Further environment.
    pub env: BTreeMap<String, String>,
    /// Terminals.
    pub wiring: StdioMode,
    /// The caller is a tool of ours, which ends with the command. It has one thread, which joins itself; its
    /// signals stay blocked and its memory hidden. And it may be executed anew, from its beginning, where the
    /// command is not to be run without [`tools::out_of_reach`]; else that is an error.
    pub tool: bool,
}

impl Default for Join {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            user: "root".into(),
            dir: String::new(),
            env: BTreeMap::new(),
            wiring: StdioMode::default(),
            tool: false,
        }
    }
}

impl Join {
    /// The type of the caller's terminal, if there is one inside.
    pub fn term(&self) -> Option<String> {
        let term = std::env::var("TERM").unwrap_or_else(|_| "linux".into());
        self.wiring.has_terminal().then_some(term)
    }

    /// As one of the subhost's own, so that it has what they have.
    fn program(&self, running: &Running) -> Program {
        Program {
            argv: self.argv.clone(),
            user: self.user.clone(),
            dir: self.dir.clone(),
            env: merged(&running.init.env, &self.env),
            term: self.term(),
            rights: running.init.rights.clone(),
            labels: running.init.labels.clone(),
        }
    }

    fn trampoline(&self, running: &Running) -> Result<Option<Trampoline>> {
        let init = &running.init;
        trampoline(&init.rights, &init.labels, init.ids.is_some(), self.tool).map_err(own)
    }

    fn ends(&self) -> Ends {
        match self.tool {
            true => Ends::WithTheProcess,
            false => Ends::AtOnce,
        }
    }
}

/// How long who joins lives on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// It is the process.
    WithTheProcess,
    /// It is a thread that does nothing else.
    AtOnce,
}

/// Our own failures have the status of our own failures.
fn own(mut error: Error) -> Error {
    if error.exit == Exit::Failed {
        error.exit = Exit::Own;
    }
    error
}

/// How a join went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// The command ran and ended with this status.
    Ended(u8),
    /// The subhost had ended before the command could be run.
    TooLate,
}

/// A command that runs inside.
#[derive(Debug)]
pub struct Inside {
    child: spawn::Child,
    command: String,
    terminal: Option<Terminal>,
}

impl Inside {
    /// Its pid, on the host.
    pub fn id(&self) -> i32 {
        self.child.id()
    }

    /// A descriptor of it: to be read from, for poll(2), when it has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        self.child.pidfd()
    }

    /// Waits for its end. To be asked for once.
    ///
    /// # Errors
    /// `CannotRun` or `NotFound`: it was never executed; somebody else has waited for it.
    pub fn wait(&self) -> Result<ExitStatus> {
        let status = self.child.wait().doing(|| "wait for the command inside");
        self.ended(status.map_err(own)?)
    }

    /// Its status, if it has ended. To be asked for no more then.
    ///
    /// # Errors
    /// As [`Inside::wait`].
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        let status = self
            .child
            .try_wait()
            .doing(|| "look after the command inside");
        let status = status.map_err(own)?;
        status.map(|status| self.ended(status)).transpose()
    }

    fn ended(&self, status: ExitStatus) -> Result<ExitStatus> {
        match self.child.failure() {
            Some(errno) => Err(cannot_run(&self.command, errno)),
            None => Ok(status),
        }
    }
}

/// Runs a command in a running subhost, whose cgroups these are; gives its status as a shell would.
///
/// # Errors
/// `Own`, `CannotRun`, `NotFound`.
pub fn join(name: &Name, running: &Running, cgroups: &Group, join: &Join) -> Result<Entered> {
    // First: it may execute us anew.
    let trampoline = join.trampoline(running)?;
    let signals = match join.tool {
        true => Signals::block_for_good(),
        false => Signals::block(),
    };
    let signals = signals.map_err(own)?;
    if join.wiring.is_interactive() {
        message::notice(name, &format!("joined (pid {})", running.init.identity.pid));
    }
    let request = JoinRequest {
        program: join.program(running),
        given: join.wiring.slaves.map(|is_slave| match is_slave {
            true => StdioSource::Terminal,
            false => StdioSource::Inherit,
        }),
        trampoline,
    };
    let Some(inside) = begin(running, cgroups, request, join.ends())? else {
        return Ok(Entered::TooLate);
    };
    let pid = inside.id();
    let hand_on = |signal| {
        // As a terminal's would: to all that the command has in the foreground.
        let _ = sys::kill(-pid, signal);
    };
    let relay = terminal::Relay {
        stdio: join.wiring,
        terminal: inside.terminal.as_ref(),
        signals: &signals,
        child: inside.pidfd(),
    };
    relay.run(hand_on).map_err(own)?;
    inside.wait().map(|status| Entered::Ended(code(status)))
}

/// Begins a command in a running subhost, whose cgroups these are, with what is `given` as its 0, 1 and 2, and
/// waits for nothing; none if the subhost had ended before. Nothing of the calling thread is changed.
///
/// # Errors
/// `Own`; `CannotRun` and `NotFound`, which may come only when it is waited for.
pub fn spawn(
    running: &Running,
    cgroups: &Group,
    join: &Join,
    given: [StdioSource; 3],
) -> Result<Option<Inside>> {
    let request = JoinRequest {
        trampoline: join.trampoline(running)?,
        program: join.program(running),
        given,
    };
    begin(running, cgroups, request, Ends::AtOnce)
}

fn begin(
    running: &Running,
    cgroups: &Group,
    request: JoinRequest,
    ends: Ends,
) -> Result<Option<Inside>> {
    let split = Split::new(running);
    let Some(way) = Way::open(&request.program, running, cgroups, split)? else {
        return Ok(None);
    };
    let spawned = match ends {
        Ends::WithTheProcess => {
            let home = Home::new(split.in_world).map_err(own)?;
            apart::hide().map_err(own)?;
            way.walk(request, home, ends)?
        }
        Ends::AtOnce => apart::apart(|| {
            let home = Home::last().map_err(own)?;
            way.walk(request, home, ends)
        })?,
    };
    Ok(spawned.map(|(terminal, mut child, command)| {
        child.release_image();
        Inside {
            child,
            command,
            terminal,
        }
    }))
}

/// By what the command is executed; none where we are out of reach ourselves, and have to be. Those who may
/// look into all processes see us before it, a file's filter may not let it work, and what a security module
/// does at the next execution is meant for the command. Neither does it work everywhere.
fn trampoline(
    rights: &Rights,
    labels: &[Label],
    has_userns: bool,
    tool: bool,
) -> Result<Option<Trampoline>> {
    let sees_all = !has_userns && rights.has(CapabilitySet::SYS_PTRACE);
    let is_usual = !sees_all && labels.is_empty() && !matches!(rights.seccomp, Seccomp::Own(_));
    if let (true, Ok(trampoline)) = (is_usual, Trampoline::new()) {
        return Ok(Some(trampoline));
    }
    if !tool && !tools::is_out_of_reach()? {
        return Err(
            Error::new(Exit::Own, "those inside could get at our program")
                .hint("who enters by the library calls subhost::out_of_reach first"),
        );
    }
    tools::out_of_reach().map(|()| None)
}

fn merged(
    first: &BTreeMap<String, String>,
    then: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let both = first.iter().chain(then);
    both.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// A child with a pidfd for it; if there can be none, it is not left to itself.
fn watched(mut child: Child, name: &str) -> Result<(Child, OwnedFd)> {
    match proc::open_pidfd(child.id() as i32) {
        Ok(pidfd) => Ok((child, pidfd)),
        Err(errno) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(Error::sys(format!("watch {}", shown(name)), errno))
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (_, signal) => 128 + signal.unwrap_or(0) as u8,
    }
}

/// Runs a command inside for at most `limit`, with no input and its output on our standard error,
/// by the tool that does this: we ourselves stay on the host.
///
/// # Errors
/// It cannot be run; `TimedOut`.
pub fn aside(tree: &Path, name: &Name, argv: &[String], limit: Duration) -> Result<u8> {
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    let child = Command::new(tools::find_tool("subhost-enter")?)
        .args(["-j", "-T", "-q", "-S"])
        .arg(tree)
        .args([name.as_str(), "--"])
        .args(argv)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(stderr.doing(|| "duplicate our standard error")?)
        .spawn()
        .doing(|| format!("run {} inside", shown(&argv[0])))?;
    let (mut child, pidfd) = watched(child, &argv[0])?;
    if !proc::wait_for_end(&pidfd, Some(limit)) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::new(
            Exit::TimedOut,
            format!("{} inside did not end", shown(&argv[0])),
        ));
    }
    let status = child.wait().doing(|| "wait for the command inside");
    status.map(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::{Action, Profile};

    /// A program that uses the library is never executed anew behind its back, nor caught inside.
    #[test]
    fn who_could_catch_us_is_entered_out_of_reach_only() {
        let rights = |caps: CapabilitySet, seccomp| Rights {
            caps: caps.bits(),
            no_new_privs: false,
            seccomp,
        };
        let usual = rights(CapabilitySet::CHOWN, Seccomp::Default);
        let sees = rights(CapabilitySet::SYS_PTRACE, Seccomp::Default);
        assert!(trampoline(&usual, &[], false, false).unwrap().is_some());
        assert!(trampoline(&sees, &[], true, false).unwrap().is_some());
        let error = trampoline(&sees, &[], false, false).unwrap_err();
        assert!(error.to_string().contains("out_of_reach"), "{error}");
        let label = [Label::AppArmor("profile".into())];
        assert!(trampoline(&usual, &label, false, false).is_err());
        let (default, rules) = (Action::Allow, Vec::new());
        let own = rights(
            CapabilitySet::CHOWN,
            Seccomp::Own(Profile { default, rules }),
        );
        assert!(trampoline(&own, &[], false, false).is_err());
    }
}
