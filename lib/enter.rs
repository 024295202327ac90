//! Joining a running subhost: one pidfd, one setns with all namespaces, and the command as a child
//! in the subhost's pid namespace, which ends with it.

use crate::config::Name;
use crate::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::login::{Program, cannot_run};
use crate::state::Running;
use crate::terminal::{self, Signals, Wiring};
use crate::{proc, sys};
use nix::sched::{CloneFlags, setns};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What is to be run inside, and how it is wired to the caller.
#[derive(Debug, Clone)]
pub struct Join {
    /// Program and arguments; empty: a login shell.
    pub argv: Vec<String>,
    /// User inside.
    pub user: String,
    /// Directory inside; empty: the user's home.
    pub dir: String,
    /// Further environment.
    pub env: BTreeMap<String, String>,
    /// Terminals.
    pub wiring: Wiring,
    /// Says nothing about joining or booting.
    pub quiet: bool,
}

impl Join {
    /// The type of the caller's terminal, if there is one inside.
    pub fn term(&self) -> Option<String> {
        let term = std::env::var("TERM").unwrap_or_else(|_| "linux".into());
        self.wiring.any().then_some(term)
    }
}

/// Our own failures have the status of our own failures.
fn own(mut error: Error) -> Error {
    if error.exit == Exit::Failed {
        error.exit = Exit::Own;
    }
    error
}

/// Runs a command in a running subhost; gives its status as a shell would.
///
/// # Errors
/// `Own`, `CannotRun`, `NotFound`.
pub fn join(name: &Name, running: &Running, join: &Join) -> Result<u8> {
    let signals = Signals::new().map_err(own)?;
    if join.wiring.interactive() && !join.quiet {
        eprintln!("{name}: joined (pid {})", running.init.identity.pid);
    }
    let program = Program {
        argv: join.argv.clone(),
        user: join.user.clone(),
        dir: join.dir.clone(),
        env: merged(&running.init.env, &join.env),
        term: join.term(),
        own_network: own_network(running),
    };
    become_member(running).map_err(own)?;
    let (master, slave) = match join.wiring.any() {
        true => {
            let (master, slave) = terminal::pair().map_err(own)?;
            (Some(master), Some(slave))
        }
        false => (None, None),
    };
    let command = program
        .command(slave.as_ref(), join.wiring.slaves)
        .map_err(own)?;
    drop(slave);
    let (mut child, pidfd) = spawn(command)?;
    let pid = child.id() as i32;
    let hand_on = |signal| {
        let _ = sys::kill(pid, signal);
    };
    let carried = terminal::carry(join.wiring, master.as_ref(), &signals, &pidfd, hand_on);
    carried.map_err(own)?;
    status(&mut child).map_err(own)
}

fn merged(
    first: &BTreeMap<String, String>,
    then: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let both = first.iter().chain(then);
    both.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Has the subhost a network namespace that is not the host's?
fn own_network(running: &Running) -> bool {
    let of = |pid| proc::namespace(pid, "net");
    of(running.init.identity.pid) != of(1)
}

/// Joins all namespaces of a subhost. Our children are in its pid namespace; we ourselves are not,
/// and cannot be seen from inside.
fn become_member(running: &Running) -> Result<()> {
    // Until exec, our child is a copy of us: nobody inside may look into it (CVE-2016-9962).
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .doing(|| "hide our memory")?;
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    setns(&running.pidfd, all).map_err(|errno| {
        let error = Error::sys("join the namespaces", errno);
        match errno {
            Errno::ESRCH => error.hint("it has just ended"),
            _ => error,
        }
    })
}

fn spawn(mut command: Command) -> Result<(Child, OwnedFd)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|e| match e.into_errno() {
        // No process can be made in a pid namespace whose PID 1 has ended.
        Errno::ENOMEM => Error::new(Exit::Own, "it ended before the command could be run"),
        errno => cannot_run(&name, errno),
    })?;
    let pidfd = proc::open(child.id() as i32).doing(|| format!("watch {}", shown(&name)));
    Ok((child, pidfd.map_err(own)?))
}

fn status(child: &mut Child) -> Result<u8> {
    let status = child.wait().doing(|| "wait for the command inside")?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (_, signal) => 128 + signal.unwrap_or(0) as u8,
    })
}

/// Runs a command inside for at most `limit`, with no input and its output on our standard error,
/// by the tool that does this: we ourselves stay on the host.
///
/// # Errors
/// It cannot be run; `TimedOut`.
pub fn aside(tree: &Path, name: &Name, argv: &[String], limit: Duration) -> Result<u8> {
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    let mut child = Command::new(crate::boot::sibling("subhost-enter")?)
        .args(["-j", "-T", "-q", "-S"])
        .arg(tree)
        .args([name.as_str(), "--"])
        .args(argv)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(stderr.doing(|| "duplicate our standard error")?)
        .spawn()
        .doing(|| format!("run {} inside", shown(&argv[0])))?;
    let pidfd = proc::open(child.id() as i32).doing(|| "watch a command inside")?;
    if !proc::wait(&pidfd, Some(limit)) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::new(
            Exit::TimedOut,
            format!("{} inside did not end", shown(&argv[0])),
        ));
    }
    status(&mut child)
}
