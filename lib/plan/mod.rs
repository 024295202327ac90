//! What will be done, as data: steps, the plan that a subhost is made by, and the law of doing and
//! undoing them.
//!
//! Pure: no kernel, no clock. What a step means to the kernel is in `root` and `net`; here it is
//! only ordered, frozen and shown.

mod frozen;
mod law;
mod net;
mod root;
pub mod steps;

pub use law::{Act, Asked, Presence, Thoroughly, apply, undo_all};
pub use net::steps as net_steps;
pub use root::steps as root_steps;
pub use steps::Step;

use crate::base::name::Name;
use crate::base::paths;
use crate::config::{Config, Net, Phase};
use crate::kernel::mountinfo::Mark;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A step of a plan, with the mark of what it made if that is known.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The step.
    pub step: &'a Step,
    /// The mark.
    pub mark: Option<&'a Mark>,
}

/// Whose a plan is: what it makes is there for this.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// A subhost.
    Subhost(Name),
    /// A described bridge, by the name of its link.
    Bridge(String),
}

impl Owner {
    /// The name of its directory among the states. No subhost can be called as a bridge's.
    pub fn id(&self) -> Cow<'_, str> {
        match self {
            Owner::Subhost(name) => name.as_str().into(),
            Owner::Bridge(link) => format!("{link}.bridge").into(),
        }
    }
}

/// The part of its owner that a plan makes. Each has a frozen plan of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Its root file system.
    Root,
    /// Its network.
    Net,
    /// What was added while it ran, and ends with its processes.
    Live,
}

impl Part {
    /// All of them, in the order of making.
    pub const ALL: [Part; 3] = [Part::Root, Part::Net, Part::Live];
    /// Those that settings make, in the order of making.
    pub const SETTLED: [Part; 2] = [Part::Root, Part::Net];

    /// As messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Root => "root",
            Part::Net => "network",
            Part::Live => "live additions",
        }
    }

    /// The file of its frozen plan in the state's directory.
    pub const fn file(self) -> &'static str {
        match self {
            Part::Root => "root.plan",
            Part::Net => "net.plan",
            Part::Live => "live.plan",
        }
    }
}

/// The version of the frozen form. The one before is read as well; others are refused and left untouched.
pub const FORMAT: u32 = 2;

/// Everything that bringing up or taking down one part of a subhost needs to know. What is up is
/// what its frozen plan says, whatever became of the config since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// Id of the boot of the host that it was frozen in.
    pub boot: String,
    /// $SUBHOST.
    pub tree: PathBuf,
    /// Whose it is.
    pub owner: Owner,
    /// Which part of that.
    pub part: Part,
    /// `overlay`, `rbind`, `image`; or `private`, `host`, `netns:NAME`.
    pub kind: String,
    /// In the order of making.
    pub steps: Vec<Step>,
    /// For each step what it made; none until all are done, hooks too.
    pub made: Option<Vec<Option<Mark>>>,
    /// Where the root is mounted.
    pub live: PathBuf,
    /// The namespace as a path; empty: the host's.
    pub netns: PathBuf,
    /// First of the ids of its user namespace; none: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
    /// Programs on the host run along the way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<Phase, Vec<String>>,
    /// How long each may take; nothing if there are none.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub hook_timeout: Duration,
    /// The environment that they get; empty if there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hook_env: BTreeMap<String, String>,
}

impl Plan {
    /// The steps with their marks.
    pub fn planned(&self) -> impl DoubleEndedIterator<Item = Planned<'_>> {
        self.steps.iter().enumerate().map(|(index, step)| Planned {
            step,
            mark: self
                .made
                .iter()
                .flatten()
                .nth(index)
                .and_then(Option::as_ref),
        })
    }

    /// How it is asked whether what one of its steps makes is there. `frozen`: it is the frozen plan, not what the
    /// settings want.
    pub fn asked<'a>(&'a self, mark: Option<&'a Mark>, frozen: bool) -> Asked<'a> {
        Asked {
            mark,
            all: &self.steps,
            frozen,
        }
    }

    /// The network namespace that it makes.
    pub fn namespace(&self) -> Option<&str> {
        self.steps.first().and_then(Step::namespace)
    }

    /// Would the other plan make the same?
    pub fn makes_the_same(&self, other: &Plan) -> bool {
        self.steps == other.steps && self.kind == other.kind && self.live == other.live
    }
}

/// Where a plan is made: what pure planning has to be told.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The subhost's directory in /run.
    pub state: &'a Path,
    /// Id of this boot of the host.
    pub boot: &'a str,
}

/// The plan of one part as the settings want it. `ids`: the first id of its user namespace.
pub fn plan(config: &Config, part: Part, here: Here, ids: Option<u32>) -> Plan {
    let netns = match &config.net {
        Net::Host => PathBuf::new(),
        Net::Named(name) => paths::netns(name),
        Net::Private(_) => paths::netns(config.name.as_str()),
    };
    let (kind, steps) = match part {
        Part::Root => (
            config.kind().to_owned(),
            root::steps(config, here.state, ids),
        ),
        Part::Net => (config.settings["NET"].clone(), net::steps(config, ids)),
        // No setting adds anything to what runs.
        Part::Live => (String::new(), Vec::new()),
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut hook_env = BTreeMap::new();
    let mut hook_timeout = Duration::ZERO;
    if !config.hooks.is_empty() {
        hook_timeout = config.hook_timeout;
        hook_env.clone_from(&config.settings);
        hook_env.extend([
            ("NAME".to_owned(), config.name.to_string()),
            ("SUBHOST".to_owned(), text(&config.tree)),
            ("LIVE".to_owned(), text(&config.root.live)),
            ("NETNS".to_owned(), text(&netns)),
        ]);
    }
    Plan {
        format: FORMAT,
        boot: here.boot.to_owned(),
        tree: config.tree.clone(),
        owner: Owner::Subhost(config.name.clone()),
        part,
        kind,
        steps,
        made: None,
        live: config.root.live.clone(),
        netns,
        ids,
        hooks: config.hooks.clone(),
        hook_timeout,
        hook_env,
    }
}
