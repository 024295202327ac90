//! The verbs: mount, net, boot, enter, stop, each under the subhost's lock and each the same way:
//! check everything, freeze the plan, act; or take down what the frozen plan says.

mod assigned;
mod boot;
mod command;
mod executor;
mod hooks;
mod ids;
mod limit;
mod lingering;
mod parallel;
mod parts;
mod script;
mod stop;

use crate::base::error::{Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::config::Config;
use crate::kernel::clock::boot_id;
use crate::kernel::mountinfo::Mounts;
use crate::net::Network;
use crate::plan::steps::directory::Directory;
use crate::plan::{Asked, Here, Part, Plan, Planned, Presence, Step, plan};
use crate::state::{Group, Lock, Running, State};
pub use command::{Child, Command, Stdio};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long KILL may take: a process in an uninterruptible wait ends when its wait does.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// One subhost, by name.
#[derive(Debug, Clone)]
pub struct Subhost {
    tree: PathBuf,
    name: Name,
    state: State,
    source: Source,
    /// How long to wait for the lock.
    wait: Option<Duration>,
}

/// Where its settings are.
#[derive(Debug, Clone)]
enum Source {
    /// In its files, with these `KEY=VALUE` for this run.
    Files(Vec<String>),
    /// Here: they are of a program, or of a front end's own description.
    Given(Arc<Config>),
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
    /// The same, and all inside rest until it is thawed.
    Frozen,
    /// Part built: what is missing, in words.
    Broken(String),
}

impl Status {
    /// Of one that runs, by its cgroups.
    pub(crate) fn running(group: &Group) -> Self {
        match group.is_frozen() {
            true => Status::Frozen,
            false => Status::Running,
        }
    }

    /// In one word.
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

/// A part that is up, and whether this run brought it up.
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
            state: State::new(name),
            source: Source::Files(set.to_vec()),
            wait: None,
        }
    }

    /// The subhost that these settings make, whatever its files say, if it has any. Its directory,
    /// `$SUBHOST/NAME`, must be there: what it is given for good is kept in it.
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
            source: Source::Given(Arc::new(config)),
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
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Its settings.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn config(&self) -> Result<Config> {
        match &self.source {
            Source::Files(set) => Config::load(&self.tree, &self.name, set),
            Source::Given(config) => Ok(config.as_ref().clone()),
        }
    }

    /// The plan of one part as the settings want it.
    ///
    /// # Errors
    /// As [`Subhost::config`].
    pub fn plan(&self, part: Part) -> Result<Plan> {
        let config = self.config()?;
        let ids = self.ids(&config, part, false)?;
        self.planned(&config, part, ids)
    }

    /// The plan of one part as `config` wants it, with these ids.
    fn planned(&self, config: &Config, part: Part, ids: Option<u32>) -> Result<Plan> {
        let here = Here {
            state: self.state.dir(),
            boot: boot_id()?,
        };
        Ok(plan(config, part, here, ids))
    }

    /// The plan of one part that is up; none if it is not.
    ///
    /// # Errors
    /// It cannot be read, or another $SUBHOST has a subhost of this name up.
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

    /// Its PID 1, if it runs.
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
        let up = self.running()?.is_some()
            || self.state.plan(Part::Root)?.is_some()
            || self.state.plan(Part::Net)?.is_some();
        match up || self.has_config() {
            true => Ok(()),
            false => self.config().map(drop),
        }
    }

    /// The same for those who will look at its state under the lock: there is something of it.
    pub(super) fn must_be_known(&self) -> Result<()> {
        match self.has_config() || self.state.exists() {
            true => Ok(()),
            false => self.config().map(drop),
        }
    }

    pub(crate) fn has_config(&self) -> bool {
        match &self.source {
            Source::Files(_) => self.tree.join(self.name.as_str()).join("config").exists(),
            Source::Given(_) => true,
        }
    }

    /// What it is at the moment, asked of the kernel.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub fn status(&self) -> Result<Status> {
        self.status_with(&Mounts::later(), &mut Network::new())
    }

    /// As [`Subhost::status`], for many subhosts with at most one look at the mount table.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub(crate) fn status_with(&self, mounts: &Mounts, network: &mut Network) -> Result<Status> {
        if self.running()?.is_some() {
            return self.state.cgroups().map(|group| Status::running(&group));
        }
        let mut up = false;
        for part in Part::SETTLED {
            let Some(plan) = self.frozen(part)? else {
                continue;
            };
            up = true;
            if plan.made.is_none() {
                let what = format!("its {} was begun and not finished", part.as_str());
                return Ok(Status::Broken(what));
            }
            for planned in plan.planned().filter(|planned| planned.step.lasts()) {
                let asked = Asked {
                    mark: planned.mark,
                    all: &plan.steps,
                    frozen: true,
                };
                match self
                    .executor(mounts, network)
                    .present(planned.step, asked)?
                {
                    Presence::Ours => {}
                    Presence::Foreign(what) => return Ok(Status::Broken(what)),
                    Presence::Absent => {
                        let what = format!("missing: {}", planned.step.title());
                        return Ok(Status::Broken(what));
                    }
                }
            }
        }
        Ok(if up {
            Status::Hibernating
        } else {
            Status::Stopped
        })
    }

    pub(crate) fn presences<'a>(
        &self,
        plan: &'a Plan,
        frozen: bool,
        mounts: &Mounts,
        network: &mut Network,
    ) -> Result<Vec<(Planned<'a>, Presence)>> {
        let mut executor = self.executor(mounts, network);
        let one = |planned: Planned<'a>| {
            let asked = Asked {
                mark: planned.mark,
                all: &plan.steps,
                frozen,
            };
            Ok((planned, executor.present(planned.step, asked)?))
        };
        let mut steps = plan.planned().map(one).collect::<Result<Vec<_>>>()?;
        let mut hidden: Vec<&Path> = Vec::new();
        for (planned, presence) in &mut steps {
            match (planned.step, planned.step.mount_point()) {
                (_, Some(at)) if *presence == Presence::Absent => hidden.push(at),
                // What is there now is not what will be there when it is mounted.
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

    /// Which parts would now be made otherwise than they are up.
    ///
    /// # Errors
    /// Config or state cannot be read.
    pub fn changed(&self) -> Result<Vec<Part>> {
        self.changed_from(&self.config()?)
    }

    fn changed_from(&self, config: &Config) -> Result<Vec<Part>> {
        let mut changed = Vec::new();
        for part in Part::SETTLED {
            if let Some(frozen) = self.frozen(part)?
                && !frozen.makes_the_same(&self.wanted(config, &frozen)?)
            {
                changed.push(part);
            }
        }
        Ok(changed)
    }
}

/// Who is to hear of what is made, while more is.
pub(super) type OnStep<'a> = &'a dyn Fn(&Step);
