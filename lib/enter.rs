//! Joining a running subhost by a pidfd of its PID 1: we join its mounts, to read its files and open its
//! terminals there, and the command, a child in its pid namespace that ends with it, joins the rest.

use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::base::message;
use crate::base::name::Name;
use crate::cgroup::Who;
use crate::confine::{Rights, Seccomp};
use crate::kernel::lsm::{Label, Labelling};
use crate::kernel::proc;
use crate::kernel::proc::Namespace;
use crate::kernel::spawn;
use crate::kernel::spawn::Entry;
use crate::kernel::terminal::{self, Signals, Terminal, Wiring};
use crate::kernel::tools;
use crate::kernel::trampoline::Trampoline;
use crate::kernel::userns;
use crate::login::{Program, cannot_run};
use crate::state::Group;
use crate::state::Running;
use crate::sys;
use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
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
    /// Our own program may be executed anew, from its beginning, where the command is not to be run without
    /// [`tools::out_of_reach`]; else that is an error.
    pub anew: bool,
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

/// How a join went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// The command ran and ended with this status.
    Ended(u8),
    /// The subhost had ended before the command could be run.
    TooLate,
}

/// Runs a command in a running subhost, whose cgroups these are; gives its status as a shell would.
///
/// # Errors
/// `Own`, `CannotRun`, `NotFound`.
pub fn join(name: &Name, running: &Running, cgroups: &Group, join: &Join) -> Result<Entered> {
    let init = &running.init;
    let trampoline = trampoline(&init.rights, &init.labels, init.ids.is_some(), join.anew);
    let trampoline = trampoline.map_err(own)?;
    let signals = Signals::new().map_err(own)?;
    if join.wiring.interactive() {
        message::notice(name, &format!("joined (pid {})", running.init.identity.pid));
    }
    let program = Program {
        argv: join.argv.clone(),
        user: join.user.clone(),
        dir: join.dir.clone(),
        env: merged(&running.init.env, &join.env),
        term: join.term(),
        rights: running.init.rights.clone(),
        labels: running.init.labels.clone(),
    };
    let split = Split::of(running);
    let home = Home::new(split.in_world).map_err(own)?;
    let labels = Labelling::by(&program.labels).map_err(own)?;
    // Opened while their directories are to be seen.
    let entry = match cgroups.entry(Who::Joining) {
        Err(error) if error.errno == Some(Errno::ENOENT) && is_ending(running) => {
            return Ok(Entered::TooLate);
        }
        other => other.map_err(own)?,
    };
    let own_ids = match running.init.ids.map(|base| OwnIds::of(running, base)) {
        Some(Err(error)) if error.errno == Some(Errno::ENOENT) => return Ok(Entered::TooLate),
        ids => ids.transpose().map_err(own)?,
    };
    if !become_member(running).map_err(own)? {
        return Ok(Entered::TooLate);
    }
    let way = Way {
        entry: &entry,
        labels,
        ids: own_ids.as_ref(),
        left: split.childs,
        trampoline,
    };
    let spawned = spawn_inside(&program, join, running, way);
    // Out again: what we hold would keep the subhost's network and mounts from going when it ends.
    home.go().map_err(own)?;
    let (terminal, mut child, command) = match spawned {
        // No process can be made in a pid namespace whose PID 1 ends, nor in a cgroup that is gone.
        Err(error) if error.errno.is_some_and(is_too_late) && is_ending(running) => {
            return match split.in_world {
                // Our children are in its pid namespace for good: nothing else can be booted by us.
                true => Err(Error::new(Exit::NotRunning, "it ended while it was joined")),
                false => Ok(Entered::TooLate),
            };
        }
        other => other?,
    };
    drop((entry, own_ids));
    child.has_begun();
    let pid = child.id();
    let hand_on = |signal| {
        // As a terminal's would: to all that the command has in the foreground.
        let _ = sys::kill(-pid, signal);
    };
    let carried = terminal::carry(
        join.wiring,
        terminal.as_ref(),
        &signals,
        child.pidfd(),
        hand_on,
    );
    carried.map_err(own)?;
    let status = child.wait().doing(|| "wait for the command inside");
    let status = status.map_err(own)?;
    match child.failure() {
        Some(errno) => Err(cannot_run(&command, errno)),
        None => Ok(Entered::Ended(code(status))),
    }
}

/// By what the command is executed; none where we are out of reach ourselves, and have to be. Those who may
/// look into all processes see us before it, a file's filter may not let it work, and what a security module
/// does at the next execution is meant for the command. Neither does it work everywhere.
fn trampoline(
    rights: &Rights,
    labels: &[Label],
    has_userns: bool,
    anew: bool,
) -> Result<Option<Trampoline>> {
    let sees_all = !has_userns && rights.has(CapabilitySet::SYS_PTRACE);
    let is_usual = !sees_all && labels.is_empty() && !matches!(rights.seccomp, Seccomp::Own(_));
    if let (true, Ok(trampoline)) = (is_usual, Trampoline::new()) {
        return Ok(Some(trampoline));
    }
    if !anew && !tools::is_out_of_reach()? {
        return Err(
            Error::new(Exit::Own, "those inside could get at our program")
                .hint("who enters by the library calls boot::out_of_reach first"),
        );
    }
    tools::out_of_reach().map(|()| None)
}

/// What a fork, or joining a namespace, says when it is too late.
fn is_too_late(errno: Errno) -> bool {
    [Errno::ENOMEM, Errno::ENODEV, Errno::ENOENT, Errno::ESRCH].contains(&errno)
}

