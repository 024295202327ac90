//! Start and enter: both parts up, and a process inside.

use super::OnStep;
use super::parallel::{ParallelSetup, Ready, namespace_of};
use super::{KILL_TIMEOUT, StartHow, StopHow, Subhost, Up, limit};
use crate::base::error::{Error, Exit, Result};
use crate::base::message;
use crate::boot::{self, BootRequest, Booted, Parts as _};
use crate::config::{Config, Net, Phase, Pid1, Userns};
use crate::enter::{self, Join};
use crate::init::spec::Main;
use crate::kernel::terminal::{Signals, StdioMode, TtyMode, tty_of};
use crate::kernel::{holders, proc, processor};
use crate::login::Program;
use crate::net::named;
use crate::plan::{Part, Step};
use crate::state::{Booter, Group, Running, booter};
use crate::subhost::hooks;
use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longer than a boot may take.
const BOOT_TIMEOUT: Duration = Duration::from_secs(70);

/// Variables, read of the config.
type Env = BTreeMap<String, String>;

impl Subhost {
    /// Boots it, or says why not.
    ///
    /// # Errors
    /// `Busy` if somebody's enter booted it; why it is not up; what this run did is undone.
    pub fn start(&self, how: StartHow, wiring: Option<StdioMode>) -> Result<u8> {
        let tied = how != StartHow::Background;
        // Before the lock, which lets signals through again when it goes.
        let signals = (tied && wiring.is_some())
            .then(Signals::block)
            .transpose()?;
        let lock = self.lock()?;
        let booted = self.start_locked(how, wiring.filter(|_| tied));
        self.state.unlock(lock);
        match (booted?, signals) {
            (Some((booted, Some(wiring))), Some(signals)) => booted.attend(wiring, &signals),
            _ => Ok(0),
        }
    }

