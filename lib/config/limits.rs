//! The keys of limits. Nothing here checks that the host has the controllers; that is done when the limits
//! are set.

use super::checker::{self, Checker};
use super::keys::Raw;
use super::values::{Checked, size, words};
use super::{Config, Origin, Setting, Settings};
use crate::base::error::Result;
use crate::base::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The place of the cgroup of a subhost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cgroup {
    /// Below a delegated cgroup of this process, else in `subhost` below the root of the hierarchy.
    #[default]
    Auto,
    /// Below the cgroup of this process.
    Inherit,
    /// Below this cgroup, which must exist.
    Named(PathBuf),
}

/// An upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// No bound but that of the host.
    Max,
    /// At most this much.
    At(u64),
}

/// The bounds of one block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Io {
    /// The device, or a directory on it; none means the device of the writable layer of the root.
    pub device: Option<PathBuf>,
    /// The read rate in bytes per second.
    pub read_bytes: Option<Bound>,
    /// The write rate in bytes per second.
    pub write_bytes: Option<Bound>,
    /// The read rate in operations per second.
    pub read_ops: Option<Bound>,
    /// The write rate in operations per second.
    pub write_ops: Option<Bound>,
}

/// The period of CPUS, in microseconds.
pub const CPU_PERIOD: u64 = 100_000;
/// The default bound of processes: enough for any service, and too few for a fork bomb to use up the pids
/// and the memory of the host.
pub const DEFAULT_PIDS: u64 = 8192;

/// The limits. A limit that is not set is that of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The place of the cgroup.
    pub cgroup: Cgroup,
    /// The CPU time in each [`CPU_PERIOD`], in microseconds.
    pub cpus: Option<Bound>,
    /// The share of CPU time; the default is 100.
    pub cpu_weight: Option<u64>,
    /// The CPUs, in the list format of cpuset(7).
    pub cpuset: Option<String>,
    /// The memory, in bytes.
    pub memory: Option<Bound>,
    /// The swap beyond `memory`, in bytes.
    pub memory_swap: Option<Bound>,
    /// The number of processes and threads.
    pub pids: Option<Bound>,
    /// The share of I/O; the default is 100.
    pub io_weight: Option<u64>,
    /// The rates of block devices.
    pub io: Vec<Io>,
}

/// The limits that can be changed while a subhost runs.
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
    /// Returns the limits that are set, as text.
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

    /// Checks the limits of a running subhost, which are in no config.
    ///
    /// # Errors
    /// `Invalid`, with the key.
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
        checker::limits(tree, name, all)
    }
}

/// The least memory in bytes; with less, no process can start.
pub(super) const LEAST_MEMORY: u64 = 1 << 20;

impl Checker<'_> {
    /// Checks the limits.
    pub(super) fn limits(&self, raw: &Raw) -> Result<Limits> {
        let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let memory = self.optional("MEMORY", &raw.memory, memory)?;
        let memory_swap =
            self.optional("MEMORY_SWAP", &raw.memory_swap, |text| bound(text, size))?;
        if memory.is_none() && memory_swap.is_some() {
            return Err(self.bad("MEMORY_SWAP", "is beyond MEMORY, which is not set"));
        }
        Ok(Limits {
            cgroup: self.value("CGROUP", cgroup(&raw.cgroup))?,
            cpus: self.optional("CPUS", &raw.cpus, |text| bound(text, quota))?,
            cpu_weight: self.optional("CPU_WEIGHT", &raw.cpu_weight, weight)?,
            cpuset: match set(&raw.cpuset) {
                Some(text) => Some(self.value("CPUSET", cpuset(&text))?),
                None => None,
            },
            memory,
            memory_swap,
            pids: self.optional("PIDS", &raw.pids, |text| bound(text, pids))?,
            io_weight: self.optional("IO_WEIGHT", &raw.io_weight, weight)?,
            io: self.io(&raw.io)?,
        })
    }

    /// Parses `DEVICE:rbps=1M,wiops=100`, several of them with blanks between.
    fn io(&self, text: &str) -> Result<Vec<Io>> {
        let mut all: Vec<Io> = Vec::new();
        for word in self.value("IO", words(text))? {
            let wrong = || {
                self.bad(
                    "IO",
                    format!("'{word}' is not DEVICE:rbps=N,wbps=N,riops=N,wiops=N"),
                )
            };
            // A path may contain colons.
            let (device, rates) = word.rsplit_once(':').ok_or_else(wrong)?;
            let device = match device {
                "root" => None,
                path if path.starts_with('/') => Some(self.path("IO", path)?),
                _ => {
                    return Err(self.bad(
                        "IO",
                        format!("'{device}' is neither root nor a path from / on"),
                    ));
                }
            };
            if all.iter().any(|io| io.device == device) {
                return Err(self.bad("IO", format!("'{word}' names its device again")));
            }
            let mut io = Io {
                device,
                read_bytes: None,
                write_bytes: None,
                read_ops: None,
                write_ops: None,
            };
            for rate in rates.split(',') {
                let (name, number) = rate.split_once('=').ok_or_else(wrong)?;
                let place = match name {
                    "rbps" => &mut io.read_bytes,
                    "wbps" => &mut io.write_bytes,
                    "riops" => &mut io.read_ops,
                    "wiops" => &mut io.write_ops,
                    _ => return Err(wrong()),
                };
                if place.is_some() {
                    return Err(self.bad("IO", format!("'{word}' says {name} twice")));
                }
                let number = bound(number, |text| match size(text)? {
                    0 => Err("0 would be no I/O at all".to_owned()),
                    number => Ok(number),
                });
                *place = Some(self.value("IO", number)?);
            }
            all.push(io);
        }
        Ok(all)
    }
}

