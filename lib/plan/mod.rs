//! Plans: the steps that make a subhost, as data, and the law of doing and undoing them.
//!
//! This room calls no kernel and reads no clock. It orders, freezes and prints steps; the rooms `root`, `net`
//! and `state` do them.

mod frozen;
mod law;
mod net;
mod root;
pub mod steps;

pub use law::{Act, Presence, PresenceQuery, Recorded, UndoOptions, apply, undo_all};
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

/// A step of a plan with the mark of the object that it made.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The step of the plan.
    pub step: &'a Step,
    /// The recorded mark; none if the step has none, or the plan is not done yet.
    pub mark: Option<&'a Mark>,
}

/// The owner of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// A subhost.
    Subhost(Name),
    /// A bridge with a description of its own, by the name of its link.
    Bridge(String),
}

impl Owner {
    /// Returns the name of its directory in /run/subhost. A subhost's NAME cannot end in `.bridge`, so no two
    /// owners share a name.
    pub fn id(&self) -> Cow<'_, str> {
        match self {
            Owner::Subhost(name) => name.as_str().into(),
            Owner::Bridge(link) => format!("{link}.bridge").into(),
        }
    }
}

/// The part of its owner that a plan makes. Each part has its own frozen plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The root file system.
    Root,
    /// The network.
    Net,
    /// Additions to a running subhost. They end with its processes.
    Live,
}

impl Part {
    /// All parts, in the order in which they come up.
    pub const ALL: [Part; 3] = [Part::Root, Part::Net, Part::Live];
    /// The parts that follow from settings, in the order in which they come up.
    pub const FROM_CONFIG: [Part; 2] = [Part::Root, Part::Net];

    /// Returns its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Root => "root",
            Part::Net => "network",
            Part::Live => "live additions",
        }
    }

    /// Returns the name of its frozen plan's file in /run/subhost/NAME.
    pub const fn file(self) -> &'static str {
        match self {
            Part::Root => "root.plan",
            Part::Net => "net.plan",
            Part::Live => "live.plan",
        }
    }
}

/// The format of a frozen plan. Format 1 is read as well; a file of any other format is refused and not
/// changed.
pub const FORMAT: u32 = 2;

/// All that is needed to bring up or take down one part of its owner. A subhost that is up follows its frozen
/// plan, even if its config has changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The format, [`FORMAT`].
    pub format: u32,
    /// The boot id of the host at the time of freezing.
    pub boot: String,
    /// The directory of the subhosts, $SUBHOST.
    pub tree: PathBuf,
    /// The owner.
    pub owner: Owner,
    /// The part of the owner that the plan makes.
    pub part: Part,
    /// For a root `overlay`, `rbind` or `image`; for a network the value of NET.
    pub kind: String,
    /// The steps, in the order in which they are done.
    pub steps: Vec<Step>,
    /// The mark that each step left; none until all steps and hooks have succeeded.
    pub made: Option<Vec<Option<Mark>>>,
    /// The mount point of the root.
    pub live: PathBuf,
    /// The path of the network namespace; empty for the host's.
    pub netns: PathBuf,
    /// The first id that its user namespace has on the host; none without a user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
    /// The hooks: programs of the host, with their arguments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<Phase, Vec<String>>,
    /// The time that each hook may take; zero without hooks.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub hook_timeout: Duration,
    /// The environment of the hooks; empty without hooks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hook_env: BTreeMap<String, String>,
}

impl Plan {
    /// Returns the steps with their marks.
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

    /// Returns the name of the network namespace that the plan makes.
    pub fn namespace(&self) -> Option<&str> {
        self.steps.first().and_then(Step::namespace)
    }

    /// Tells whether the other plan makes the same objects.
    pub fn makes_the_same(&self, other: &Plan) -> bool {
        self.steps == other.steps && self.kind == other.kind && self.live == other.live
    }
}

/// Facts of the host that a plan depends on, passed in because this room calls no kernel.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The subhost's directory in /run/subhost.
    pub state: &'a Path,
    /// The boot id of the host.
    pub boot: &'a str,
}

/// Makes the plan of one part from the settings. `ids` is the first id that the user namespace has on the
/// host; none without a user namespace.
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
        // Commands add to a running subhost, no setting does.
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
