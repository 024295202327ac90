//! The verbs: mount, net, start, enter, stop, limit. Each takes the subhost's lock. A verb that makes something checks
//! everything, freezes the plan and acts; one that removes something undoes what the frozen plan says.

mod assigned;
mod command;
mod enter;
mod executor;
mod hooks;
mod ids;
mod limit;
mod lingering;
mod parallel;
mod parts;
mod script;
mod start;
mod stop;

use crate::base::error::{Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::config::Config;
use crate::kernel::clock::boot_id;
use crate::kernel::mountinfo::{self, Mounts};
use crate::net::{Network, named};
use crate::plan::steps::directory::Directory;
use crate::plan::{Here, Part, Plan, Planned, Presence, PresenceQuery, Recorded, Step, plan};
use crate::state::ids::Reserve;
use crate::state::{Group, Lock, Running, State};
pub use command::{Child, Command, Stdio};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a killed process may take to end. One in an uninterruptible wait ends only after that.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// One subhost, by its name.
#[derive(Debug, Clone)]
pub struct Subhost {
    tree: PathBuf,
    name: Name,
    state: State,
    source: Source,
    /// How long to wait for the lock; `None`: STOP_TIMEOUT and 5 s.
    wait: Option<Duration>,
}

/// Where the settings are.
#[derive(Debug, Clone)]
enum Source {
    /// In the files, with these `KEY=VALUE` on top.
    Files(Vec<String>),
    /// In this value, which a program or a front end made.
    Config(Arc<Config>),
}

/// The status of a subhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing of it is up.
    Stopped,
    /// Root or network is up, and no process runs.
    Hibernating,
    /// PID 1 lives.
    Running,
    /// PID 1 lives, and all processes inside are frozen.
    Frozen,
    /// Root or network is incomplete, or another object is in its place. Says what.
    Broken(String),
}

impl Status {
    /// Returns the status of a subhost whose PID 1 lives, by its cgroups.
    pub(crate) fn running(group: &Group) -> Self {
        match group.is_frozen() {
            true => Status::Frozen,
            false => Status::Running,
        }
    }

    /// Returns the status as one word, as `subhost-list` prints it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Status::Stopped => "stopped",
            Status::Hibernating => "hibernating",
            Status::Running => "running",
            Status::Frozen => "frozen",
            Status::Broken(_) => "broken",
        }
    }
}

/// What a stop takes down, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopHow {
    /// End the processes only: the subhost then hibernates.
    pub keep: bool,
    /// Kill the processes at once.
    pub kill: bool,
    /// End processes of the host that hold the root or the network namespace.
    pub kill_holders: bool,
    /// Detach mounts that stay busy (MNT_DETACH).
    pub detach: bool,
    /// Wait until the kernel has released everything.
    pub sync: bool,
}

/// Whether a start stays with its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartHow {
    /// It returns when the subhost is up.
    Background,
    /// It stays until RUN or INIT ends.
    Foreground,
    /// It stays until a shell ends, which runs instead of RUN.
    Shell,
}

/// A part that is up, and whether this call brought it up.
struct Up {
    plan: Plan,
    brought: bool,
}

impl Subhost {
    /// Names the subhost `name` in `tree`, with the `KEY=VALUE` of `set` on top of its config. Reads nothing.
    pub fn new(tree: &Path, name: &Name, set: &[String]) -> Self {
        Self {
            tree: tree.to_owned(),
            name: name.clone(),
            state: State::new(name),
            source: Source::Files(set.to_vec()),
            wait: None,
        }
    }

    /// Makes a subhost of `config`; its own config file, if it has one, is not read. Its directory `$SUBHOST/NAME` must exist:
    /// the file `assigned` is written there.
    ///
    /// ```
    /// use std::path::Path;
    /// use subhost::{Config, Name, Part, Subhost};
    ///
    /// let settings = [("LOWER", "/srv/base"), ("READ_ONLY", "yes")];
    /// let web = Config::from_settings(Path::new("/srv/lab"), &Name::new("web")?, settings)?;
    /// let plan = Subhost::with(web).plan(Part::Root)?;
    /// assert_eq!(plan.live, Path::new("/srv/lab/web/live"));
    /// # Ok::<(), subhost::Error>(())
    /// ```
    pub fn with(config: Config) -> Self {
        Self {
            tree: config.tree.clone(),
            name: config.name.clone(),
            state: State::new(&config.name),
            source: Source::Config(Arc::new(config)),
            wait: None,
        }
    }

    /// Sets how long verbs wait for the lock. The default is STOP_TIMEOUT and 5 s.
    #[must_use]
    pub fn waiting(mut self, wait: Option<Duration>) -> Self {
        self.wait = wait;
        self
    }