fn bound(text: &str, number: impl FnOnce(&str) -> Checked<u64>) -> Checked<Bound> {
    match text {
        "max" => Ok(Bound::Max),
        text => number(text).map(Bound::At),
    }
}

fn memory(text: &str) -> Checked<Bound> {
    bound(text, |text| match size(text)? {
        bytes @ LEAST_MEMORY.. => Ok(bytes),
        _ => Err(format!(
            "'{text}' is less than 1M: nothing could run in that"
        )),
    })
}

/// Parses a number of CPUs, as in `1.5`, into microseconds of a period. The kernel refuses a quota under 1
/// ms.
fn quota(text: &str) -> Checked<u64> {
    let wrong = || format!("'{text}' is not a number of CPUs from 0.01 on, such as 1.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let thousandths: u64 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    let quota = (whole.checked_mul(1000))
        .and_then(|whole| whole.checked_add(thousandths))
        .and_then(|all| all.checked_mul(CPU_PERIOD / 1000))
        .ok_or_else(wrong)?;
    // The kernel counts quotas in shifted nanoseconds and refuses larger ones (kernel/sched/core.c).
    match quota {
        1000..=17_000_000_000 => Ok(quota),
        _ => Err(wrong()),
    }
}

fn weight(text: &str) -> Checked<u64> {
    match text.parse() {
        Ok(weight @ 1..=10_000) => Ok(weight),
        _ => Err(format!("'{text}' is no weight from 1 to 10000")),
    }
}

fn pids(text: &str) -> Checked<u64> {
    // PID_MAX_LIMIT of a kernel with 64 bits.
    match text.parse() {
        Ok(pids @ 1..=4_194_304) => Ok(pids),
        _ => Err(format!(
            "'{text}' is neither max nor a number from 1 to 4194304"
        )),
    }
}

/// Checks a list of CPUs, as in `0-3,5` (list format of cpuset(7)).
fn cpuset(text: &str) -> Checked<String> {
    let wrong = || format!("'{text}' is not a list of CPUs, such as 0-3,5");
    let number = |text: &str| -> Checked<u16> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(wrong)
    };
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if number(first)? > number(last)? {
            return Err(wrong());
        }
    }
    Ok(text.to_owned())
}

fn cgroup(text: &str) -> Checked<Cgroup> {
    match text {
        "auto" => Ok(Cgroup::Auto),
        "inherit" => Ok(Cgroup::Inherit),
        path if path.starts_with('/') => {
            let plain = Path::new(path)
                .components()
                .skip(1)
                .all(|part| matches!(part, Component::Normal(_)));
            let path: PathBuf = Path::new(path).components().collect();
            match plain && path != Path::new("/") {
                true => Ok(Cgroup::Named(path)),
                false => Err(format!(
                    "'{text}' is no plain path of a cgroup below the root"
                )),
            }
        }
        _ => Err(format!(
            "'{text}' is neither auto nor inherit nor a path from the hierarchies' root on"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_parsed() {
        assert_eq!(quota("1.5"), Ok(150_000));
        assert_eq!(quota("2"), Ok(200_000));
        assert_eq!(quota("0.01"), Ok(1000));
        assert_eq!(quota("0.125"), Ok(12_500));
        for bad in [
            "0",
            "0.001",
            "-1",
            "+1",
            "1.",
            ".5",
            "1.2345",
            "1e3",
            "",
            "99999999999999999999",
        ] {
            assert!(quota(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_of_cpus_are_checked() {
        for good in ["0", "0-3", "0-3,5,7-7"] {
            assert_eq!(cpuset(good).as_deref(), Ok(good));
        }
        for bad in ["3-0", "0-", "a", "0,", "+1", "0 1", "0-70000", "all"] {
            assert!(cpuset(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(memory("64M"), Ok(Bound::At(64 << 20)));
        assert_eq!(memory("max"), Ok(Bound::Max));
        assert!(memory("64K").is_err() && memory("much").is_err());
        assert_eq!(weight("10000"), Ok(10_000));
        assert!(weight("0").is_err() && weight("10001").is_err());
        assert_eq!(pids("1"), Ok(1));
        assert!(pids("0").is_err() && pids("5000000").is_err());
    }

    #[test]
    fn cgroups_are_parsed() {
        assert_eq!(cgroup("auto"), Ok(Cgroup::Auto));
        assert_eq!(cgroup("/a/b/"), Ok(Cgroup::Named("/a/b".into())));
        for bad in ["/", "a", "/a/../b", "/..", ""] {
            assert!(cgroup(bad).is_err(), "{bad}");
        }
    }
}
