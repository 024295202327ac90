//! Checks what the host can do, and finds leftovers: objects of the tools that no subhost owns any more.
//!
//! [`host`] tests the kernel and leaves no trace. [`left`] judges every object that the tools make.
//! [`repair`] judges each leftover again under the lock of its subhost, and removes it if that needs no
//! force: it removes no directory recursively, detaches no mount, and kills no process but a PID 1 of ours
//! that no state records.

mod files;
mod host;
mod limits;
mod links;
mod mounts;
mod repair;
mod roots;
mod snapshot;
mod systems;
mod trial;

pub use host::host;
pub use repair::{left, repair};

use crate::base::name::Name;
use crate::kernel::proc::Identity;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The state of an ability of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The host has the ability.
    Ok,
    /// The host lacks the ability.
    Missing,
    /// The host lacks the ability, but most subhosts do not need it.
    Note,
}

/// An ability that subhosts need from the host.
#[derive(Debug, Clone, Serialize)]
pub struct Ability {
    /// The name, a word or two.
    pub name: String,
    /// The state of the ability.
    pub state: State,
    /// No subhost works without the ability.
    pub essential: bool,
    /// Details of the result, as an errno or a number; may be empty.
    pub found: String,
    /// The consequence of the lack; empty if the host has the ability.
    pub costs: String,
    /// The remedy; empty if the host has the ability.
    pub remedy: String,
}

impl Ability {
    /// Makes the ability `name`. `ok`: the host has it.
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

    /// Sets consequence and remedy, if the host lacks the ability.
    fn lack(mut self, costs: &str, remedy: &str) -> Self {
        if self.state != State::Ok {
            (self.costs, self.remedy) = (costs.to_owned(), remedy.to_owned());
        }
        self
    }

    /// Marks the ability as one without which no subhost works.
    fn essential(mut self) -> Self {
        self.essential = true;
        self
    }

    /// Turns a lack into a note.
    fn note(mut self) -> Self {
        if self.state == State::Missing {
            self.state = State::Note;
        }
        self
    }
}

/// The kinds of leftovers, in the order of repair: an object of one kind can use objects of the kinds below
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A PID 1 of a subhost that no state records.
    Process,
    /// A subhost that has a frozen plan but not all objects of the plan.
    HalfBuilt,
    /// A running subhost of which something is missing, or was replaced.
    Changed,
    /// The objects that the settings would make, without a frozen plan: a script made them, or the state is
    /// lost.
    Unrecorded,
    /// A mount in our mount namespace.
    Mount,
    /// A mount of a subhost's root in another mount namespace.
    Copy,
    /// The host end of a cable.
    Link,
    /// A named network namespace, or an empty file in /run/netns.
    Netns,
    /// A loop device.
    Loop,
    /// A cgroup of a subhost.
    Cgroup,
    /// The claim of a layer or image.
    Claim,
    /// A temporary file of an interrupted command.
    File,
    /// A directory in /run/subhost, or a file in it.
    State,
}

impl Kind {
    /// Returns the name in messages and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Process => "process",
            Kind::HalfBuilt => "half-built",
            Kind::Changed => "changed",
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

/// The level of a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No subhost owns the object.
    Left,
    /// The administrator may have made the object on purpose. It does not affect the exit status.
    Note,
}

/// A process that uses a leftover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The pid on the host.
    pub pid: i32,
    /// The command name, safe to print.
    pub command: String,
    /// The inode of its mount namespace; none if that is ours.
    pub mount_namespace: Option<u64>,
}

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The leftover is gone.
    Repaired,
    /// The leftover is still there; the text gives the reason.
    Failed(String),
}

/// The action by which [`repair`] removes a leftover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fix {
    /// Kills the process.
    Kill(Identity),
    /// Stops the subhost, as subhost-stop(8) does. The path is $SUBHOST.
    Stop(PathBuf),
    /// Deletes the link with this interface index, if it still has this alias.
    Link(u32, String),
    /// Removes the empty file in /run/netns.
    Netns(String),
    /// Detaches the loop device.
    Loop(PathBuf),
    /// Removes the cgroup and the cgroups in it.
    Cgroup(PathBuf),
    /// Removes the symbolic link or file.
    Remove(PathBuf),
    /// Removes the directory, if it is empty.
    RemoveDir(PathBuf),
    /// Removes the files of the subhost in /run/subhost that are outdated.
    Tidy,
}

/// A leftover.
#[derive(Debug, Clone, Serialize)]
pub struct Debris {
    /// The kind of the object.
    pub kind: Kind,
    /// The level of the leftover.
    pub level: Level,
    /// The object, safe to print.
    pub object: String,
    /// The subhost that the object belonged to; none if that is unknown.
    pub subhost: Option<Name>,
    /// The reason why the object is a leftover.
    pub why: String,
    /// The processes that use the object.
    pub holders: Vec<Held>,
    /// The action of `--repair`, or the advice to the administrator.
    pub remedy: String,
    /// `--repair` removes the object.
    pub repairable: bool,
    /// The result of `--repair`; none without it.
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

    /// Lets `--repair` do `fix`; `remedy` describes it.
    fn fix(mut self, fix: Fix, remedy: impl Into<String>) -> Self {
        self.remedy = format!("--repair {}", remedy.into());
        self.repairable = true;
        self.fix = Some(fix);
        self
    }

    /// Leaves the repair to the administrator; `remedy` is the advice.
    fn by_hand(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    fn note(mut self) -> Self {
        self.level = Level::Note;
        self
    }

    /// Tells whether two looks have found the same leftover.
    fn is_same(&self, other: &Debris) -> bool {
        (self.kind, &self.object, &self.subhost) == (other.kind, &other.object, &other.subhost)
    }

    /// Tells whether the leftover counts in the exit status: it is no note and has not been repaired.
    pub fn is_left(&self) -> bool {
        self.level == Level::Left && self.outcome != Some(Outcome::Repaired)
    }
}

/// The objects that belong to an unrecorded subhost. They are reported together, and not once more one by
/// one.
#[derive(Default)]
struct Reported {
    places: BTreeSet<PathBuf>,
    links: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

/// The result of subhost-check(8).
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The abilities of the host.
    pub host: Vec<Ability>,
    /// The leftovers.
    pub left: Vec<Debris>,
}

impl Found {
    /// Tells whether the host has all essential abilities and nothing is left.
    pub fn is_well(&self) -> bool {
        let lacks = |ability: &Ability| ability.essential && ability.state == State::Missing;
        !self.host.iter().any(lacks) && !self.left.iter().any(Debris::is_left)
    }
}
