//! The booting tool's side of a boot: it spawns PID 1 of a new pid namespace, records it, and sends it its spec. PID 1 makes
//! everything inside itself, so that the tool stays on the host and can undo. Until it is recorded, PID 1 changes nothing of
//! the host; with a user namespace it has by then cloned the mounts of the host that it will need.
//!
//! PID 1, ours or the tree's, outlives the tool: it is the tool's child, then that of the host's init. The logger of a
//! tree's own init in the background outlives it, too: it holds both ends of that init's terminal, the log, the file for the end of the run
//! and a pidfd; our PID 1 writes log and file itself.

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
use crate::kernel::packets::{send, sockets};
use crate::kernel::pinned;
use crate::kernel::proc::Identity;
use crate::kernel::spawn::Child;
use crate::kernel::terminal::StdioMode;
use crate::kernel::tools::init_command;
use crate::login::Guest;
use crate::state::{Booter, Group, Init, State};
pub use booted::Booted;
use nix::sched::CloneFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use userns::UsernsEntry;

/// What a caller asks of the boot of a config.
#[derive(Debug)]
pub struct BootRequest {
    /// What PID 1 does.
    pub main: Main,
    /// How the caller's descriptors reach PID 1. `None`: it runs in the background and writes a log.
    pub stdio: Option<StdioMode>,
    /// Who boots, for the record.
    pub by: Booter,
    /// The environment of those that join later ([`Config::environment`]).
    pub env: BTreeMap<String, String>,
    /// The first host id of its user namespace. `None`: it has none.
    pub ids: Option<u32>,
    /// Whether it joins a network namespace other than the host's.
    pub joins_network: bool,
}

/// The set-up of root and network, part of which a boot may overlap with the start of PID 1.
pub trait Setup {
    /// Mounts the root, if it is not mounted. The boot calls this once, when the process of PID 1 exists.
    ///
    /// # Errors
    /// Why the root cannot be mounted.
    fn mount_root(&mut self) -> Result<()>;

    /// Returns the network namespace as soon as it exists; `None` if PID 1 stays in the host's. The boot calls this once.
    ///
    /// # Errors
    /// Why the network cannot be made.
    fn network_namespace(&mut self) -> Result<Option<OwnedFd>>;

    /// Waits until everything in that namespace is made.
    ///
    /// # Errors
    /// Why the network cannot be made.
    fn finish_network(&mut self) -> Result<()>;
}

/// Returns what every process has that is booted in the subhost of `config` with `env` ([`Config::environment`]).
pub fn guest(config: &Config, env: BTreeMap<String, String>, pid_1: Pid1) -> Guest {
    Guest {
        env,
        rights: config.rights(pid_1),
        labels: config.run.labels.clone(),
    }
}

/// Returns what PID 1 does when the subhost is started: INIT, RUN or nothing.
pub fn main_of_start(config: &Config, env: &BTreeMap<String, String>) -> Main {
    let run = &config.run;
    let program = |guest: Guest, argv: &[String]| crate::login::Program {
        user: run.user.clone(),
        dir: run.dir.clone(),
        ..guest.program(argv.to_vec())
    };
    if !run.init.is_empty() {
        let guest = guest(config, env.clone(), Pid1::Init);
        return Main::Init(program(guest.with_env_of_init(), &run.init));
    }
    match run.command.is_empty() {
        true => Main::Hold,
        false => {
            let guest = guest(config, env.clone(), Pid1::Ours);
            Main::Run(program(guest, &run.command))
        }
    }
}

/// What is booted, whatever it was made of.
pub struct Boot<'a> {
    /// Its name, for messages and the log.
    pub name: &'a Name,
    /// $SUBHOST.
    pub tree: &'a Path,
    /// What PID 1 makes and then is.
    pub spec: Spec,
    /// How a stop asks it to end, for the record.
    pub stop: Stop,
    /// What those that join later have. Its rights are those of the spec.
    pub guest: Guest,
    /// Whether the network namespace is its own. One that is belongs to its user namespace, if it has one.
    pub owns_network: bool,
    /// Who boots, for the record.
    pub by: Booter,
}

/// The cgroups of a boot: recorded and made.
pub struct Cgroups<'a> {
    state: &'a State,
    /// The cgroups that exist: a controller that the host lacks may have none.
    pub group: Group,
}

