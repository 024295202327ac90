//! What a subhost may use of the host: the settings of its cgroup, and of its disk.

use super::{Config, Origin, Setting, Settings, check};
use crate::base::error::Result;
use crate::base::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a subhost's cgroup is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cgroup {
    /// Below a delegated cgroup that we are in, else in `subhost` below the root of the hierarchy.
    #[default]
    Auto,
    /// Below the cgroup that we are in.
    Inherit,
    /// Below this one, which must exist.
    Named(PathBuf),
}

/// An upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// None but the host's.
    Max,
    /// This much.
    At(u64),
}

/// Bounds for one block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Io {
    /// The device, or a directory on it; none: what the root's writable layer lies on.
    pub device: Option<PathBuf>,
    /// Bytes per second.
    pub read_bytes: Option<Bound>,
    /// Bytes per second.
    pub write_bytes: Option<Bound>,
    /// Operations per second.
    pub read_ops: Option<Bound>,
    /// Operations per second.
    pub write_ops: Option<Bound>,
}

/// The period of which CPUS is a part, microseconds.
pub const CPU_PERIOD: u64 = 100_000;
/// How many processes there may be where nothing is set: enough for any service, and too few for a
/// fork bomb to take the host's pids and memory.
pub const USUAL_PIDS: u64 = 8192;

/// Limits; what is not set is the host's to give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Where the cgroup is.
    pub cgroup: Cgroup,
    /// CPU time in each [`CPU_PERIOD`], microseconds.
    pub cpus: Option<Bound>,
    /// Share of CPU time, 100 where nothing is set.
    pub cpu_weight: Option<u64>,
    /// CPUs, as the kernel lists them.
    pub cpuset: Option<String>,
    /// Bytes.
    pub memory: Option<Bound>,
    /// Bytes of swap, beyond `memory`.
    pub memory_swap: Option<Bound>,
    /// Processes and threads.
    pub pids: Option<Bound>,
    /// Share of disk time, 100 where nothing is set.
    pub io_weight: Option<u64>,
    /// Rates of block devices.
    pub io: Vec<Io>,
}

/// The keys of limits that can be changed while a subhost runs.
pub const LIMIT_KEYS: &[&str] = &[
    "CPUS",
    "CPU_WEIGHT",
    "CPUSET",
    "MEMORY",
    "MEMORY_SWAP",
    "PIDS",
    "IO_WEIGHT",
    "IO",
];

impl Config {
    /// Those of the settings that are limits, and set.
    pub fn limit_settings(&self) -> BTreeMap<String, String> {
        let is_set = |key: &&&str| {
            self.settings
                .get(**key)
                .is_some_and(|value| !value.is_empty())
        };
        let keys = LIMIT_KEYS.iter().filter(is_set);
        keys.map(|key| ((*key).to_owned(), self.settings[*key].clone()))
            .collect()
    }

    /// Limits by themselves, from settings that are nowhere but in the kernel.
    ///
    /// # Errors
    /// `Invalid` with the key.
    pub fn limits_of(
        tree: &Path,
        name: &Name,
        settings: &BTreeMap<String, String>,
    ) -> Result<Limits> {
        let mut all: Settings = settings
            .iter()
            .map(|(key, value)| {
                let setting = Setting {
                    value: value.clone(),
                    origin: Origin::Live,
                };
                (key.clone(), setting)
            })
            .collect();
        all.entry("CGROUP".into()).or_insert(Setting {
            value: "auto".into(),
            origin: Origin::Default,
        });
        check::limits(tree, name, all)
    }
}
