//! Joins a running subhost by a pidfd of its PID 1. The joiner enters its mount namespace, to read its files and open its
//! terminals; the command, a child in its pid namespace, enters the others and ends with it.
//!
//! A tool, which has one thread, joins by itself; a program that uses the library has a thread of ours join
//! ([`Join::tool`]).

mod inside;
mod thread;

use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::message;
use crate::base::name::Name;
use crate::confine::{Rights, Seccomp};
use crate::kernel::inherited;
use crate::kernel::lsm::Label;
use crate::kernel::terminal::{self, Signals, StdioMode, Terminal};
use crate::kernel::trampoline::Trampoline;
use crate::kernel::{proc, spawn, tools};
use crate::login::{Program, StdioSource, cannot_run};
use crate::state::{Group, Running};
use crate::sys;
use inside::{Entrance, JoinRequest, Namespaces, Return};
use rustix::thread::CapabilitySet;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long PID 1 may take to be gone after the kernel has killed the processes inside.
const SOON: Duration = Duration::from_millis(300);

/// A command to run inside, and how the caller's descriptors reach it. The default is root's login shell without a
/// terminal.
#[derive(Debug, Clone)]
pub struct Join {
    /// Program and arguments; empty: a login shell.
    pub argv: Vec<String>,
    /// Its user inside: `USER[:GROUP]`, by name or number.
    pub user: String,
    /// Its working directory inside; empty: the user's home.
    pub dir: String,
    /// Variables of its environment, over those of a login and of the settings.
    pub env: BTreeMap<String, String>,
    /// How the caller's descriptors 0, 1 and 2 reach it.
    pub stdio: StdioMode,
    /// The caller is a program of one thread that ends with the command, as our tools are. That thread joins; its signals
    /// stay blocked and its memory hidden. Where the command needs [`tools::out_of_reach`], the program is executed anew; for
    /// others that is an error.
    pub tool: bool,
}

impl Default for Join {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            user: "root".into(),
            dir: String::new(),
            env: BTreeMap::new(),
            stdio: StdioMode::default(),
            tool: false,
        }
    }
}

impl Join {
    /// Returns TERM for the inside, if there is a terminal there.
    pub fn term(&self) -> Option<String> {
        let term = std::env::var("TERM").unwrap_or_else(|_| "linux".into());
        self.stdio.has_terminal().then_some(term)
    }

    /// Returns the program, with the environment, rights and labels that the subhost was booted with.
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
        trampoline(&init.rights, &init.labels, init.ids.is_some(), self.tool)
    }

    fn joiner(&self) -> Joiner {
        match self.tool {
            true => Joiner::Tool,
            false => Joiner::Thread,
        }
    }
}

/// Who joins a subhost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joiner {
    /// A tool, by its only thread, which then waits for the command.
    Tool,
    /// A new thread, which then ends.
    Thread,
}

/// Gives a failure that is not the command's the exit status 125.
fn own(mut error: Error) -> Error {
    if error.exit == Exit::Failed {
        error.exit = Exit::Own;
    }
    error
}

/// The outcome of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// The command ran and ended with this status.
    Ended(u8),
    /// The subhost had ended before the command could be run.
    TooLate,
}

/// A command that was spawned inside.
#[derive(Debug)]
pub struct Inside {
    child: spawn::Child,
    command: String,
    terminal: Option<Terminal>,
}

impl Inside {
    /// Returns its pid on the host.
    pub fn id(&self) -> i32 {
        self.child.id()
    }

    /// Returns its pidfd, which polls as readable when it has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        self.child.pidfd()
    }

    /// Waits until it has ended. Call this once.
    ///
    /// # Errors
    /// `CannotRun` or `NotFound`: it was never executed. It has been waited for before.
    pub fn wait(&self) -> Result<ExitStatus> {
        let status = self.child.wait().doing(|| "wait for the command inside");
        self.ended(status?)
    }

    /// Returns its status if it has ended. Do not call this again then.
    ///
    /// # Errors
    /// As [`Inside::wait`].
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        let status = self
            .child
            .try_wait()
            .doing(|| "look after the command inside");
        let status = status?;
        status.map(|status| self.ended(status)).transpose()
    }

    fn ended(&self, status: ExitStatus) -> Result<ExitStatus> {
        match self.child.failure() {
            Some(errno) => Err(cannot_run(&self.command, errno)),
            None => Ok(status),
        }
    }
}

/// Runs a command in a running subhost with these cgroups, and relays terminal and signals until it has ended.
///
/// # Errors
/// `Own`, `CannotRun`, `NotFound`.
pub fn join(name: &Name, running: &Running, cgroups: &Group, join: &Join) -> Result<Entered> {
    try_join(name, running, cgroups, join).map_err(own)
}

