//! The verbs: mount, net, boot, enter, stop, each under the subhost's lock and each the same way:
//! check everything, freeze the plan, act; or take down what the frozen plan says.

use crate::boot::{self, Booted, Order};
use crate::config::{Config, Name, Net, Phase, Stop, unreachable_by_others};
use crate::enter::{self, Join};
use crate::envfile::quote;
use crate::error::{Doing, Error, Exit, Result, shown};
use crate::holders::{self, Holder};
use crate::init::spec::Main;
use crate::init::usual_stop;
use crate::login::Program;
use crate::net::{self, Network, netns};
use crate::plan::{FORMAT, Half, Plan, Presence, Step, apply, undo_all};
use crate::root::{self, mountinfo::Table};
use crate::state::{Booter, Last, Lock, Running, State, boot_id, now, tty_of};
use crate::terminal::{Signals, Wiring};
use crate::{hooks, proc, sys};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long KILL may take: a process in an uninterruptible wait ends when its wait does.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// One subhost, by name.
#[derive(Debug, Clone)]
pub struct Subhost {
    tree: PathBuf,
    name: Name,
    state: State,
    set: Vec<String>,
    /// How long to wait for the lock.
    wait: Option<Duration>,
}

/// What a subhost is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing of it is up.
    Stopped,
    /// Root or network is up, no process.
    Hibernating,
    /// Its PID 1 lives.
    Running,
    /// Half built: what is missing, in words.
    Broken(String),
}

impl Status {
    /// In one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Status::Stopped => "stopped",
            Status::Hibernating => "hibernating",
            Status::Running => "running",
            Status::Broken(_) => "broken",
        }
    }
}

/// How much a stop takes down, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopHow {
    /// Processes only.
    pub keep: bool,
    /// KILL at once.
    pub kill: bool,
    /// End processes of the host that hold tree or namespace.
    pub kill_holders: bool,
    /// Detach what stays busy.
    pub detach: bool,
    /// Wait until the kernel has done with everything.
    pub sync: bool,
}

/// How a start stays with its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartHow {
    /// Returns when it is up.
    Background,
    /// Stays until RUN or INIT ends.
    Foreground,
    /// Stays, with a shell instead of RUN.
    Shell,
}

/// A half that is up, and whether this run brought it up.
struct Up {
    plan: Plan,
    brought: bool,
}

impl Subhost {
    /// The subhost `name` below `tree`; reads nothing. `set` are `KEY=VALUE` for this run.
    pub fn new(tree: &Path, name: &Name, set: &[String]) -> Self {
        Self {
            tree: tree.to_owned(),
            name: name.clone(),
            state: State::of(name),
            set: set.to_vec(),
            wait: None,
        }
    }

    /// Waits for the lock at most this long instead of STOP_TIMEOUT and 5 s.
    #[must_use]
    pub fn waiting(mut self, wait: Option<Duration>) -> Self {
        self.wait = wait;
        self
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its state in /run.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its settings.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn config(&self) -> Result<Config> {
        Config::load(&self.tree, &self.name, &self.set)
    }

    /// The plan of one half as the settings want it.
    ///
    /// # Errors
    /// As [`Subhost::config`].
    pub fn plan(&self, half: Half) -> Result<Plan> {
        plan(&self.config()?, half, &self.state)
    }

    /// The plan of one half that is up; none if it is not.
    ///
    /// # Errors
    /// It cannot be read, or another $SUBHOST has a subhost of this name up.
    pub fn frozen(&self, half: Half) -> Result<Option<Plan>> {
        let plan = self.state.plan(half)?;
        match &plan {
            Some(plan) if plan.tree != self.tree => Err(Error::new(
                Exit::Invalid,
                format!(
                    "the {} of {}/{} is up under this name",
                    half.as_str(),
                    shown(&plan.tree),
                    self.name
                ),
            )
            .hint(format!(
                "subhost-stop -S {} {}",
                shown(&plan.tree),
                self.name
            ))),
            _ => Ok(plan),
        }
    }

    fn lock(&self) -> Result<Lock> {
        let wait = self.wait.unwrap_or_else(|| {
            let running = self
                .state
                .running()
                .map(|running| running.init.stop_timeout);
            let configured = || self.config().map(|config| config.run.stop_timeout).ok();
            running
                .or_else(configured)
                .unwrap_or(Duration::from_secs(30))
                + Duration::from_secs(5)
        });
        self.state.lock(wait)
    }

    /// Does `work` under the lock.
    fn locked<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let lock = self.lock()?;
        let result = work();
        self.state.unlock(lock);
        result
    }