/// The terminal if there is one, the command, and what it is called.
type Spawned = (Option<Terminal>, spawn::Child, String);

/// What leads inside.
struct Way<'a> {
    entry: &'a Entry,
    labels: Labelling,
    ids: Option<&'a OwnIds>,
    /// The namespaces that the command joins by itself.
    left: CloneFlags,
    trampoline: Option<Trampoline>,
}

fn spawn_inside(program: &Program, join: &Join, running: &Running, way: Way) -> Result<Spawned> {
    let terminal = match join.wiring.any() {
        true => Some(terminal::pair().map_err(own)?),
        false => None,
    };
    if let (Some(terminal), Some(ids)) = (&terminal, way.ids) {
        // It was made by us, who are nobody inside.
        let uid = nix::unistd::Uid::from_raw(ids.base);
        let given = nix::unistd::fchown(&terminal.slave, Some(uid), None);
        given.doing(|| "give the terminal away").map_err(own)?;
    }
    let slave = terminal.as_ref().map(|terminal| &terminal.slave);
    let userns = way.ids.map(|ids| &ids.userns);
    let confinement = Rc::new(program.rights.prepare().map_err(own)?);
    let mut command = program
        .command(slave, join.wiring.slaves, way.labels, confinement, userns)
        .map_err(own)?;
    let name = command.program().to_owned();
    if let Some(trampoline) = way.trampoline {
        command.through(trampoline);
    }
    let joins = || setns(&running.pidfd, way.left);
    let child = command.spawn(CloneFlags::empty(), way.entry, joins);
    let child = child.map_err(|errno| cannot_run(&name, errno))?;
    Ok((terminal, child, name))
}

/// The user namespace of a subhost. Our child enters it, we do not: there is no way back.
struct OwnIds {
    base: u32,
    userns: OwnedFd,
}

impl OwnIds {
    fn of(running: &Running, base: u32) -> Result<Self> {
        let userns = userns::namespace(running.init.identity.pid)?;
        // It was still this process.
        match proc::has_ended(&running.pidfd) {
            true => Err(Error::sys("join the user namespace", Errno::ENOENT)),
            false => Ok(Self { base, userns }),
        }
    }
}

/// The namespaces that the command joins by itself. We join only that of mounts, for the subhost's files,
/// and that of processes, which our children are to be in.
struct Split {
    /// We are in a user namespace, from which nobody can return to those of the host.
    in_world: bool,
    childs: CloneFlags,
}

impl Split {
    const OURS: CloneFlags = CloneFlags::CLONE_NEWNS.union(CloneFlags::CLONE_NEWPID);

    fn of(running: &Running) -> Self {
        let in_world = proc::in_user_namespace();
        let of = |pid| Namespace::Net.inode_of(pid);
        let is_hosts = || of(running.init.identity.pid) == of(std::process::id() as i32);
        let network = match in_world && is_hosts() {
            true => CloneFlags::empty(),
            false => CloneFlags::CLONE_NEWNET,
        };
        // Once it is in the cgroup namespace, the kernel may let nobody in from outside of it
        // (nsdelegate): the child is in its cgroup before.
        let others =
            CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWCGROUP;
        Self {
            in_world,
            childs: others | network,
        }
    }
}

/// The namespaces that we came from, and our root in them: joining a mount namespace leaves a
/// chroot.
struct Home {
    namespaces: Vec<OwnedFd>,
    root: OwnedFd,
}

impl Home {
    fn new(in_world: bool) -> Result<Self> {
        // Our children's cannot be returned to from a user's world: there it stays as it is.
        let kinds: &[Namespace] = match in_world {
            true => &[Namespace::Mnt],
            false => &[Namespace::Mnt, Namespace::Pid],
        };
        let namespaces = kinds.iter().map(|kind| kind.ours());
        let namespaces = namespaces.collect::<std::result::Result<_, Errno>>();
        let namespaces = namespaces.doing(|| "open our own namespaces")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).doing(|| "open our root")?;
        Ok(Self { namespaces, root })
    }

    fn go(self) -> Result<()> {
        for namespace in &self.namespaces {
            setns(namespace, CloneFlags::empty()).doing(|| "return to our own namespaces")?;
        }
        nix::unistd::fchdir(&self.root)
            .and_then(|()| nix::unistd::chroot("."))
            .doing(|| "return to our own root")
    }
}

fn merged(
    first: &BTreeMap<String, String>,
    then: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let both = first.iter().chain(then);
    both.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Joins what we have to of a subhost. Our children are in its pid namespace; we ourselves are not, and
/// cannot be seen from inside. False if it has just ended.
fn become_member(running: &Running) -> Result<bool> {
    // Until exec, our child is a copy of us: nobody inside may look into it (CVE-2016-9962).
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .doing(|| "hide our memory")?;
    match setns(&running.pidfd, Split::OURS) {
        Err(Errno::ESRCH) => Ok(false),
        other => other.doing(|| "join the namespaces").map(|()| true),
    }
}

/// Is its PID 1 gone or on its way out?
fn is_ending(running: &Running) -> bool {
    let stat = proc::Stat::of(running.init.identity.pid);
    proc::has_ended(&running.pidfd) || stat.is_none_or(|stat| stat.exiting)
}

/// A child with a pidfd for it; if there can be none, it is not left to itself.
fn watched(mut child: Child, name: &str) -> Result<(Child, OwnedFd)> {
    match proc::open(child.id() as i32) {
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
    let child = Command::new(tools::sibling("subhost-enter")?)
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
    if !proc::wait(&pidfd, Some(limit)) {
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
