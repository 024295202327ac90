//! The booting tool's half: a process that is PID 1 of a new pid namespace, recorded before it
//! does anything, and told what to be. Everything else it takes itself, so that the tool stays on
//! the host and can undo.
//!
//! What outlives the tool: of a boot in the background PID 1, which has the log as its standard output and
//! the file for the end of its run; of an init of the tree's own that cannot have these, the process that
//! reads its console, with both ends of the terminal, the log, that file and a pidfd. The parent of PID 1,
//! ours or the tree's, is the tool, and then the host's init, which reaps it.

mod booted;
mod generated;
mod log;
mod spec;
mod userns;

use crate::base::error::{Doing, Result};
use crate::base::message;
use crate::base::name::Name;
use crate::base::protocol::{PROTOCOL, ToInit};
use crate::cgroup::{self, Layout, Who};
use crate::config::{Config, Net, Pid1, Stop};
use crate::init::spec::{Main, Spec};
use crate::kernel::clock::{boot_id, now};
use crate::kernel::lsm::Label;
use crate::kernel::packets::{send, sockets};
use crate::kernel::pinned;
use crate::kernel::proc::Identity;
use crate::kernel::spawn::Child;
use crate::kernel::terminal::StdioMode;
use crate::kernel::tools::init_command;
use crate::login::{PATH, Program};
use crate::state::{Booter, Group, Init, State};
pub use booted::Booted;
use nix::sched::CloneFlags;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use userns::UsernsEntry;

/// How a subhost is booted.
#[derive(Debug)]
pub struct BootRequest {
    /// What PID 1 does.
    pub main: Main,
    /// How the caller's descriptors reach it; none: in the background, with a log.
    pub wiring: Option<StdioMode>,
    /// Who boots.
    pub by: Booter,
    /// What whoever comes in later has in the environment ([`Config::environment`]).
    pub env: BTreeMap<String, String>,
    /// First id of its user namespace; none: it has none.
    pub ids: Option<u32>,
    /// It joins a network that is not the host's.
    pub joins_network: bool,
}

/// Root and network that it is booted in, which may still be on their way.
pub trait Parts {
    /// Has the root mounted. Asked for once.
    ///
    /// # Errors
    /// Why it is not.
    fn root(&mut self) -> Result<()>;

    /// The network namespace, as soon as there is one; none: the host's. Asked for once.
    ///
    /// # Errors
    /// Why there is none.
    fn namespace(&mut self) -> Result<Option<OwnedFd>>;

    /// Waits until all is there that is to be in that.
    ///
    /// # Errors
    /// Why it is not.
    fn complete(&mut self) -> Result<()>;
}

/// What our PID 1 runs when the subhost is started, with `env` ([`Config::environment`]).
pub fn started(config: &Config, env: &BTreeMap<String, String>) -> Main {
    let run = &config.run;
    let program = |argv: &[String]| Program {
        argv: argv.to_vec(),
        user: run.user.clone(),
        dir: run.dir.clone(),
        env: env.clone(),
        term: None,
        rights: config.rights(match run.init.is_empty() {
            true => Pid1::Ours,
            false => Pid1::Init,
        }),
        labels: run.labels.clone(),
    };
    if !run.init.is_empty() {
        let mut init = program(&run.init);
        for (key, value) in [("container", "subhost"), ("PATH", PATH), ("TERM", "linux")] {
            init.env.entry(key.into()).or_insert_with(|| value.into());
        }
        return Main::Init(init);
    }
    match run.command.is_empty() {
        true => Main::Hold,
        false => Main::Run(program(&run.command)),
    }
}

/// What is booted, whatever it was made of.
pub struct Boot<'a> {
    /// Its name, for messages and its log.
    pub name: &'a Name,
    /// $SUBHOST.
    pub tree: &'a Path,
    /// Its cgroups, yet to be made.
    pub cgroups: cgroup::Plan,
    /// The inside, put together when its cgroups are there.
    pub spec: &'a dyn Fn(&Group) -> Result<Spec>,
    /// How it is asked to end, for the record.
    pub stop: Stop,
    /// The environment of those that will join it.
    pub env: BTreeMap<String, String>,
    /// What the host's security modules confine it by.
    pub labels: Vec<Label>,
    /// Its network namespace is its own, and so belongs to its user namespace if it has one.
    pub owns_network: bool,
}

/// Boots what a config says.
///
/// # Errors
/// As [`boot`].
pub fn boot_config(
    config: &Config,
    state: &State,
    parts: &mut dyn Parts,
    request: BootRequest,
) -> Result<Booted> {
    let is_init = matches!(request.main, Main::Init(_));
    let layout = match is_init {
        true => Layout::Divided,
        false => Layout::Single,
    };
    // What ended by itself left its own behind.
    state.remove_cgroups()?;
    let spec = |group: &Group| {
        let has_cgroup = is_init && group.unified().is_some();
        spec::compile(config, state, &request, has_cgroup)
    };
    let what = Boot {
        name: &config.name,
        tree: &config.tree,
        cgroups: cgroup::Plan::new(config, layout)?,
        spec: &spec,
        stop: config.run.stop.clone(),
        env: request.env.clone(),
        labels: config.run.labels.clone(),
        owns_network: matches!(config.net, Net::Private(_)),
    };
    boot(what, state, parts, request.by.clone())
}