    /// Returns its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns its state.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Returns its settings.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn config(&self) -> Result<Config> {
        match &self.source {
            Source::Files(set) => Config::load(&self.tree, &self.name, set),
            Source::Config(config) => Ok(config.as_ref().clone()),
        }
    }

    /// Returns the plan of one part, made of the settings.
    ///
    /// # Errors
    /// As [`Subhost::config`].
    pub fn plan(&self, part: Part) -> Result<Plan> {
        let config = self.config()?;
        let ids = self.ids(&config, part, Reserve::No)?;
        self.planned(&config, part, ids)
    }

    /// Returns the plan of one part, made of `config` and these ids.
    fn planned(&self, config: &Config, part: Part, ids: Option<u32>) -> Result<Plan> {
        let here = Here {
            state: self.state.dir(),
            boot: boot_id()?,
        };
        Ok(plan(config, part, here, ids))
    }

    /// Returns the frozen plan of one part; `None` if it is not up.
    ///
    /// # Errors
    /// The plan cannot be read, or the part that is up belongs to another $SUBHOST.
    pub(crate) fn frozen(&self, part: Part) -> Result<Option<Arc<Plan>>> {
        let plan = self.state.plan(part)?;
        match &plan {
            Some(plan) if plan.tree != self.tree => Err(Error::new(
                Exit::Invalid,
                format!(
                    "the {} of {}/{} is up under this name",
                    part.as_str(),
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

    /// Returns PID 1, if it lives.
    ///
    /// # Errors
    /// A subhost of another $SUBHOST runs under this name.
    pub(crate) fn running(&self) -> Result<Option<Running>> {
        match self.state.running()? {
            Some(running) if running.init.tree != self.tree => {
                let tree = shown(&running.init.tree);
                let what = format!("the subhost {tree}/{} runs under this name", self.name);
                Err(Error::new(Exit::Invalid, what)
                    .hint(format!("subhost-stop -S {tree} {}", self.name)))
            }
            other => Ok(other),
        }
    }

    fn lock(&self) -> Result<Lock> {
        let usual = || {
            let running = self
                .running()
                .ok()
                .flatten()
                .map(|running| running.init.stop_timeout);
            let configured = || self.config().map(|config| config.run.stop_timeout).ok();
            running
                .or_else(configured)
                .unwrap_or(Duration::from_secs(30))
                + Duration::from_secs(5)
        };
        self.state.lock(|| self.wait.unwrap_or_else(usual))
    }

    /// Does `work` under the lock. `work` is given this subhost with the state as the holder of the lock sees it.
    fn locked<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let lock = self.lock()?;
        let result = work(&self.with_state(lock.state()));
        lock.release();
        result
    }

    fn with_state(&self, state: &State) -> Self {
        Self {
            state: state.clone(),
            ..self.clone()
        }
    }

    /// Returns this subhost with its state as it is at one moment, for a report.
    pub(crate) fn at_this_moment(&self) -> Self {
        self.with_state(&self.state.snapshot_for_report())
    }

    /// Succeeds if there is a subhost of this name: one with a config, or with something that is up.
    ///
    /// # Errors
    /// `NoSubhost`; its state cannot be read.
    pub fn must_exist(&self) -> Result<()> {
        let up = self.running()?.is_some()
            || self.state.plan(Part::Root)?.is_some()
            || self.state.plan(Part::Net)?.is_some();
        match up || self.has_config() {
            true => Ok(()),
            false => self.config().map(drop),
        }
    }

    /// As [`Subhost::must_exist`], for a verb that reads the state under the lock: a directory of it is enough.
    pub(super) fn must_be_known(&self) -> Result<()> {
        match self.has_config() || self.state.exists() {
            true => Ok(()),
            false => self.config().map(drop),
        }
    }

    pub(crate) fn has_config(&self) -> bool {
        match &self.source {
            Source::Files(_) => self.tree.join(self.name.as_str()).join("config").exists(),
            Source::Config(_) => true,
        }
    }

    /// Returns its status: what its state says, compared with what the kernel has.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub fn status(&self) -> Result<Status> {
        self.status_with(&Mounts::later(), &mut Network::new())
    }

    /// As [`Subhost::status`], for many subhosts: `mounts` reads the mount table at most once.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub(crate) fn status_with(&self, mounts: &Mounts, network: &mut Network) -> Result<Status> {
        if self.running()?.is_some() {
            return self.state.cgroups().map(|group| Status::running(&group));
        }
        let mut up = false;
        for part in Part::FROM_CONFIG {
            let Some(plan) = self.frozen(part)? else {
                continue;
            };
            up = true;
            if plan.made.is_none() {
                let what = format!("its {} is half made", part.as_str());
                return Ok(Status::Broken(what));
            }
            for planned in plan.planned().filter(|planned| planned.step.lasts()) {
                if let Some(what) = self.problem(&plan, planned, mounts, network)? {
                    return Ok(Status::Broken(what));
                }
            }
        }
        Ok(if up || self.is_up_unrecorded(mounts, network)? {
            Status::Hibernating
        } else {
            Status::Stopped
        })
    }

    /// Describes what is missing of a running subhost, or has another object in its place: something that was changed by other
    /// means since it was made.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub(crate) fn missing(
        &self,
        running: &Running,
        mounts: &Mounts,
        network: &mut Network,
    ) -> Result<Vec<String>> {
        self.ask_about(network, Some(running));
        let missing = self.missing_steps(mounts, network);
        network.set_pid_1(None);
        missing
    }

    fn missing_steps(&self, mounts: &Mounts, network: &mut Network) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for part in Part::FROM_CONFIG {
            let Some(plan) = self.frozen(part)?.filter(|plan| plan.made.is_some()) else {
                continue;
            };
            for planned in plan.planned().filter(|planned| planned.step.lasts()) {
                missing.extend(self.problem(&plan, planned, mounts, network)?);
            }
        }
        Ok(missing)
    }

    /// Describes what is in the place of a frozen plan's object, if that is not the object.
    fn problem(
        &self,
        plan: &Plan,
        planned: Planned,
        mounts: &Mounts,
        network: &mut Network,
    ) -> Result<Option<String>> {
        let (step, mark) = (planned.step, planned.mark);
        let asked = PresenceQuery {
            mark,
            all: &plan.steps,
            frozen: true,
        };
        Ok(match self.executor(mounts, network).present(step, asked)? {
            Presence::Ours => None,
            Presence::Foreign(what) => Some(what),
            Presence::Absent => Some(format!("missing: {}", step.title())),
        })
    }

    /// Reports whether something is up that a script of `-n` has made: just what the settings would make.
    fn is_up_unrecorded(&self, mounts: &Mounts, network: &mut Network) -> Result<bool> {
        let dir = self.tree.join(self.name.as_str());
        // Most stopped subhosts have neither, and their config need not be read.
        let may_be = mountinfo::is_mount_point(&dir.join("live")) == Some(true)
            || named::path(self.name.as_str()).exists();
        let Some(config) = may_be.then(|| self.config().ok()).flatten() else {
            return Ok(false);
        };
        for part in Part::FROM_CONFIG {
            let plan = self.found(&config, part, mounts, network)?;
            let steps = self.presences(&plan, Recorded::No, mounts, network)?;
            let is_up = |(planned, presence): &(Planned, Presence)| {
                let step = planned.step;
                let is_object = step.mount_point().is_some() || step.namespace().is_some();
                is_object && *presence == Presence::Ours
            };
            if steps.iter().any(is_up) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn presences<'a>(
        &self,
        plan: &'a Plan,
        recorded: Recorded,
        mounts: &Mounts,
        network: &mut Network,
    ) -> Result<Vec<(Planned<'a>, Presence)>> {
        let mut executor = self.executor(mounts, network);
        let one = |planned: Planned<'a>| {
            let asked = PresenceQuery {
                mark: planned.mark,
                all: &plan.steps,
                frozen: recorded == Recorded::Yes,
            };
            Ok((planned, executor.present(planned.step, asked)?))
        };
        let mut steps = plan.planned().map(one).collect::<Result<Vec<_>>>()?;
        let mut hidden: Vec<&Path> = Vec::new();
        for (planned, presence) in &mut steps {
            match (planned.step, planned.step.mount_point()) {
                (_, Some(at)) if *presence == Presence::Absent => hidden.push(at),
                // The mount will cover the directory that is there now.
                (Step::Directory(Directory { path, .. }), _)
                    if hidden.iter().any(|at| at != path && path.starts_with(at)) =>
                {
                    *presence = Presence::Absent;
                }
                _ => {}
            }
        }
        Ok(steps)
    }

    /// Returns the parts that are up and would now be made otherwise.
    ///
    /// # Errors
    /// Config or state cannot be read.
    pub fn changed(&self) -> Result<Vec<Part>> {
        self.changed_from(&self.config()?)
    }

    fn changed_from(&self, config: &Config) -> Result<Vec<Part>> {
        let mut changed = Vec::new();
        for part in Part::FROM_CONFIG {
            if let Some(frozen) = self.frozen(part)?
                && !frozen.makes_the_same(&self.wanted(config, &frozen)?)
            {
                changed.push(part);
            }
        }
        Ok(changed)
    }
}

/// A callback for each step that is made.
pub(super) type OnStep<'a> = &'a dyn Fn(&Step);
