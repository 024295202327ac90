//! What will be done, as data: steps, the plan that a subhost is made by, and the law of doing and
//! undoing them.
//!
//! Pure: no kernel, no clock. What a step means to the kernel is in `root` and `net`; here it is
//! only ordered, frozen and shown.

mod law;
mod net;
mod root;

pub use law::{Presence, apply, undo_all};
pub use net::steps as net_steps;
pub use root::steps as root_steps;

use crate::base::error::shown;
use crate::base::error::{Error, Exit, Result};
use crate::base::paths;
use crate::config::Net;
use crate::config::{Cable, Cidr, Config, Phase};
use crate::kernel::mountinfo::Mark;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One thing that is made, and that can be found and taken away again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// A directory, made if missing; never removed where `keep`.
    Directory {
        /// Where.
        path: PathBuf,
        /// It stays when the step is undone.
        keep: bool,
    },
    /// The exclusive use of a writable layer or image, among all subhosts of the host.
    Claim {
        /// The directory or file.
        path: PathBuf,
    },
    /// A file with a file system, on a loop device.
    Image {
        /// The file.
        file: PathBuf,
        /// Where it is mounted.
        at: PathBuf,
        /// Number of the partition; none: the whole file.
        partition: Option<u32>,
        /// File system type; none: by its superblock.
        fstype: Option<String>,
        /// Options of the file system.
        options: Option<String>,
        /// Attached and mounted read-only.
        read_only: bool,
    },
    /// A check: the directory `path` exists below `at` and no link leads to it.
    Within {
        /// The image.
        file: PathBuf,
        /// Where it is mounted.
        at: PathBuf,
        /// The directory.
        path: PathBuf,
    },
    /// A tmpfs.
    Tmpfs {
        /// Where.
        at: PathBuf,
        /// Bytes that it may hold; none: half of the host's memory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    },
    /// An overlay.
    Overlay {
        /// Layers, topmost first.
        lowers: Vec<PathBuf>,
        /// Writable layer and work directory; none: the overlay is read-only.
        upper: Option<(PathBuf, PathBuf)>,
        /// Where.
        at: PathBuf,
        /// First of the host's ids that its files have there, from 0 on; none: their own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<u32>,
    },
    /// A recursive bind whose content takes mounts from the source and gives none back.
    Rbind {
        /// The tree.
        source: PathBuf,
        /// Where.
        at: PathBuf,
        /// With all submounts.
        read_only: bool,
        /// As of an overlay.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<u32>,
    },
    /// A named network namespace with `lo` up.
    Netns {
        /// Its name in /run/netns.
        name: String,
        /// First id of the user namespace that it belongs to; none: the host's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<u32>,
    },
    /// A veth pair between the host and a named namespace, with the inner end's addresses.
    Cable {
        /// The namespace.
        netns: String,
        /// Marks it as ours: the alias of the host end.
        alias: String,
        /// The pair.
        cable: Cable,
    },
    /// A process that carries what goes in and out of a named namespace.
    Helper {
        /// The namespace.
        netns: String,
    },
    /// Routes inside a named namespace.
    Routes {
        /// The namespace.
        netns: String,
        /// Default gateways.
        gateways: Vec<IpAddr>,
        /// Network and gateway.
        routes: Vec<(Cidr, IpAddr)>,
    },
}

/// A step of a plan, with the mark of what it made if that is known.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The step.
    pub step: &'a Step,
    /// The mark.
    pub mark: Option<&'a Mark>,
}

/// The half of a subhost that a plan makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// Its root file system.
    Root,
    /// Its network.
    Net,
}

impl Half {
    /// As messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Half::Root => "root",
            Half::Net => "network",
        }
    }
}

/// The version of the frozen form; another one is refused.
pub const FORMAT: u32 = 1;

/// Everything that bringing up or taking down one half of a subhost needs to know. What is up is
/// what its frozen plan says, whatever became of the config since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// Id of the boot of the host that it was frozen in.
    pub boot: String,
    /// $SUBHOST.
    pub tree: PathBuf,
    /// The subhost's name.
    pub name: String,
    /// Which half.
    pub half: Half,
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

    /// Would the other plan make the same?
    pub fn makes_the_same(&self, other: &Plan) -> bool {
        self.steps == other.steps && self.kind == other.kind && self.live == other.live
    }

    /// The frozen form: JSON.
    ///
    /// # Errors
    /// A path that is not UTF-8 (a config cannot name one).
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string(self);
        text.map_err(|e| Error::new(Exit::Invalid, format!("cannot freeze the plan: {e}")))
    }

    /// Reads the frozen form.
    ///
    /// # Errors
    /// `Invalid` for another format or a damaged file.
    pub fn from_text(text: &str) -> Result<Self> {
        let damaged = |why: String| {
            Error::new(
                Exit::Invalid,
                format!("the frozen plan cannot be read: {why}"),
            )
        };
        let other = |format: u32| {
            damaged(format!(
                "it has format {format}, this version reads {FORMAT}"
            ))
        };
        match serde_json::from_str::<Self>(text) {
            Ok(plan) if plan.format == FORMAT => Ok(plan),
            Ok(plan) => Err(other(plan.format)),
            Err(e) => {
                #[derive(Deserialize)]
                struct Version {
                    format: u32,
                }
                match serde_json::from_str::<Version>(text) {
                    Ok(Version { format }) if format != FORMAT => Err(other(format)),
                    _ => Err(damaged(e.to_string())),
                }
            }
        }
    }
}

/// A step in a few words.
pub fn title(step: &Step) -> String {
    match step {
        Step::Directory { path, .. } | Step::Within { path, .. } => shown(path),
        Step::Claim { path } => format!("the claim of {}", shown(path)),
        Step::Image { at, .. }
        | Step::Tmpfs { at, .. }
        | Step::Overlay { at, .. }
        | Step::Rbind { at, .. } => {
            format!("the mount on {}", shown(at))
        }
        Step::Netns { name, .. } => format!("the network namespace {name}"),
        Step::Cable { cable, .. } => format!("the cable {}", cable.host),
        Step::Helper { netns } => format!("the helper of the network {netns}"),
        Step::Routes { netns, .. } => format!("routes in {netns}"),
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

/// The plan of one half as the settings want it. `ids`: the first id of its user namespace.
pub fn plan(config: &Config, half: Half, here: Here, ids: Option<u32>) -> Plan {
    let netns = match &config.net {
        Net::Host => PathBuf::new(),
        Net::Named(name) => paths::netns(name),
        Net::Private(_) => paths::netns(config.name.as_str()),
    };
    let (kind, steps) = match half {
        Half::Root => (
            config.kind().to_owned(),
            root::steps(config, here.state, ids),
        ),
        Half::Net => (config.settings["NET"].clone(), net::steps(config, ids)),
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
        name: config.name.to_string(),
        half,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_refused() {
        let error = Plan::from_text("{\"format\": 999}").unwrap_err();
        assert_eq!(error.exit, Exit::Invalid);
        assert!(error.what.contains("999"));
    }
}