/// Boots.
///
/// # Errors
/// Why it is not up, or why root or network are not; nothing of the boot is left then.
pub fn boot(what: Boot, state: &State, parts: &mut dyn Parts, by: Booter) -> Result<Booted> {
    let planned = what.cgroups.group.clone();
    // Before they are made: if we are killed between, somebody knows of them.
    if !planned.is_empty() {
        state.record_cgroups(&planned)?;
    }
    let group = what.cgroups.make().inspect_err(|error| {
        // What could not be removed again is still what the record says.
        if error.also.is_empty() {
            state.forget_cgroups();
        }
    })?;
    let booted = match group == planned {
        true => Ok(()),
        false => state.record_cgroups(&group),
    };
    let booted = booted.and_then(|()| boot_in(&what, state, parts, by, &group));
    booted.map_err(|error| {
        let left = state.remove_cgroups();
        state.forget();
        error.also(left.err())
    })
}

fn boot_in(
    what: &Boot,
    state: &State,
    parts: &mut dyn Parts,
    by: Booter,
    group: &Group,
) -> Result<Booted> {
    let spec = (what.spec)(group)?;
    let process = &spec.process;
    let is_init = matches!(process.main, Main::Init(_));
    if let (Some(base), true) = (spec.ids, is_init && group.unified().is_some()) {
        // It is to manage its own.
        group.delegate_to(base)?;
    }
    let log = match process.tied {
        false => Some(log::open(what.name)?),
        true => None,
    };
    // Without it the boot takes longer.
    if let Err(error) = pinned::ensure() {
        message::tell(Some(what.name), || error.to_string());
    }
    let last = state.for_init()?;
    let (socket, theirs) = sockets("PID 1")?;
    let (child, program, taken) = match spec.ids {
        None => {
            let (child, program) = spawn(&theirs, log.as_ref(), group, false)?;
            (child, program, true)
        }
        // Who goes into a user namespace takes the network along.
        Some(_) => {
            let network = parts.namespace()?;
            let (child, program) = spawn(&theirs, log.as_ref(), group, true)?;
            let crossing = UsernsEntry {
                socket: &socket,
                spec: &spec,
                network: network.as_ref(),
                owns_network: what.owns_network,
            };
            let (child, unmapped) = crossing.make_pid_1(child)?;
            for path in unmapped {
                let text = format!("{path} belongs to nobody inside: its ids cannot be mapped");
                message::warn(Some(what.name), &text);
            }
            (child, program, false)
        }
    };
    drop(theirs);
    // Until it is told to go on it does nothing, and ends if we do.
    let (identity, pidfd) = Identity::open(child.id()).doing(|| "watch PID 1")?;
    let mut booted = Booted {
        child,
        socket,
        terminal: None,
        pidfd,
    };
    let record = Init {
        boot: boot_id()?.to_owned(),
        protocol: PROTOCOL,
        tree: what.tree.to_owned(),
        identity,
        by,
        ids: spec.ids,
        since: now(),
        up: false,
        asked: false,
        live: false,
        own: is_init,
        stop: what.stop.clone(),
        stop_timeout: process.stop_timeout,
        env: what.env.clone(),
        rights: process.rights.clone(),
        labels: what.labels.clone(),
        console: None,
    };
    let up = state.record(&record).and_then(|()| {
        // It begins meanwhile, and then waits for us.
        parts.root()?;
        let memfd = spec::memfd(&spec)?;
        let mut fds = vec![memfd.as_raw_fd(), last.as_raw_fd()];
        let namespace = match taken {
            true => parts.namespace()?,
            false => None,
        };
        fds.extend(namespace.as_ref().map(AsRawFd::as_raw_fd));
        send(&booted.socket, &ToInit::Go, &fds)?;
        // Not before: to let go of a mount takes the kernel a while.
        drop(program);
        parts.complete()?;
        booted.proceed()?;
        booted.wait_until_up(is_init)
    });
    let up = up.and_then(|()| {
        let console = match (&log, process.log_max, &booted.terminal) {
            (Some(log), Some(max), Some(terminal)) if is_init => {
                let left = log::leave_console(terminal, log, max, &last, &booted.pidfd);
                booted.terminal = None;
                Some(left?)
            }
            _ => None,
        };
        state.record(&Init {
            up: true,
            console,
            ..record
        })
    });
    match up {
        Ok(()) => Ok(booted),
        Err(error) => {
            booted.child.kill();
            Err(error)
        }
    }
}

/// Spawns the process in its cgroups, and in a pid namespace of its own unless it `crosses` and makes
/// that itself. Gives what it was executed by, too.
fn spawn(
    socket: &OwnedFd,
    log: Option<&OwnedFd>,
    group: &Group,
    crosses: bool,
) -> Result<(Child, OwnedFd)> {
    let (program, mut command) = init_command()?;
    if crosses {
        command.arg("--userns");
    }
    command.arg(&socket.as_raw_fd().to_string());
    if let Some(log) = log {
        let to = || log.try_clone().doing(|| "open the log");
        command.stdio(0, log::null()?);
        command.stdio(1, to()?);
        command.stdio(2, to()?);
    }
    let entry = group.entry(Who::Init)?;
    let flags = match crosses {
        true => CloneFlags::empty(),
        false => CloneFlags::CLONE_NEWPID,
    };
    let child = command.spawn(flags, &entry, || Ok(()));
    Ok((child.doing(|| "start PID 1")?, program))
}