    fn start_locked(
        &self,
        how: StartHow,
        wiring: Option<StdioMode>,
    ) -> Result<Option<(Booted, Option<StdioMode>)>> {
        if let Some(running) = self.running()?
            && !is_orphan(&running)
            && self.keeps_running(&running)?
        {
            if self.state.cgroups()?.is_frozen() {
                return Err(limit::frozen(&self.name));
            }
            if running.init.by.pid.is_none() && how == StartHow::Background {
                // It runs on whatever became of its config.
                if let Ok(config) = self.config() {
                    self.warn_if_changed(&config);
                }
                return Ok(None);
            }
            return Err(Error::new(
                Exit::Busy,
                format!("it is running already ({})", booter(&running)),
            ));
        }
        let config = self.config()?;
        let env = config.environment()?;
        let main = match how {
            StartHow::Shell => Main::Run(shell(&config, &env, Vec::new())),
            _ => boot::started(&config, &env),
        };
        // Nobody is there who would take a terminal's signals: they are for us.
        let wiring = match main {
            Main::Hold => wiring.map(|_| StdioMode::new(TtyMode::Never)),
            _ => wiring,
        };
        let booted = self.bring_up(&config, main, env, wiring);
        let booted = booted.map_err(|mut error| {
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
        Ok(Some((booted.0, wiring)))
    }

    /// Root, network, boot; what this call brought up is taken down if a later part fails. Gives
    /// which parts it brought up.
    fn bring_up(
        &self,
        config: &Config,
        main: Main,
        env: Env,
        wiring: Option<StdioMode>,
    ) -> Result<(Booted, Vec<Part>)> {
        for label in &config.run.labels {
            label.check()?;
        }
        config.rights(Pid1::Ours).check()?;
        let request = BootRequest {
            main,
            by: Booter {
                tool: message::program(),
                pid: wiring.map(|_| std::process::id() as i32),
                tty: wiring.and_then(|_| tty_of(std::process::id() as i32)),
            },
            wiring,
            env,
            ids: None,
            joins_network: true,
        };
        let brought = Mutex::new(Vec::new());
        let up = |part, on_step: OnStep| {
            let up = self.up(part, Some(config), on_step)?;
            let mut brought = brought.lock().unwrap_or_else(PoisonError::into_inner);
            brought.extend(up.brought.then_some(part));
            Ok(up)
        };
        let up = &up;
        let result = std::thread::scope(|scope| {
            let (sender, namespace) = channel();
            let on_step = move |step: &Step| {
                let Some(name) = step.namespace() else {
                    return;
                };
                // Where it cannot be opened that is told when all is made.
                let _ = named::open(name).map(|namespace| sender.send(namespace));
            };
            let make_network = move || up(Part::Net, &on_step);
            let thread = || std::thread::Builder::new().spawn_scoped(scope, make_network);
            let root = || up(Part::Root, &|_| ()).map(drop);
            let mut parts = match self.network_is_apart(config)?.then(thread) {
                Some(Ok(thread)) => ParallelSetup::new(root, thread, namespace),
                // Without a thread it only takes longer.
                _ => return self.boot_after(config, up, request),
            };
            let booted = boot::boot_config(config, &self.state, &mut parts, request);
            // What became of the network has to be on_step, whatever became of the rest.
            booted.map_err(|error| error.also(parts.complete().err()))
        });
        let mut brought = brought.into_inner().unwrap_or_else(PoisonError::into_inner);
        brought.sort_unstable();
        match result {
            Ok(booted) => Ok((booted, brought)),
            Err(error) => {
                let left = self.down_parts(
                    &brought,
                    StopHow {
                        sync: true,
                        ..StopHow::default()
                    },
                );
                Err(error.also(left.err()))
            }
        }
    }

    /// Can the network be made by a thread, and the root while PID 1 begins? Both are of one command then, no hook comes
    /// between, and nothing else is started for it.
    fn network_is_apart(&self, config: &Config) -> Result<bool> {
        let is_plain = matches!(config.net, Net::Private(_))
            && !config.has_helper()
            && config.hooks.is_empty()
            && config.userns == Userns::No
            && !processor::is_saturated()
            && !crate::kernel::privilege::has_entered();
        Ok(is_plain && self.frozen(Part::Root)?.is_none() && self.frozen(Part::Net)?.is_none())
    }

    /// One after the other.
    fn boot_after(
        &self,
        config: &Config,
        up: impl Fn(Part, OnStep) -> Result<Up>,
        request: BootRequest,
    ) -> Result<Booted> {
        let root = up(Part::Root, &|_| ())?;
        let net = up(Part::Net, &|_| ())?;
        if !root.brought || !net.brought {
            self.warn_if_changed(config);
        }
        // What is up is what the frozen plans say.
        let moved;
        let mut config = config;
        if config.root.live != root.plan.live {
            let mut as_frozen = config.clone();
            as_frozen.root.live.clone_from(&root.plan.live);
            moved = as_frozen;
            config = &moved;
        }
        let network = namespace_of(&net.plan)?;
        let request = BootRequest {
            ids: root.plan.ids,
            joins_network: network.is_some(),
            ..request
        };
        boot::boot_config(config, &self.state, &mut Ready(network), request)
    }

    fn warn_if_changed(&self, config: &Config) {
        for part in self.changed_from(config).unwrap_or_default() {
            message::warn(
                Some(&self.name),
                &format!(
                    "the settings of its {} changed since it was made: they apply after a stop",
                    part.as_str()
                ),
            );
        }
    }

    /// Runs a command inside: joins a running subhost, else boots it for as long as the command
    /// runs and takes down what that brought up. Gives the command's status.
    ///
    /// The calling thread attends it: carries what the wiring says, and hands on the signals of a terminal, which
    /// it has blocked for that long. To collect what a command writes is [`Subhost::command`]'s.
    ///
    /// # Errors
    /// `NotRunning` with `only_join`; our own failures with the statuses of `subhost-enter`.
    pub fn enter(&self, join: &Join, only_join: bool) -> Result<u8> {
        if let Some(status) = self.join(join)? {
            return Ok(status);
        }
        if only_join {
            return Err(self.not_running());
        }
        self.must_exist()?;
        // Before the lock, which lets signals through again when it goes.
        let signals = match join.tool {
            true => Signals::block_for_good(),
            false => Signals::block(),
        }?;
        let lock = self.lock()?;
        // It may have come up while we waited.
        let booted = self.running().and_then(|running| match running {
            Some(running) if !is_orphan(&running) && self.keeps_running(&running)? => Ok(None),
            _ => self.enter_locked(join).map(Some),
        });
        self.state.unlock(lock);
        let Some((booted, brought)) = booted? else {
            return self.enter(join, only_join);
        };
        if join.wiring.is_interactive() {
            let text = "you are its init: when you leave, all that runs inside ends";
            message::notice(&self.name, text);
        }
        let status = booted.attend(join.wiring, &signals);
        let left = self.locked(|| {
            // Somebody else may have started it since.
            if self.running()?.is_some() {
                return Ok(());
            }
            self.state.remove_cgroups()?;
            self.state.forget();
            if brought.is_empty() {
                return Ok(());
            }
            // Hooks of the way up have been run: so are those of the way down.
            let plan = self
                .frozen(Part::Root)?
                .map_or_else(|| self.frozen(Part::Net), |plan| Ok(Some(plan)))?;
            let hook = |phase| plan.as_ref().map_or(Ok(()), |plan| hooks::run(plan, phase));
            let errors = [
                hook(Phase::Prestop),
                self.down_parts(&brought, StopHow::default()),
                hook(Phase::Poststop),
            ];
            Error::collect(errors.into_iter().filter_map(Result::err).collect())
        });
        if let Err(error) = left {
            message::report(Some(&self.name), &error);
        }
        status
    }

    /// Joins it if it runs; the command's status.
    fn join(&self, join: &Join) -> Result<Option<u8>> {
        self.joined(|running, cgroups| {
            let entered = enter::join(&self.name, running, cgroups, join)?;
            Ok(match entered {
                enter::Entered::Ended(status) => Some(status),
                enter::Entered::TooLate => None,
            })
        })
    }

    /// Does what joins it by its PID 1 and its cgroups; none if it does not run, or `joins` found that it had ended.
    pub(super) fn joined<T>(
        &self,
        joins: impl FnOnce(&Running, &Group) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let Some(running) = self.running_up()? else {
            return Ok(None);
        };
        let cgroups = self.state.cgroups()?;
        if cgroups.is_frozen() {
            return Err(limit::frozen(&self.name));
        }
        let joined = joins(&running, &cgroups)?;
        if joined.is_none() {
            // Its PID 1 is on its way out: gone, it is like any that does not run.
            proc::wait_for_end(&running.pidfd, Some(KILL_TIMEOUT));
        }
        Ok(joined)
    }

    /// Why nothing can be run inside: there is no such subhost, or it does not run.
    pub(super) fn not_running(&self) -> Error {
        self.must_exist().err().unwrap_or_else(|| {
            Error::new(Exit::NotRunning, "it is not running")
                .hint(format!("subhost-start {} starts it", self.name))
        })
    }

    /// Its PID 1, once it is up: whoever joined it before would still be on the host.
    fn running_up(&self) -> Result<Option<Running>> {
        let end = Instant::now() + BOOT_TIMEOUT;
        loop {
            let Some(running) = self.running()?.filter(|running| !is_orphan(running)) else {
                return Ok(None);
            };
            if running.init.up {
                return Ok(Some(running));
            }
            // Nobody boots it any more: whoever takes the lock next ends it.
            if self.state.lock_holder().is_none() && !self.state.init()?.is_some_and(|init| init.up)
            {
                return Ok(None);
            }
            if Instant::now() > end {
                return Err(Error::new(
                    Exit::TimedOut,
                    "it is booting and does not come up",
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn enter_locked(&self, join: &Join) -> Result<(Booted, Vec<Part>)> {
        let config = self.config()?;
        let env = config.environment()?;
        let mut program = shell(&config, &env, join.argv.clone());
        program.user.clone_from(&join.user);
        program.dir.clone_from(&join.dir);
        program.env.extend(join.env.clone());
        program.term = join.term();
        self.bring_up(&config, Main::Run(program), env, Some(join.wiring))
    }

    /// We have the lock, so whoever booted or stopped it is gone. Is it up, and to go on? Else it ends
    /// here: of what a boot did and did not do nobody knows, and what a stop has asked to end will.
    fn keeps_running(&self, running: &Running) -> Result<bool> {
        let keeps_running = running.init.up && !running.init.asked;
        if !keeps_running {
            self.end(running, false)?;
        }
        Ok(keeps_running)
    }
}

/// Has the tool that its boot ends with been killed? Then this waits for that end.
fn is_orphan(running: &Running) -> bool {
    let Some(pid) = running.init.by.pid else {
        return false;
    };
    let ends = proc::Stat::find(pid).is_none_or(|stat| stat.exiting);
    // Of a longer name the kernel keeps 15 bytes; a tool may be called otherwise than what it is (`subhost enter`).
    let command = holders::command(pid);
    let is_booter = |tool: &str| tool.starts_with(&command) && !command.is_empty();
    let lives = !ends && (command.starts_with("subhost-") || is_booter(&running.init.by.tool));
    !lives && proc::wait_for_end(&running.pidfd, Some(KILL_TIMEOUT))
}

fn shell(config: &Config, env: &Env, argv: Vec<String>) -> Program {
    Program {
        argv,
        user: "root".into(),
        dir: String::new(),
        env: env.clone(),
        term: std::env::var("TERM").ok(),
        rights: config.rights(Pid1::Ours),
        labels: config.run.labels.clone(),
    }
}