    /// There is a subhost of this name: a config, or something that is up.
    ///
    /// # Errors
    /// `NoSubhost`; its state cannot be read.
    pub fn must_exist(&self) -> Result<()> {
        let up = self.state.running().is_some()
            || self.state.plan(Half::Root)?.is_some()
            || self.state.plan(Half::Net)?.is_some();
        if up || self.tree.join(self.name.as_str()).join("config").exists() {
            return Ok(());
        }
        self.config().map(drop)
    }

    /// What it is at the moment, asked of the kernel.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub fn status(&self) -> Result<Status> {
        self.status_with(&Table::read()?, &mut Network::new()?)
    }

    /// As [`Subhost::status`], for many subhosts with one look at the mount table.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub fn status_with(&self, table: &Table, network: &mut Network) -> Result<Status> {
        if self.state.running().is_some() {
            return Ok(Status::Running);
        }
        let mut up = false;
        for half in [Half::Root, Half::Net] {
            let Some(plan) = self.frozen(half)? else {
                continue;
            };
            up = true;
            for (step, presence) in self.presences(&plan, true, table, network)? {
                if presence != Presence::Ours && !matches!(step, Step::Within { .. }) {
                    let what = match presence {
                        Presence::Foreign(what) => what,
                        _ => format!("missing: {}", title(step)),
                    };
                    return Ok(Status::Broken(what));
                }
            }
        }
        Ok(if up {
            Status::Hibernating
        } else {
            Status::Stopped
        })
    }

    fn presences<'a>(
        &self,
        plan: &'a Plan,
        frozen: bool,
        table: &Table,
        network: &mut Network,
    ) -> Result<Vec<(&'a Step, Presence)>> {
        let one = |step: &'a Step| {
            let presence = match step {
                Step::Claim { path } if self.state.has_claim(path) => Presence::Ours,
                Step::Netns { .. } | Step::Cable { .. } | Step::Routes { .. } => {
                    network.present(step, &plan.steps, frozen)?
                }
                other => root::present(other, table)?,
            };
            Ok((step, presence))
        };
        plan.steps.iter().map(one).collect()
    }

    /// Mounts the root.
    ///
    /// # Errors
    /// Why not; the world is as before.
    pub fn mount(&self) -> Result<()> {
        self.locked(|| self.up(Half::Root).map(drop))
    }

    /// Makes the network.
    ///
    /// # Errors
    /// Why not; the world is as before.
    pub fn net(&self) -> Result<()> {
        self.locked(|| self.up(Half::Net).map(drop))
    }

    /// Takes one half down; refused while it runs, as nothing in the kernel would stop it.
    ///
    /// # Errors
    /// `Busy` if it runs; what is left.
    pub fn take_down(&self, half: Half) -> Result<()> {
        self.must_exist()?;
        self.locked(|| {
            if let Some(running) = self.state.running() {
                return Err(Error::new(
                    Exit::Busy,
                    format!("it is running ({})", booter(&running)),
                )
                .hint("subhost-stop ends it first"));
            }
            self.down(half, StopHow::default())
        })
    }

    fn up(&self, half: Half) -> Result<Up> {
        let table = Table::read()?;
        let mut network = Network::new()?;
        if let Some(plan) = self.frozen(half)? {
            let steps = self.presences(&plan, true, &table, &mut network)?;
            refuse_foreign(&steps)?;
            self.act_all(&steps, &mut network)?;
            return Ok(Up {
                plan,
                brought: false,
            });
        }
        let config = self.config()?;
        let plan = plan(&config, half, &self.state)?;
        self.check_trees(&config, half)?;
        let steps = self.presences(&plan, false, &table, &mut network)?;
        refuse_foreign(&steps)?;
        let pending = root::pending(&plan.steps);
        for (step, presence) in &steps {
            if *presence == Presence::Absent {
                root::check(step, &table, &pending)?;
                network.check(step)?;
            }
        }
        if let (Half::Net, Net::Named(name)) = (half, &config.net) {
            netns::open(name)?;
        }
        if plan.steps.is_empty() {
            // The host's network or somebody else's: nothing of it is ours to keep or to remove.
            return Ok(Up {
                plan,
                brought: false,
            });
        }
        if half == Half::Net {
            assign(&config)?;
        }
        self.state.freeze(&plan)?;
        let (before, after) = match half {
            Half::Root => (Phase::Premount, Phase::Postmount),
            Half::Net => (Phase::Prenet, Phase::Postnet),
        };
        let made = hooks::run(&plan, before)
            .and_then(|()| self.act_all(&steps, &mut network))
            .and_then(|()| match hooks::run(&plan, after) {
                Ok(()) => Ok(()),
                Err(first) => {
                    let undone = undo_all(&plan.steps, |step| {
                        self.undo(step, &mut network, false, true)
                    });
                    Err(first.also(undone.err()))
                }
            });
        drop(steps);
        match made {
            Ok(()) => Ok(Up {
                plan,
                brought: true,
            }),
            Err(error) => {
                // What could not be undone is still what the frozen plan says.
                if error.also.is_empty() {
                    self.state.thaw(half);
                }
                Err(error)
            }
        }
    }

    fn act_all(&self, steps: &[(&Step, Presence)], network: &mut Network) -> Result<()> {
        let network = std::cell::RefCell::new(network);
        let act = |step: &&Step| match step {
            Step::Claim { path } => self.state.claim(path),
            Step::Netns { .. } | Step::Cable { .. } | Step::Routes { .. } => {
                network.borrow_mut().act(step)
            }
            other => root::act(other),
        };
        apply(steps, act, |step| {
            self.undo(step, &mut network.borrow_mut(), false, true)
        })
        .map(drop)
    }

    fn undo(&self, step: &Step, network: &mut Network, detach: bool, wait: bool) -> Result<()> {
        match step {
            Step::Claim { path } => {
                self.state.unclaim(path);
                Ok(())
            }
            Step::Netns { .. } | Step::Cable { .. } | Step::Routes { .. } => {
                network.undo(step, wait)
            }
            other => root::undo(other, detach),
        }
    }

    /// A setuid file inside must serve no user of the host.
    fn check_trees(&self, config: &Config, half: Half) -> Result<()> {
        if half == Half::Net {
            return Ok(());
        }
        let root = &config.root;
        unreachable_by_others(&config.dir, &config.dir)?;
        let mut paths = vec![root.upper.as_path(), root.live.as_path()];
        paths.extend(root.image.iter().map(|image| image.file.as_path()));
        for path in paths {
            let guard = match path.is_dir() {
                true => path,
                false => path.parent().unwrap_or(path),
            };
            unreachable_by_others(path, guard)?;
        }
        Ok(())
    }

    fn down(&self, half: Half, how: StopHow) -> Result<()> {
        let mut network = Network::new()?;
        let frozen = self.frozen(half)?;
        let (steps, holders) = match &frozen {
            Some(plan) => (plan.steps.clone(), self.net_holders(plan)?),
            None => {
                // Perhaps `-n | sh` made it. What is exactly what we would make is ours.
                let Ok(config) = self.config() else {
                    return Ok(());
                };
                let plan = plan(&config, half, &self.state)?;
                let table = Table::read()?;
                let there = self.presences(&plan, false, &table, &mut network)?;
                let ours = there
                    .into_iter()
                    .filter(|(_, presence)| *presence == Presence::Ours)
                    .map(|(step, _)| step.clone())
                    .collect();
                (ours, self.net_holders(&plan)?)
            }
        };
        // A namespace that somebody holds outlives its name: its cables must go explicitly.
        // So does one that is not ours to remove.
        let removed = steps.iter().any(|step| matches!(step, Step::Netns { .. }));
        let wait = how.sync || !holders.is_empty() || !removed;
        let mut stays = false;
        let undone = undo_all(&steps, |step| {
            // What is still mounted still uses what it claimed.
            if stays && matches!(step, Step::Claim { .. }) {
                return Ok(());
            }
            let undone = self.undo(step, &mut network, how.detach, wait);
            stays |= undone.is_err();
            undone
        });
        if undone.is_ok() {
            self.state.thaw(half);
        }
        if how.sync && half == Half::Root {
            wait_for_loops(&steps);
        }
        let held = match (half, holders.is_empty()) {
            (Half::Net, false) => Err(Error::new(
                Exit::Failed,
                "its network namespace has lost its name and cables but lives on",
            )
            .hint(holders::told(&holders))),
            _ => Ok(()),
        };
        Error::collect([undone.err(), held.err()].into_iter().flatten().collect())
    }

    fn net_holders(&self, plan: &Plan) -> Result<Vec<Holder>> {
        let Some(Step::Netns { name }) = plan.steps.first() else {
            return Ok(Vec::new());
        };
        Ok(match netns::find(name)? {
            netns::Found::Namespace(fd) => holders::of_netns(netns::inode(&fd)),
            _ => Vec::new(),
        })
    }

    /// Boots it, or says why not.
    ///
    /// # Errors
    /// `Busy` if somebody's enter booted it; why it is not up; what this run did is undone.
    pub fn start(&self, how: StartHow, wiring: Option<Wiring>) -> Result<u8> {
        let tied = how != StartHow::Background;
        let lock = self.lock()?;
        let booted = self.start_locked(how, wiring.filter(|_| tied));
        self.state.unlock(lock);
        match (booted?, wiring) {
            (Some((booted, signals)), Some(wiring)) if tied => booted.attend(wiring, &signals),
            _ => Ok(0),
        }
    }

    fn start_locked(
        &self,
        how: StartHow,
        wiring: Option<Wiring>,
    ) -> Result<Option<(Booted, Signals)>> {
        if let Some(running) = self.state.running() {
            if running.init.by.pid.is_none() && how == StartHow::Background {
                self.warn_if_changed();
                return Ok(None);
            }
            return Err(Error::new(
                Exit::Busy,
                format!("it is running already ({})", booter(&running)),
            ));
        }
        let config = self.config()?;
        let main = match how {
            StartHow::Shell => Main::Run(shell(&config, Vec::new())),
            _ => boot::started(&config),
        };
        let signals = Signals::new_if(wiring.is_some())?;
        let booted = self
            .bring_up(&config, main, wiring)
            .map_err(|(mut error, _)| {
                let inside = [Exit::CannotRun, Exit::NotFound, Exit::Own];
                if how == StartHow::Background && inside.contains(&error.exit) {
                    let key = if config.run.init.is_empty() {
                        "RUN"
                    } else {
                        "INIT"
                    };
                    error.what = format!("{key}: {}", error.what);
                    error.exit = Exit::Failed;
                }
                error
            })?;
        Ok(signals.map(|signals| (booted.0, signals)))
    }

    /// Root, network, boot; what this call brought up is taken down if a later part fails. Gives
    /// which halves it brought up.
    fn bring_up(
        &self,
        config: &Config,
        main: Main,
        wiring: Option<Wiring>,
    ) -> std::result::Result<(Booted, Vec<Half>), (Error, ())> {
        let mut brought = Vec::new();
        let result = self.bring_up_halves(config, main, wiring, &mut brought);
        match result {
            Ok(booted) => Ok((booted, brought)),
            Err(error) => {
                let left = self.down_halves(
                    &brought,
                    StopHow {
                        sync: true,
                        ..StopHow::default()
                    },
                );
                Err((error.also(left.err()), ()))
            }
        }
    }

    fn bring_up_halves(
        &self,
        config: &Config,
        main: Main,
        wiring: Option<Wiring>,
        brought: &mut Vec<Half>,
    ) -> Result<Booted> {
        let root = self.up(Half::Root)?;
        brought.extend(root.brought.then_some(Half::Root));
        let net = self.up(Half::Net)?;
        brought.extend(net.brought.then_some(Half::Net));
        if !root.brought || !net.brought {
            self.warn_if_changed();
        }
        // What is up is what the frozen plans say.
        let mut config = config.clone();
        config.root.live.clone_from(&root.plan.live);
        let network = self.network(&net.plan)?;
        let order = Order {
            main,
            by: Booter {
                tool: crate::cli::program(),
                pid: wiring.map(|_| std::process::id() as i32),
                tty: wiring.and_then(|_| tty_of(std::process::id() as i32)),
            },
            wiring,
        };
        boot::boot(&config, &self.state, network.as_ref(), order)
    }

    fn network(&self, plan: &Plan) -> Result<Option<OwnedFd>> {
        match plan.netns.file_name().and_then(|name| name.to_str()) {
            None => Ok(None),
            Some(name) => netns::open(name).map(Some),
        }
    }

    fn down_halves(&self, halves: &[Half], how: StopHow) -> Result<()> {
        undo_all(halves, |half| self.down(*half, how))
    }

    /// Which halves would now be made otherwise than they are up.
    ///
    /// # Errors
    /// Config or state cannot be read.
    pub fn changed(&self) -> Result<Vec<Half>> {
        let mut changed = Vec::new();
        for half in [Half::Root, Half::Net] {
            if let Some(frozen) = self.frozen(half)?
                && !frozen.makes_the_same(&self.plan(half)?)
            {
                changed.push(half);
            }
        }
        Ok(changed)
    }

    fn warn_if_changed(&self) {
        for half in self.changed().unwrap_or_default() {
            crate::cli::warn(
                Some(&self.name),
                &format!(
                    "the settings of its {} changed since it was made: they apply after a stop",
                    half.as_str()
                ),
            );
        }
    }

    /// Runs a command inside: joins a running subhost, else boots it for as long as the command
    /// runs and takes down what that brought up. Gives the command's status.
    ///
    /// # Errors
    /// `NotRunning` with `only_join`; our own failures with the statuses of `subhost-enter`.
    pub fn enter(&self, join: &Join, only_join: bool) -> Result<u8> {
        if let Some(running) = self.state.running() {
            return enter::join(&self.name, &running, join);
        }
        self.must_exist()?;
        if only_join {
            return Err(Error::new(Exit::NotRunning, "it is not running")
                .hint(format!("subhost-start {} starts it", self.name)));
        }
        let lock = self.lock()?;
        // It may have come up while we waited.
        if let Some(running) = self.state.running() {
            self.state.unlock(lock);
            return enter::join(&self.name, &running, join);
        }
        let booted = self.enter_locked(join);
        self.state.unlock(lock);
        let (booted, brought, signals) = booted?;
        if join.wiring.interactive() && !join.quiet {
            eprintln!(
                "{}: you are its init: when you leave, all that runs inside ends",
                self.name
            );
        }
        let status = booted.attend(join.wiring, &signals);
        let left = self.locked(|| {
            // Somebody else may have started it since.
            if self.state.running().is_some() {
                return Ok(());
            }
            self.state.forget();
            self.down_halves(&brought, StopHow::default())
        });
        if let Err(error) = left {
            crate::cli::report(Some(&self.name), &error);
        }
        status
    }

    fn enter_locked(&self, join: &Join) -> Result<(Booted, Vec<Half>, Signals)> {
        let config = self.config()?;
        let mut program = shell(&config, join.argv.clone());
        program.user.clone_from(&join.user);
        program.dir.clone_from(&join.dir);
        program.env.extend(join.env.clone());
        program.term = join.term();
        let signals = Signals::new()?;
        let (booted, brought) = self
            .bring_up(&config, Main::Run(program), Some(join.wiring))
            .map_err(|(error, ())| error)?;
        Ok((booted, brought, signals))
    }

    /// Takes down processes, network and root, whatever fails on the way.
    ///
    /// # Errors
    /// What is left, and who holds it.
    pub fn stop(&self, how: StopHow) -> Result<()> {
        self.must_exist()?;
        self.locked(|| self.stop_locked(how))
    }

    fn stop_locked(&self, how: StopHow) -> Result<()> {
        let mut errors = Vec::new();
        let plan = match self.frozen(Half::Root) {
            Ok(Some(plan)) => Some(plan),
            Ok(None) => self.frozen(Half::Net)?,
            Err(error) => return Err(error),
        };
        let hook = |phase| plan.as_ref().map_or(Ok(()), |plan| hooks::run(plan, phase));
        if !how.keep {
            errors.extend(hook(Phase::Prestop).err());
        }
        if let Some(running) = self.state.running() {
            // Nothing can be taken from under a process that will not end.
            self.end(&running, how.kill)?;
            // What logs its console ends by itself when it has written the rest.
            if let Some(logger) = running.init.console.and_then(|console| console.alive()) {
                proc::wait(&logger, Some(Duration::from_secs(2)));
            }
        }
        self.state.forget();
        if how.keep {
            return Error::collect(errors);
        }
        if how.kill_holders {
            errors.extend(self.end_holders().err());
        }
        errors.extend(self.down(Half::Net, how).err());
        errors.extend(self.down(Half::Root, how).err());
        errors.extend(hook(Phase::Poststop).err());
        Error::collect(errors)
    }

    /// Ends PID 1 and with it all processes inside.
    fn end(&self, running: &Running, at_once: bool) -> Result<()> {
        if !at_once {
            self.ask(running);
            // Our PID 1 keeps the time itself; an init that does not hear must not have forever.
            let grace = running.init.stop_timeout + Duration::from_millis(500);
            if proc::wait(&running.pidfd, Some(grace)) {
                return Ok(());
            }
        }
        sys::pidfd_kill(&running.pidfd, Signal::SIGKILL as i32)
            .or_else(|errno| {
                if errno == crate::error::Errno::ESRCH {
                    Ok(())
                } else {
                    Err(errno)
                }
            })
            .doing(|| format!("kill PID 1 (pid {})", running.init.identity.pid))?;
        if !proc::wait(&running.pidfd, Some(KILL_TIMEOUT)) {
            return Err(Error::new(
                Exit::TimedOut,
                format!(
                    "its PID 1 (pid {}) does not end on KILL",
                    running.init.identity.pid
                ),
            )
            .hint("it waits in the kernel, perhaps for a disk or a network file system"));
        }
        self.state.record_last(&Last {
            when: now(),
            exit: None,
            signal: Some(Signal::SIGKILL as i32),
        });
        Ok(())
    }

    fn ask(&self, running: &Running) {
        let (init, deadline) = (&running.init, Instant::now() + running.init.stop_timeout);
        let term = Signal::SIGTERM as i32;
        let command = match (&init.stop, init.own) {
            (Stop::Command(argv), _) => Some(argv.clone()),
            (Stop::Usual, true) if usual_stop(&executable(init.identity.pid)).is_none() => {
                Some(vec!["/sbin/telinit".to_owned(), "0".to_owned()])
            }
            _ => None,
        };
        if let Some(argv) = command {
            let left = deadline.saturating_duration_since(Instant::now());
            match enter::aside(&self.tree, &self.name, &argv, left) {
                Ok(0) => return,
                Ok(status) => crate::cli::warn(
                    Some(&self.name),
                    &format!(
                        "{} inside gave {status}: sending TERM instead",
                        shown(&argv[0])
                    ),
                ),
                Err(error) => crate::cli::report(Some(&self.name), &error),
            }
        }
        let signal = match (&init.stop, init.own) {
            // Our PID 1 takes TERM as the order, whatever it then sends to RUN.
            (_, false) => term,
            (Stop::Signal(signal), true) => *signal,
            (_, true) => usual_stop(&executable(init.identity.pid)).unwrap_or(term),
        };
        if init.own {
            wait_for_handler(init.identity.pid, signal);
        }
        let _ = sys::pidfd_kill(&running.pidfd, signal);
    }

    fn end_holders(&self) -> Result<()> {
        let mut held = Vec::new();
        if let Some(plan) = self.frozen(Half::Net)? {
            held.extend(self.net_holders(&plan)?);
        }
        if let Some(plan) = self.frozen(Half::Root)? {
            held.extend(holders::of_mount(&plan.live));
        }
        let spared = holders::ancestors();
        let mut pidfds = Vec::new();
        for holder in held.iter().filter(|holder| !spared.contains(&holder.pid)) {
            if let Ok(pidfd) = proc::open(holder.pid) {
                let _ = sys::pidfd_kill(&pidfd, Signal::SIGTERM as i32);
                let _ = sys::pidfd_kill(&pidfd, Signal::SIGHUP as i32);
                pidfds.push(pidfd);
            }
        }
        for pidfd in &pidfds {
            if !proc::wait(pidfd, Some(Duration::from_secs(2))) {
                let _ = sys::pidfd_kill(pidfd, Signal::SIGKILL as i32);
                proc::wait(pidfd, Some(KILL_TIMEOUT));
            }
        }
        Ok(())
    }

    /// The steps up as a shell script; what is there already is left out.
    ///
    /// # Errors
    /// As the real thing, as far as can be told without doing it.
    pub fn script_up(&self, half: Half) -> Result<String> {
        let table = Table::read()?;
        let mut network = Network::new()?;
        let frozen = self.frozen(half)?;
        let is_frozen = frozen.is_some();
        let plan = match frozen {
            Some(plan) => plan,
            None => self.plan(half)?,
        };
        let steps = self.presences(&plan, is_frozen, &table, &mut network)?;
        refuse_foreign(&steps)?;
        let pending = root::pending(&plan.steps);
        let mut lines = Vec::new();
        for (step, presence) in &steps {
            if *presence == Presence::Absent {
                root::check(step, &table, &pending)?;
                network.check(step)?;
                lines.extend(root::shell::up(step));
                lines.extend(net::shell::up(step));
            }
        }
        let (before, after) = match half {
            Half::Root => (Phase::Premount, Phase::Postmount),
            Half::Net => (Phase::Prenet, Phase::Postnet),
        };
        if !lines.is_empty() && !is_frozen {
            lines.splice(0..0, hooks::shell(&plan, before));
            lines.extend(hooks::shell(&plan, after));
        }
        Ok(script(&lines))
    }

    /// The steps down as a shell script.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub fn script_down(&self, halves: &[Half], processes: bool) -> Result<String> {
        self.must_exist()?;
        let mut lines = Vec::new();
        let frozen = match self.frozen(Half::Root)? {
            Some(plan) => Some(plan),
            None => self.frozen(Half::Net)?,
        };
        let hook = |phase| frozen.as_ref().and_then(|plan| hooks::shell(plan, phase));
        if processes {
            lines.extend(hook(Phase::Prestop));
            if let Some(running) = self.state.running() {
                let pid = running.init.identity.pid;
                lines.push(format!("kill -TERM {pid}"));
                lines.push(format!("while [ -d /proc/{pid} ]; do sleep 0.1; done"));
            }
        }
        let table = Table::read()?;
        let mut network = Network::new()?;
        for half in halves {
            let (plan, is_frozen) = match self.frozen(*half)? {
                Some(plan) => (plan, true),
                None => match self.plan(*half) {
                    Ok(plan) => (plan, false),
                    Err(_) => continue,
                },
            };
            for (step, presence) in self
                .presences(&plan, is_frozen, &table, &mut network)?
                .iter()
                .rev()
            {
                if *presence == Presence::Ours {
                    lines.extend(net::shell::down(step));
                    lines.extend(root::shell::down(step));
                }
            }
            if is_frozen {
                let file = match half {
                    Half::Root => "root.plan",
                    Half::Net => "net.plan",
                };
                let file = self.state.dir().join(file);
                lines.push(format!("rm -f {}", quote(&file.to_string_lossy())));
            }
        }
        if processes {
            lines.extend(hook(Phase::Poststop));
        }
        Ok(script(&lines))
    }
}

