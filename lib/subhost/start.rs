//! Start: root and network up, and PID 1 booted in them.

use super::parallel::{ParallelSetup, Ready, namespace_of};
use super::stop::Ending;
use super::{KILL_TIMEOUT, OnStep, StartHow, StopHow, Subhost, Up, limit};
use crate::base::error::{Error, Exit, Result};
use crate::base::message;
use crate::boot::{self, BootRequest, Booted, Setup as _};
use crate::config::{Config, Net, Pid1, Userns};
use crate::init::spec::Main;
use crate::kernel::terminal::{Signals, StdioMode, TtyMode, tty_of};
use crate::kernel::{holders, proc, processor};
use crate::login::Program;
use crate::net::named;
use crate::plan::{Part, Step};
use crate::state::{Booter, Running, booter};
use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};

/// Environment variables of a config.
pub(super) type Env = BTreeMap<String, String>;

impl Subhost {
    /// Boots the subhost. Succeeds if it runs in the background already.
    ///
    /// Returns 0 when it is up. With `StartHow::Foreground` and `Shell`, `stdio` says how the caller's descriptors reach it,
    /// and this returns its exit status when it has ended.
    ///
    /// # Errors
    /// `Busy` if a `subhost-enter` or a start in the foreground booted it; why it does not come up. What this call did is
    /// undone then.
    pub fn start(&self, how: StartHow, stdio: Option<StdioMode>) -> Result<u8> {
        let stdio = stdio.filter(|_| how != StartHow::Background);
        // Before the lock, which unblocks signals when it is released.
        let signals = stdio.is_some().then(Signals::block).transpose()?;
        let lock = self.lock()?;
        let held = self.with_state(lock.state());
        let booted = held.start_locked(how, stdio);
        lock.release();
        match (booted?, signals) {
            (Some((booted, Some(stdio))), Some(signals)) => booted.attend(stdio, &signals),
            _ => Ok(0),
        }
    }

    fn start_locked(
        &self,
        how: StartHow,
        stdio: Option<StdioMode>,
    ) -> Result<Option<(Booted, Option<StdioMode>)>> {
        if let Some(running) = self.running()?
            && !wait_if_orphaned(&running)
            && self.end_if_interrupted(&running)?
        {
            if self.state.cgroups()?.is_frozen() {
                return Err(limit::frozen(&self.name));
            }
            if running.init.by.pid.is_none() && how == StartHow::Background {
                // A config that has become invalid does not concern what runs.
                if let Ok(config) = self.config() {
                    self.warn_if_changed(&config);
                }
                for part in Part::FROM_CONFIG {
                    if self.frozen(part)?.is_some() {
                        self.up(part, None, &|_| ())?;
                    }
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
            _ => boot::main_of_start(&config, &env),
        };
        // Without a command inside, the signals of the terminal are for the tool.
        let stdio = match main {
            Main::Hold => stdio.map(|_| StdioMode::new(TtyMode::Never)),
            _ => stdio,
        };
        let booted = self.bring_up(&config, main, env, stdio);
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
        Ok(Some((booted.0, stdio)))
    }

    /// Brings up root and network and boots. Takes down what it brought up if that fails. Returns the parts that it
    /// brought up.
    pub(super) fn bring_up(
        &self,
        config: &Config,
        main: Main,
        env: Env,
        stdio: Option<StdioMode>,
    ) -> Result<(Booted, Vec<Part>)> {
        for label in &config.run.labels {
            label.check()?;
        }
        config.rights(Pid1::Ours).check()?;
        let request = BootRequest {
            main,
            by: Booter {
                tool: message::program(),
                pid: stdio.map(|_| std::process::id() as i32),
                tty: stdio.and_then(|_| tty_of(std::process::id() as i32)),
            },
            stdio,
            env,
            ids: None,
            joins_network: true,
        };
        let brought = Mutex::new(Vec::new());
        let bring_up_part = |part, on_step: OnStep| {
            let up = self.up(part, Some(config), on_step)?;
            let mut brought = brought.lock().unwrap_or_else(PoisonError::into_inner);
            brought.extend(up.brought.then_some(part));
            Ok(up)
        };
        let bring_up_part = &bring_up_part;
        let result = std::thread::scope(|scope| {
            let (sender, namespace) = channel();
            let on_step = move |step: &Step| {
                let Some(name) = step.namespace() else {
                    return;
                };
                // If it cannot be opened, `namespace_of` says so when the network is made.
                let _ = named::open(name).map(|namespace| sender.send(namespace));
            };
            let make_network = move || bring_up_part(Part::Net, &on_step);
            let thread = || std::thread::Builder::new().spawn_scoped(scope, make_network);
            let root = || bring_up_part(Part::Root, &|_| ()).map(drop);
            let mut setup = match self.can_set_up_in_parallel(config)?.then(thread) {
                Some(Ok(thread)) => ParallelSetup::new(root, thread, namespace),
                // Without a thread it takes longer.
                _ => return self.boot_after(config, bring_up_part, request),
            };
            let booted = boot::boot_config(config, &self.state, &mut setup, request);
            // If the boot failed before it waited for the network, wait for it now.
            booted.map_err(|error| error.also(setup.finish_network().err()))
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

    /// Reports whether a thread can make the network while the root is mounted and PID 1 begins: neither is up, no hook runs
    /// between them, and no other process is needed for them.
    fn can_set_up_in_parallel(&self, config: &Config) -> Result<bool> {
        let is_plain = matches!(config.net, Net::Private(_))
            && !config.has_helper()
            && config.hooks.is_empty()
            && config.userns == Userns::No
            && !processor::is_saturated()
            && !crate::kernel::privilege::has_entered();
        Ok(is_plain && self.frozen(Part::Root)?.is_none() && self.frozen(Part::Net)?.is_none())
    }

    /// Brings up root and network one after the other, then boots.
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
        // The frozen plan says where the root is mounted, whatever the config says now.
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

    /// Ends a PID 1 whose boot was interrupted, or that an interrupted stop has asked to end. Returns whether it runs on
    /// instead. For the holder of the lock: no other command boots or stops it.
    pub(super) fn end_if_interrupted(&self, running: &Running) -> Result<bool> {
        let end_if_interrupted = running.init.up && !running.init.asked;
        if !end_if_interrupted {
            self.end(running, Ending::AskedFirst)?;
        }
        Ok(end_if_interrupted)
    }
}

/// Reports whether the tool in whose foreground it ran has been killed. Waits for its end then.
pub(super) fn wait_if_orphaned(running: &Running) -> bool {
    let Some(pid) = running.init.by.pid else {
        return false;
    };
    let ends = proc::Stat::find(pid).is_none_or(|stat| stat.exiting);
    // The kernel keeps 15 bytes of a name. `subhost enter` has another name than the file that was executed.
    let command = holders::command(pid);
    let is_booter = |tool: &str| tool.starts_with(&command) && !command.is_empty();
    let lives = !ends && (command.starts_with("subhost-") || is_booter(&running.init.by.tool));
    !lives && proc::wait_for_end(&running.pidfd, Some(KILL_TIMEOUT))
}

/// Returns the program `argv` for a subhost that is booted for it; empty: root's login shell.
pub(super) fn shell(config: &Config, env: &Env, argv: Vec<String>) -> Program {
    let guest = boot::guest(config, env.clone(), Pid1::Ours);
    Program {
        term: std::env::var("TERM").ok(),
        ..guest.program(argv)
    }
}