impl<'a> Cgroups<'a> {
    /// Records the cgroups of `plan`, then makes them.
    ///
    /// # Errors
    /// Why they cannot be made. None is left then, or the record names it.
    pub fn make(plan: &cgroup::Plan, state: &'a State) -> Result<Self> {
        let planned = &plan.group;
        // If we are killed before they are all made, the record names those that are.
        if !planned.is_empty() {
            state.record_cgroups(planned)?;
        }
        let group = plan.make().inspect_err(|error| {
            if error.also.is_empty() {
                state.forget_cgroups();
            }
        })?;
        let cgroups = Self { state, group };
        if cgroups.group != *planned {
            cgroups.removed_if_failed(state.record_cgroups(&cgroups.group))?;
        }
        Ok(cgroups)
    }

    /// Removes the cgroups, and the record of a PID 1 in them, if the boot failed.
    fn removed_if_failed<T>(&self, boot: Result<T>) -> Result<T> {
        boot.map_err(|error| {
            let left = self.state.remove_cgroups();
            self.state.forget();
            error.also(left.err())
        })
    }
}

/// Boots what a config says.
///
/// # Errors
/// As [`boot`].
pub fn boot_config(
    config: &Config,
    state: &State,
    setup: &mut dyn Setup,
    request: BootRequest,
) -> Result<Booted> {
    let pid_1 = match request.main {
        Main::Init(_) => Pid1::Init,
        _ => Pid1::Ours,
    };
    // A subhost that ended by itself left its cgroups.
    state.remove_cgroups()?;
    let layout = match pid_1 {
        Pid1::Init => Layout::Divided,
        Pid1::Ours => Layout::Single,
    };
    let plan = cgroup::Plan::new(config, layout)?;
    let cgroups = Cgroups::make(&plan, state)?;
    let spec = spec::compile(config, state, &request, &cgroups.group);
    let spec = cgroups.removed_if_failed(spec)?;
    let what = Boot {
        name: &config.name,
        tree: &config.tree,
        spec,
        stop: config.run.stop.clone(),
        guest: guest(config, request.env, pid_1),
        owns_network: matches!(config.net, Net::Private(_)),
        by: request.by,
    };
    boot(&what, &cgroups, setup)
}

/// Boots `what` in its cgroups, with the root and the network of `setup`.
///
/// # Errors
/// Why it is not up, or why root or network are not. Nothing of the boot is left then, nor its cgroups.
pub fn boot(what: &Boot, cgroups: &Cgroups, setup: &mut dyn Setup) -> Result<Booted> {
    let booted = try_boot(what, cgroups.state, setup, &cgroups.group);
    cgroups.removed_if_failed(booted)
}