fn try_join(name: &Name, running: &Running, cgroups: &Group, join: &Join) -> Result<Entered> {
    // First: it may execute us anew.
    let trampoline = join.trampoline(running)?;
    let signals = match join.tool {
        true => Signals::block_for_good()?,
        false => Signals::block()?,
    };
    if join.stdio.is_interactive() {
        message::notice(name, &format!("joined (pid {})", running.init.identity.pid));
    }
    let request = JoinRequest {
        program: join.program(running),
        given: join.stdio.slaves.map(|is_slave| match is_slave {
            true => StdioSource::Terminal,
            false => StdioSource::Inherit,
        }),
        trampoline,
    };
    let Some(inside) = spawn_as(join.joiner(), running, cgroups, request)? else {
        return Ok(Entered::TooLate);
    };
    let pid = inside.id();
    let pass_on = |signal| {
        // To the process group of the command, as a terminal sends it.
        let _ = sys::kill(-pid, signal);
    };
    let relay = terminal::Relay {
        stdio: join.stdio,
        terminal: inside.terminal.as_ref(),
        signals: &signals,
        child: inside.pidfd(),
    };
    relay.run(pass_on)?;
    let status = inside.wait()?;
    // A stop first sends signals; when the kernel kills the rest, PID 1 is gone a moment later.
    let soon = match status.signal() {
        Some(_) => SOON,
        None => Duration::ZERO,
    };
    if join.stdio.is_interactive() && proc::wait_for_end(&running.pidfd, Some(soon)) {
        message::notice(name, "it has ended, and this session with it");
    }
    Ok(Entered::Ended(code(status)))
}

/// Spawns a command in a running subhost with these cgroups, and `given` as its 0, 1 and 2. Does not wait for it. Returns
/// `None` if the subhost has just ended. Nothing of the calling thread is changed.
///
/// # Errors
/// `Own`; `CannotRun` and `NotFound`, which [`Inside::wait`] may be the first to report.
pub fn spawn(
    running: &Running,
    cgroups: &Group,
    join: &Join,
    given: [StdioSource; 3],
) -> Result<Option<Inside>> {
    let spawned = join.trampoline(running).and_then(|trampoline| {
        let request = JoinRequest {
            trampoline,
            program: join.program(running),
            given,
        };
        spawn_as(Joiner::Thread, running, cgroups, request)
    });
    spawned.map_err(own)
}

fn spawn_as(
    joiner: Joiner,
    running: &Running,
    cgroups: &Group,
    request: JoinRequest,
) -> Result<Option<Inside>> {
    let namespaces = Namespaces::new(running);
    let Some(entrance) = Entrance::open(&request.program, running, cgroups, namespaces)? else {
        return Ok(None);
    };
    let spawned = match joiner {
        Joiner::Tool => {
            let back = Return::of_tool(namespaces)?;
            thread::hide_memory()?;
            inherited::reset_oom_score("self");
            entrance.spawn_inside(request, back, joiner)?
        }
        Joiner::Thread => thread::in_thread(|| {
            let back = Return::of_thread()?;
            entrance.spawn_inside(request, back, joiner)
        })?,
    };
    Ok(spawned.map(|(terminal, mut child, command)| {
        if joiner == Joiner::Thread {
            // The score belongs to the process: that of the caller stays as it is.
            inherited::reset_oom_score(&child.id().to_string());
        }
        child.release_image();
        Inside {
            child,
            command,
            terminal,
        }
    }))
}

/// Returns the trampoline that executes the command: until then its process has a small memory of its own, and not ours.
/// Returns `None` if this process is out of reach itself. That is needed if processes inside can look into all others, if
/// the filter of a file may forbid what the trampoline does, if a label is to apply to the next execution, and on an
/// architecture without a trampoline.
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
            Error::new(Exit::Own, "processes inside could open our program")
                .hint("a program that uses the library calls subhost::out_of_reach first"),
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

/// Opens a pidfd for a child. Kills the child if that fails.
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
    proc::shell_status(status.code(), status.signal())
}

/// Runs a command inside by `subhost-enter`, for at most `limit`, with no input and with its output on our standard error.
/// Returns its exit status.
///
/// # Errors
/// It cannot be run; `TimedOut`.
pub fn run_by_tool(tree: &Path, name: &Name, argv: &[String], limit: Duration) -> Result<u8> {
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

    /// A program that uses the library is neither executed anew without its knowledge nor opened from inside.
    #[test]
    fn only_a_program_out_of_reach_enters_what_could_open_it() {
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