fn script(lines: &[String]) -> String {
    let mut text = String::from("set -e\n");
    for line in lines {
        text += line;
        text.push('\n');
    }
    text
}

fn refuse_foreign(steps: &[(&Step, Presence)]) -> Result<()> {
    for (_, presence) in steps {
        if let Presence::Foreign(what) = presence {
            return Err(Error::new(Exit::Failed, format!("in the way: {what}"))
                .hint("not made by us, so never touched: remove it, or use another name"));
        }
    }
    Ok(())
}

/// A step in a few words.
fn title(step: &Step) -> String {
    match step {
        Step::Directory { path, .. } | Step::Within { path, .. } => shown(path),
        Step::Claim { path } => format!("the claim of {}", shown(path)),
        Step::Image { at, .. }
        | Step::Tmpfs { at }
        | Step::Overlay { at, .. }
        | Step::Rbind { at, .. } => {
            format!("the mount on {}", shown(at))
        }
        Step::Netns { name } => format!("the network namespace {name}"),
        Step::Cable { cable, .. } => format!("the cable {}", cable.host),
        Step::Routes { netns, .. } => format!("routes in {netns}"),
    }
}

fn booter(running: &Running) -> String {
    let by = &running.init.by;
    let pid = running.init.identity.pid;
    match (by.pid, &by.tty) {
        (None, _) => format!("pid {pid}"),
        (Some(booter), None) => format!("booted by {} pid {booter}", by.tool),
        (Some(booter), Some(tty)) => format!("booted by {} pid {booter} on {tty}", by.tool),
    }
}