fn try_boot(what: &Boot, state: &State, setup: &mut dyn Setup, group: &Group) -> Result<Booted> {
    let process = &what.spec.process;
    if let (Some(base), true) = (what.spec.ids, has_own_cgroup(&process.main, group)) {
        // The tree's own init manages its part of the hierarchy.
        group.delegate_to(base)?;
    }
    let log = match process.tied {
        false => Some(log::open(what.name)?),
        true => None,
    };
    // Without it a boot takes longer.
    if let Err(error) = pinned::ensure() {
        message::tell(Some(what.name), || error.to_string());
    }
    let end_of_run = state.for_init()?;
    let spawned = match what.spec.ids {
        None => Spawned::in_new_pid_namespace(log.as_ref(), group)?,
        Some(_) => Spawned::in_user_namespace(what, log.as_ref(), group, setup)?,
    };
    // Until it is told to go, PID 1 waits, and it ends if we do.
    let (identity, pidfd) = Identity::open(spawned.child.id()).doing(|| "watch PID 1")?;
    let mut booted = Booted {
        child: spawned.child,
        socket: spawned.socket,
        terminal: None,
        pidfd,
    };
    let record = record(what, identity)?;
    let up = state.record(&record).and_then(|()| {
        let go = Go {
            spec: &what.spec,
            end_of_run: &end_of_run,
            joins_network: !spawned.has_network,
        };
        go.mount_root_and_send(&booted, setup)?;
        // Not earlier: the kernel takes a while to unmount what it lies on.
        drop(spawned.program);
        setup.finish_network()?;
        booted.proceed()?;
        booted.wait_until_up(&process.main)?;
        let console = match log.as_ref().filter(|_| is_init(&process.main)) {
            Some(log) => booted.leave_logger(log, process.log_max, &end_of_run)?,
            None => None,
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

fn is_init(main: &Main) -> bool {
    matches!(main, Main::Init(_))
}

/// Reports whether PID 1 has a part of the v2 hierarchy for itself.
fn has_own_cgroup(main: &Main, group: &Group) -> bool {
    is_init(main) && group.unified().is_some()
}

/// Returns the record of a PID 1 that has just been spawned.
fn record(what: &Boot, identity: Identity) -> Result<Init> {
    let process = &what.spec.process;
    Ok(Init {
        boot: boot_id()?.to_owned(),
        protocol: PROTOCOL,
        tree: what.tree.to_owned(),
        identity,
        by: what.by.clone(),
        ids: what.spec.ids,
        since: now(),
        up: false,
        asked: false,
        live: false,
        own: is_init(&process.main),
        stop: what.stop.clone(),
        stop_timeout: process.stop_timeout,
        env: what.guest.env.clone(),
        rights: process.rights.clone(),
        labels: what.guest.labels.clone(),
        console: None,
    })
}

/// The process that becomes PID 1, or is it.
struct Spawned {
    child: Child,
    socket: OwnedFd,
    /// The program that it was executed from, held open.
    program: OwnedFd,
    /// Whether it is in its network namespace already.
    has_network: bool,
}

impl Spawned {
    /// Spawns PID 1 itself.
    fn in_new_pid_namespace(log: Option<&OwnedFd>, group: &Group) -> Result<Self> {
        let (socket, theirs) = sockets("PID 1")?;
        let (child, program) = spawn(&theirs, log, group, CloneFlags::CLONE_NEWPID)?;
        Ok(Self {
            child,
            socket,
            program,
            has_network: false,
        })
    }

    /// Spawns a process that enters a user namespace, and the network namespace with it, and makes PID 1 there.
    fn in_user_namespace(
        what: &Boot,
        log: Option<&OwnedFd>,
        group: &Group,
        setup: &mut dyn Setup,
    ) -> Result<Self> {
        let network = setup.network_namespace()?;
        let (socket, theirs) = sockets("PID 1")?;
        let (child, program) = spawn(&theirs, log, group, CloneFlags::empty())?;
        let entry = UsernsEntry {
            socket: &socket,
            spec: &what.spec,
            network: network.as_ref(),
            owns_network: what.owns_network,
        };
        let (child, unmapped) = entry.make_pid_1(child)?;
        for path in unmapped {
            let text = format!("{path} belongs to nobody inside: its ids cannot be mapped");
            message::warn(Some(what.name), &text);
        }
        Ok(Self {
            child,
            socket,
            program,
            has_network: true,
        })
    }
}

/// Spawns our PID 1's program in its cgroups: as PID 1 of a new pid namespace if `flags` has CLONE_NEWPID, else to make
/// PID 1 in a user namespace. Returns the program's descriptor too.
fn spawn(
    socket: &OwnedFd,
    log: Option<&OwnedFd>,
    group: &Group,
    flags: CloneFlags,
) -> Result<(Child, OwnedFd)> {
    let (program, mut command) = init_command()?;
    if !flags.contains(CloneFlags::CLONE_NEWPID) {
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
    let child = command.spawn(flags, &entry, || Ok(()));
    Ok((child.doing(|| "start PID 1")?, program))
}

/// The order to PID 1 to begin.
struct Go<'a> {
    spec: &'a Spec,
    end_of_run: &'a File,
    joins_network: bool,
}

impl Go<'_> {
    /// Mounts the root, then sends PID 1 its spec, the file for the end of its run and the network namespace. PID 1 begins,
    /// and then waits for [`ToInit::Proceed`].
    fn mount_root_and_send(&self, booted: &Booted, setup: &mut dyn Setup) -> Result<()> {
        setup.mount_root()?;
        let memfd = spec::memfd(self.spec)?;
        let mut fds = vec![memfd.as_raw_fd(), self.end_of_run.as_raw_fd()];
        let network = match self.joins_network {
            true => setup.network_namespace()?,
            false => None,
        };
        fds.extend(network.as_ref().map(AsRawFd::as_raw_fd));
        send(&booted.socket, &ToInit::Go, &fds)
    }
}
