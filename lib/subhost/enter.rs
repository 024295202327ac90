//! Enter: a command in a running subhost, or in one that is booted for it.

use super::start::{shell, wait_if_orphaned};
use super::{KILL_TIMEOUT, StopHow, Subhost, limit};
use crate::base::error::{Error, Exit, Result};
use crate::base::message;
use crate::boot::Booted;
use crate::config::Phase;
use crate::enter::{self, Join};
use crate::init::spec::Main;
use crate::kernel::proc;
use crate::kernel::terminal::Signals;
use crate::plan::Part;
use crate::state::{Group, Running};
use crate::subhost::hooks;
use std::time::{Duration, Instant};

/// Longer than a boot may take.
const BOOT_TIMEOUT: Duration = Duration::from_secs(70);

impl Subhost {
    /// Runs a command inside and returns its exit status. Joins a running subhost; boots any other for as long as the
    /// command runs, and then takes down what that brought up.
    ///
    /// The calling thread relays the terminal, and the signals of the caller's terminal, which it blocks meanwhile.
    /// [`Subhost::command`] collects what a command writes.
    ///
    /// # Errors
    /// As `subhost-enter` reports them: `Own`, `CannotRun`, `NotFound`.
    pub fn enter(&self, join: &Join) -> Result<u8> {
        if let Some(status) = self.join(join)? {
            return Ok(status);
        }
        self.must_exist()?;
        // Before the lock, which unblocks signals when it is released.
        let signals = match join.tool {
            true => Signals::block_for_good(),
            false => Signals::block(),
        }?;
        let lock = self.lock()?;
        // It may have come up while we waited for the lock.
        let held = self.with_state(lock.state());
        let booted = held.running().and_then(|running| match running {
            Some(running)
                if !wait_if_orphaned(&running) && held.end_if_interrupted(&running)? =>
            {
                Ok(None)
            }
            _ => held.enter_locked(join).map(Some),
        });
        lock.release();
        let Some((booted, brought)) = booted? else {
            return self.enter(join);
        };
        if join.stdio.is_interactive() {
            let text = "you are its init: when you leave, all that runs inside ends";
            message::notice(&self.name, text);
        }
        let status = booted.attend(join.stdio, &signals);
        let left = self.locked(|held| {
            // Another command may have started it since.
            if held.running()?.is_some() {
                return Ok(());
            }
            held.state.remove_cgroups()?;
            held.state.forget();
            if brought.is_empty() {
                return Ok(());
            }
            // As for a stop: the hooks of mount and net have run.
            let plan = held
                .frozen(Part::Root)?
                .map_or_else(|| held.frozen(Part::Net), |plan| Ok(Some(plan)))?;
            let hook = |phase| plan.as_ref().map_or(Ok(()), |plan| hooks::run(plan, phase));
            let errors = [
                hook(Phase::Prestop),
                held.down_parts(&brought, StopHow::default()),
                hook(Phase::Poststop),
            ];
            Error::collect(errors.into_iter().filter_map(Result::err).collect())
        });
        if let Err(error) = left {
            message::report(Some(&self.name), &error);
        }
        status
    }

    /// As [`Subhost::enter`], in a running subhost only.
    ///
    /// # Errors
    /// `NotRunning`; as [`Subhost::enter`].
    pub fn enter_running(&self, join: &Join) -> Result<u8> {
        self.join(join)?.ok_or_else(|| self.not_running())
    }

    /// Joins the subhost if it runs. Returns the command's exit status.
    fn join(&self, join: &Join) -> Result<Option<u8>> {
        self.joined(|running, cgroups| {
            let entered = enter::join(&self.name, running, cgroups, join)?;
            Ok(match entered {
                enter::Entered::Ended(status) => Some(status),
                enter::Entered::TooLate => None,
            })
        })
    }

    /// Calls `joins` with PID 1 and the cgroups. Returns `None` if the subhost does not run, or if `joins` does because it has
    /// just ended.
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
            // PID 1 is exiting. Once it is gone, the subhost is one that does not run.
            proc::wait_for_end(&running.pidfd, Some(KILL_TIMEOUT));
        }
        Ok(joined)
    }

    /// Returns the error of a subhost that does not run, or does not exist.
    pub(super) fn not_running(&self) -> Error {
        self.must_exist().err().unwrap_or_else(|| {
            Error::new(Exit::NotRunning, "it is not running")
                .hint(format!("subhost-start {} starts it", self.name))
        })
    }

    /// Returns PID 1 when it is up. Earlier, who joins it would still be on the host.
    fn running_up(&self) -> Result<Option<Running>> {
        let end = Instant::now() + BOOT_TIMEOUT;
        loop {
            let Some(running) = self.running()?.filter(|running| !wait_if_orphaned(running)) else {
                return Ok(None);
            };
            if running.init.up {
                return Ok(Some(running));
            }
            // Its boot was interrupted: the next command that takes the lock ends it.
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
        self.bring_up(&config, Main::Run(program), env, Some(join.stdio))
    }
}
