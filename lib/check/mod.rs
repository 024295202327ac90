//! What the host can do, and what is left that no living subhost owns.
//!
//! [`host`] probes the kernel without a trace. [`left`] looks at everything that our tools make and
//! judges what nobody answers for; [`repair`] makes each judgement again under the subhost's lock,
//! and takes away what it can without force: nothing recursively, nothing lazily, no process but
//! a PID 1 of ours that no state records.

mod files;
mod host;
mod limits;
mod links;
mod mounts;
mod repair;
mod roots;
mod snapshot;
mod systems;
mod tried;

pub use host::host;
pub use repair::{left, repair};

use crate::base::name::Name;
use crate::kernel::proc::Identity;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// How one of the host's abilities is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There.
    Ok,
    /// Not there.
    Missing,
    /// There, or not needed, but worth knowing.
    Note,
}

/// Something that the host should be able to do.
#[derive(Debug, Clone, Serialize)]
pub struct Ability {
    /// In a word or two.
    pub name: String,
    /// Whether it is.
    pub state: State,
    /// Without it no subhost works.
    pub essential: bool,
    /// What was found.
    pub found: String,
    /// What its lack costs; empty if it is there.
    pub costs: String,
    /// What helps; empty if nothing need be done.
    pub remedy: String,
}

impl Ability {
    fn new(name: &str, ok: bool, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            state: if ok { State::Ok } else { State::Missing },
            essential: false,
            found: found.into(),
            costs: String::new(),
            remedy: String::new(),
        }
    }

    /// What the lack costs and what helps; kept only if there is one.
    fn lack(mut self, costs: &str, remedy: &str) -> Self {
        if self.state != State::Ok {
            (self.costs, self.remedy) = (costs.to_owned(), remedy.to_owned());
        }
        self
    }

    fn essential(mut self) -> Self {
        self.essential = true;
        self
    }

    /// Its lack is only worth knowing.
    fn note(mut self) -> Self {
        if self.state == State::Missing {
            self.state = State::Note;
        }
        self
    }
}

/// What kind of thing is left. In the order of repair: a process uses what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// PID 1 of a subhost that no state records.
    Process,
    /// A subhost whose frozen plan is there and not all that it says.
    HalfBuilt,
    /// Just what the settings would make, without a frozen plan: made by hand, or its state is lost.
    Unrecorded,
    /// A mount in our mount namespace.
    Mount,
    /// A mount of a subhost's root in another mount namespace.
    Copy,
    /// The host end of a cable.
    Link,
    /// A named network namespace, or the file that should have become one.
    Netns,
    /// A loop device.
    Loop,
    /// A cgroup.
    Cgroup,
    /// The claim of a layer or image.
    Claim,
    /// A file that was to become another.
    File,
    /// What is in /run/subhost.
    State,
}

impl Kind {
    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Process => "process",
            Kind::HalfBuilt => "half-built",
            Kind::Unrecorded => "unrecorded",
            Kind::Mount => "mount",
            Kind::Copy => "copy",
            Kind::Link => "link",
            Kind::Netns => "netns",
            Kind::Loop => "loop",
            Kind::Cgroup => "cgroup",
            Kind::Claim => "claim",
            Kind::File => "file",
            Kind::State => "state",
        }
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nobody owns it.
    Left,
    /// Somebody may want it so; not counted in the status.
    Note,
}

/// A process that has to do with what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its pid.
    pub pid: i32,
    /// Its command name, made fit to print.
    pub command: String,
    /// Inode of its mount namespace, if that is not ours.
    pub mount_namespace: Option<u64>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is gone.
    Repaired,
    /// It is still there: why.
    Failed(String),
}

/// How [`repair`] takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fix {
    /// Kills the process.
    Kill(Identity),
    /// Does what subhost-stop does, for the subhost of this $SUBHOST.
    Stop(PathBuf),
    /// Deletes the link of this number if it still has this alias.
    Link(u32, String),
    /// Removes the empty file of a named namespace.
    Netns(String),
    /// Detaches a loop device.
    Loop(PathBuf),
    /// Removes a cgroup and those in it.
    Cgroup(PathBuf),
    /// Removes a link or file.
    Remove(PathBuf),
    /// Removes a directory if it is empty.
    RemoveDir(PathBuf),
    /// Forgets plans of an earlier boot and what else nobody needs in a directory of state.
    Tidy,
}

/// One thing that is left.
#[derive(Debug, Clone, Serialize)]
pub struct Debris {
    /// Which kind of thing.
    pub kind: Kind,
    /// How much it matters.
    pub level: Level,
    /// The thing itself, made fit to print.
    pub object: String,
    /// The subhost that it was of, if known.
    pub subhost: Option<Name>,
    /// Why nobody owns it.
    pub why: String,
    /// Who holds it.
    pub holders: Vec<Held>,
    /// What `--repair` does or a person can do.
    pub remedy: String,
    /// Does `--repair` do it?
    pub repairable: bool,
    /// What `--repair` did; none without.
    pub outcome: Option<Outcome>,
    #[serde(skip)]
    fix: Option<Fix>,
}

impl Debris {
    fn new(kind: Kind, subhost: Option<&Name>, object: String, why: impl Into<String>) -> Self {
        Self {
            kind,
            level: Level::Left,
            object,
            subhost: subhost.cloned(),
            why: why.into(),
            holders: Vec::new(),
            remedy: String::new(),
            repairable: false,
            outcome: None,
            fix: None,
        }
    }

    fn held(mut self, holders: Vec<Held>) -> Self {
        self.holders = holders;
        self
    }

    /// `--repair` does it; `remedy` says what that is.
    fn fix(mut self, fix: Fix, remedy: impl Into<String>) -> Self {
        self.remedy = format!("--repair {}", remedy.into());
        self.repairable = true;
        self.fix = Some(fix);
        self
    }

    /// Only a person can do something.
    fn by_hand(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    fn note(mut self) -> Self {
        self.level = Level::Note;
        self
    }

    /// Is it the same thing, seen again?
    fn is(&self, other: &Debris) -> bool {
        (self.kind, &self.object, &self.subhost) == (other.kind, &other.object, &other.subhost)
    }

    /// Is it there still, and should not be?
    pub fn is_left(&self) -> bool {
        self.level == Level::Left && self.outcome != Some(Outcome::Repaired)
    }
}

/// What belongs to a set that is told of as one: not told again piece by piece.
#[derive(Default)]
struct Reported {
    places: BTreeSet<PathBuf>,
    links: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

/// All that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The host's abilities.
    pub host: Vec<Ability>,
    /// What is left.
    pub left: Vec<Debris>,
}

impl Found {
    /// Nothing essential is missing and nothing is left.
    pub fn is_well(&self) -> bool {
        let lacks = |ability: &Ability| ability.essential && ability.state == State::Missing;
        !self.host.iter().any(lacks) && !self.left.iter().any(Debris::is_left)
    }
}