fn shell(config: &Config, argv: Vec<String>) -> Program {
    Program {
        argv,
        user: "root".into(),
        dir: String::new(),
        env: config.run.env.clone(),
        term: std::env::var("TERM").ok(),
        own_network: matches!(config.net, Net::Private(_)),
    }
}

fn executable(pid: i32) -> String {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// An init that has just been started has no handler yet, and PID 1 loses what it has none for.
fn wait_for_handler(pid: i32, signal: i32) {
    for _ in 0..200 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let handled = ["SigCgt:", "SigBlk:"].iter().any(|field| {
            let mask = status
                .lines()
                .find_map(|line| u64::from_str_radix(line.strip_prefix(field)?.trim(), 16).ok());
            mask.unwrap_or(0) >> (signal - 1) & 1 == 1
        });
        if handled {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The kernel lets go of a loop device a moment after its last mount.
fn wait_for_loops(steps: &[Step]) {
    for step in steps {
        if let Step::Image { file, .. } = step {
            for _ in 0..200 {
                if root::loops(file).is_empty() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn plan(config: &Config, half: Half, state: &State) -> Result<Plan> {
    let netns = match &config.net {
        Net::Host => PathBuf::new(),
        Net::Named(name) => netns::path(name),
        Net::Private(_) => netns::path(config.name.as_str()),
    };
    let (kind, steps) = match half {
        Half::Root => (config.kind().to_owned(), root::steps(config, state.dir())),
        Half::Net => (config.settings["NET"].clone(), net::steps(config)),
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut hook_env: BTreeMap<String, String> = config.settings.clone();
    hook_env.extend([
        ("NAME".to_owned(), config.name.to_string()),
        ("SUBHOST".to_owned(), text(&config.tree)),
        ("LIVE".to_owned(), text(&config.root.live)),
        ("NETNS".to_owned(), text(&netns)),
    ]);
    Ok(Plan {
        format: FORMAT,
        boot: boot_id()?,
        tree: config.tree.clone(),
        name: config.name.to_string(),
        half,
        kind,
        steps,
        live: config.root.live.clone(),
        netns,
        hooks: config.hooks.clone(),
        hook_timeout: config.hook_timeout,
        hook_env,
    })
}

/// Keeps the MACs of the cables in `assigned`, so that they stay when the tree moves to another
/// host.
fn assign(config: &Config) -> Result<()> {
    let Net::Private(private) = &config.net else {
        return Ok(());
    };
    let file = Config::assigned_file(&config.dir);
    let mut text = std::fs::read_to_string(&file).unwrap_or_default();
    let before = text.len();
    for cable in &private.cables {
        let key = format!("MAC{}=", cable.index);
        if !text.lines().any(|line| line.starts_with(&key)) {
            text += &format!("{key}{}\n", cable.mac);
        }
    }
    if text.len() == before {
        return Ok(());
    }
    use std::os::unix::fs::OpenOptionsExt;
    let new = config.dir.join("assigned.new");
    std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&new, &file))
        .doing(|| format!("write {}", shown(&file)))
}
