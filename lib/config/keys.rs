//! The table of keys: their names, their defaults, and the struct that envy fills with them.
//!
//! Meaning is given in `check`; nothing here looks at a value.

use crate::base::error::{Error, Exit, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Every key of the fixed names with its built-in default (`subhost.config(5)`). An empty default
/// means unset. Where the default depends on other keys or on the name, `check` has it.
pub const KEYS: &[(&str, &str)] = &[
    ("APPARMOR", ""),
    ("AUTOSTART", "no"),
    ("BIND", ""),
    ("BRIDGES", ""),
    ("CAPS", ""),
    ("CGROUP", "auto"),
    ("CPUS", ""),
    ("CPUSET", ""),
    ("CPU_WEIGHT", ""),
    ("DEVICES", ""),
    ("DISK", ""),
    ("DNS", ""),
    ("GATEWAY", ""),
    ("HOOK_TIMEOUT", "30s"),
    ("HOSTNAME", ""),
    ("IMAGE", ""),
    ("IMAGE_FSTYPE", ""),
    ("IMAGE_OPTIONS", ""),
    ("IMAGE_PARTITION", ""),
    ("INIT", ""),
    ("IO", ""),
    ("IO_WEIGHT", ""),
    ("LINK", ""),
    ("LIVE", "live"),
    ("LOG_MAX", "10M"),
    ("LOWER", ""),
    ("MASK", ""),
    ("MEMORY", ""),
    ("MEMORY_SWAP", ""),
    ("NET", "private"),
    ("NO_NEW_PRIVS", "no"),
    ("PIDS", ""),
    ("POSTMOUNT", ""),
    ("POSTNET", ""),
    ("POSTSTOP", ""),
    ("PREMOUNT", ""),
    ("PRENET", ""),
    ("PRESTOP", ""),
    ("RAM_SIZE", "50M"),
    ("READ_ONLY", "no"),
    ("ROUTES", ""),
    ("RUN", ""),
    ("RUN_AS", "root"),
    ("RUN_DIR", "/"),
    ("SEARCH", ""),
    ("SECCOMP", "default"),
    ("SELINUX", ""),
    ("STOP", ""),
    ("STOP_TIMEOUT", ""),
    ("TMPFS", ""),
    ("UPPER", ""),
    ("USERNS", "no"),
    ("VOLATILE", "no"),
    ("WORK", ""),
];

/// Keys that carry the number of a cable behind their name.
pub const NUMBERED: &[&str] = &["ADDR", "MTU"];
/// Keys that carry a name of the user's behind their prefix.
pub const PREFIXES: &[&str] = &["ENV_", "X_"];
/// Numbers of cables run from 0 to this.
pub const MAX_CABLES: usize = 100;

/// All fixed keys as envy reads them: one text each, still without meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Raw {
    pub apparmor: String,
    pub autostart: String,
    pub bind: String,
    pub bridges: String,
    pub caps: String,
    pub cgroup: String,
    pub cpus: String,
    pub cpuset: String,
    pub cpu_weight: String,
    pub devices: String,
    pub disk: String,
    pub dns: String,
    pub gateway: String,
    pub hook_timeout: String,
    pub hostname: String,
    pub image: String,
    pub image_fstype: String,
    pub image_options: String,
    pub image_partition: String,
    pub init: String,
    pub io: String,
    pub io_weight: String,
    pub link: String,
    pub live: String,
    pub log_max: String,
    pub lower: String,
    pub mask: String,
    pub memory: String,
    pub memory_swap: String,
    pub net: String,
    pub no_new_privs: String,
    pub pids: String,
    pub postmount: String,
    pub postnet: String,
    pub poststop: String,
    pub premount: String,
    pub prenet: String,
    pub prestop: String,
    pub ram_size: String,
    pub read_only: String,
    pub routes: String,
    pub run: String,
    pub run_as: String,
    pub run_dir: String,
    pub search: String,
    pub seccomp: String,
    pub selinux: String,
    pub stop: String,
    pub stop_timeout: String,
    pub tmpfs: String,
    pub upper: String,
    pub userns: String,
    pub volatile: String,
    pub work: String,
}

/// What kind of key a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of [`KEYS`].
    Fixed,
    /// `ADDRi`, `MTUi`.
    Numbered(usize),
    /// `ENV_*`, `X_*`.
    Prefixed,
}

/// The kind of `key`, or the nearest known key to a name that is none.
///
/// # Errors
/// The nearest known key, if one is near.
pub fn kind(key: &str) -> std::result::Result<Kind, Option<String>> {
    if KEYS.iter().any(|(known, _)| *known == key) {
        return Ok(Kind::Fixed);
    }
    if PREFIXES.iter().any(|p| {
        key.strip_prefix(p)
            .is_some_and(|name| !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty())
    }) {
        return Ok(Kind::Prefixed);
    }
    for name in NUMBERED {
        if let Some(digits) = key.strip_prefix(name)
            && let Ok(index) = digits.parse::<usize>()
            && index < MAX_CABLES
            && index.to_string() == digits
        {
            return Ok(Kind::Numbered(index));
        }
    }
    Err(nearest(key))
}

fn nearest(key: &str) -> Option<String> {
    let upper = key.to_uppercase();
    KEYS.iter()
        .map(|(known, _)| (*known).to_owned())
        .chain(NUMBERED.iter().map(|n| format!("{n}0")))
        .map(|known| (strsim::damerau_levenshtein(&upper, &known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}

/// Fills the struct of all fixed keys.
///
/// # Errors
/// A key that is not in the struct: the caller lets none through.
pub fn raw(settings: &BTreeMap<String, String>) -> Result<Raw> {
    let fixed = settings
        .iter()
        .filter(|(key, _)| kind(key) == Ok(Kind::Fixed))
        .map(|(key, value)| (key.clone(), value.clone()));
    envy::from_iter(fixed)
        .map_err(|e| Error::new(Exit::Invalid, format!("cannot read the settings: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_struct_agree() {
        let all: BTreeMap<String, String> = KEYS
            .iter()
            .map(|(key, _)| ((*key).to_owned(), format!("value of {key}")))
            .collect();
        let raw = raw(&all).unwrap();
        let text = format!("{raw:?}");
        for (key, _) in KEYS {
            assert!(text.contains(&format!("\"value of {key}\"")), "{key}");
        }
        assert_eq!(text.matches("value of").count(), KEYS.len());
    }

    #[test]
    fn kinds() {
        assert_eq!(kind("ADDR12"), Ok(Kind::Numbered(12)));
        assert_eq!(kind("ENV_LANG"), Ok(Kind::Prefixed));
        assert_eq!(kind("LOWWER"), Err(Some("LOWER".into())));
        assert_eq!(kind("ADRR0"), Err(Some("ADDR0".into())));
        for bad in ["ADDR01", "ADDR", "MTU100", "ENV_", "lower", "QQQQQQ"] {
            assert!(kind(bad).is_err(), "{bad}");
        }
    }
}
