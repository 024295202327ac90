//! The settings of a subhost: reading them and their meaning.
//!
//! [`Config::load`] reads `defaults` and `config`, checks that no other user could have written them, and
//! checks each value. It executes nothing and reads nothing from the tree of a subhost.
//!
//! `table` has one row for each key. The file of a group of keys has its types and the code that checks
//! them.

mod checker;
mod confine;
mod hooks;
pub mod keys;
mod limits;
mod mac;
mod net;
mod root;
mod run;
mod table;
mod trust;
mod userns;
mod values;
mod weak;

pub use confine::Confine;
pub use hooks::Phase;
pub use limits::{Bound, CPU_PERIOD, Cgroup, DEFAULT_PIDS, Io, LIMIT_KEYS, Limits};
pub use net::{Cable, Net, Private};
pub use root::{Image, Layer, Root};
pub use run::{Bind, EnvFile, Run, Stop};
pub use trust::{check_above, check_unreachable};
pub use userns::Userns;
pub use values::{Cidr, Mac};
pub use weak::weakened;

use crate::base::envfile;
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::confine::{Rights, caps};
use crate::kernel::dirs;
use rustix::thread::CapabilitySet as Cap;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All settings of one subhost, with their meaning.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of the subhosts ($SUBHOST), absolute.
    pub tree: PathBuf,
    /// The name of the subhost.
    pub name: Name,
    /// The directory of the subhost, `$SUBHOST/NAME`.
    pub dir: PathBuf,
    /// The root file system.
    pub root: Root,
    /// The network.
    pub net: Net,
    /// The command or init, and the files of the host that it sees.
    pub run: Run,
    /// The confinement of processes inside.
    pub confine: Confine,
    /// The limits on what it may use of the host.
    pub limits: Limits,
    /// Whether it has a user namespace.
    pub userns: Userns,
    /// The first of its assigned ids, if it has some.
    pub ids: Option<u32>,
    /// The hooks on the host.
    pub hooks: BTreeMap<Phase, Vec<String>>,
    /// The time limit of a hook.
    pub hook_timeout: Duration,
    /// The sets that it is started with at boot; none if it is not.
    pub autostart: Vec<String>,
    /// All settings as text, with the defaults, for `subhost-config` and hooks.
    pub settings: BTreeMap<String, String>,
}

/// The place of a setting, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf, usize),
    CommandLine,
    /// A program that uses the library.
    Program,
    /// The running subhost has it, or is to have it.
    Live,
}

impl fmt::Display for Origin {
    /// Writes the beginning of a message about the setting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default | Origin::Program | Origin::Live => Ok(()),
            Origin::File(file, line) => write!(f, "{}:{line}: ", shown(file)),
            Origin::CommandLine => f.write_str("--set: "),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub value: String,
    pub origin: Origin,
}

/// The settings by key, as text.
pub(crate) type Settings = BTreeMap<String, Setting>;

/// Makes the failure of an invalid value.
pub(crate) fn invalid(origin: &Origin, key: &str, why: impl fmt::Display) -> Error {
    Error::new(
        Exit::Invalid,
        format!("{origin}{key}: {}", shown(why.to_string())),
    )
}

impl Config {
    /// Reads and checks the settings of `name` below `tree` ($SUBHOST). `set` are `KEY=VALUE` pairs, which
    /// override those of the files.
    ///
    /// # Errors
    /// `NoSubhost` if there is no config; `Invalid` with file, line and key; `Failed` if a file
    /// cannot be read.
    pub fn load(tree: &Path, name: &Name, set: &[String]) -> Result<Self> {
        let dir = tree.join(name.as_str());
        let file = dir.join("config");
        if !dir.is_dir() || !file.exists() {
            return Err(Error::new(
                Exit::NoSubhost,
                format!("no such subhost: there is no {}", shown(&file)),
            ));
        }
        let mut settings = built_in();
        let defaults = tree.join("defaults");
        if defaults.exists() {
            merge(&mut settings, &defaults, tree, name)?;
        }
        merge(&mut settings, &file, tree, name)?;
        for word in set {
            let (key, value) = setting(word)?;
            put(&mut settings, key, value.to_owned(), Origin::CommandLine)?;
        }
        checker::config(tree, name, settings)
    }

    /// Checks settings that are in no file: pairs of a key and its value, of which the last wins. Other
    /// keys have their defaults. `defaults` and `config` below `tree` ($SUBHOST, absolute) are not read and
    /// need not exist.
    ///
    /// # Errors
    /// `Invalid`, with the key.
    pub fn from_settings<K, V>(
        tree: &Path,
        name: &Name,
        settings: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self>
    where
        K: AsRef<str>,
        V: Into<String>,
    {
        let mut all = built_in();
        for (key, value) in settings {
            put(&mut all, key.as_ref(), value.into(), Origin::Program)?;
        }
        checker::config(tree, name, all)
    }

    /// Returns the file with the values that were assigned to the subhost for good.
    pub fn assigned_file(dir: &Path) -> PathBuf {
        dir.join("assigned")
    }

    /// Returns the rights of processes inside.
    pub fn rights(&self, pid1: Pid1) -> Rights {
        let caps = self.confine.caps.apply(default_caps(&self.net, pid1));
        Rights {
            caps: caps.bits(),
            no_new_privs: self.confine.no_new_privs,
            seccomp: self.confine.seccomp.resolve(caps),
        }
    }

    /// Tells whether the network is that of an ordinary user, with a helper.
    pub fn has_helper(&self) -> bool {
        matches!(&self.net, Net::Private(private) if private.helper)
    }

    /// Returns the kind of root in one word, for `subhost-list`.
    pub fn kind(&self) -> &'static str {
        self.root.kind()
    }
}

/// Splits a word of `--set` into key and value.
///
/// # Errors
/// `Usage` if it is not `KEY=VALUE`; `Invalid` with the nearest key if there is no such key.
pub fn setting(word: &str) -> Result<(&str, &str)> {
    split(word, "--set ", &Origin::CommandLine)
}

/// Splits an argument of `subhost-limit` into key and value.
///
/// # Errors
/// As [`setting`].
pub fn live_setting(word: &str) -> Result<(&str, &str)> {
    split(word, "", &Origin::Live)
}

fn split<'a>(word: &'a str, before: &str, origin: &Origin) -> Result<(&'a str, &'a str)> {
    let (key, value) = word.split_once('=').ok_or_else(|| {
        let what = format!("{before}{}: not KEY=VALUE", shown(word));
        Error::new(Exit::Usage, what)
    })?;
    check_key(key, origin)?;
    Ok((key, value))
}

/// Returns the STOP_TIMEOUT that words of `--set` name.
///
/// # Errors
/// As [`setting`]; `Invalid` if it is not a duration.
pub fn set_stop_timeout(words: &[String]) -> Result<Option<Duration>> {
    let mut timeout = None;
    for word in words {
        if let ("STOP_TIMEOUT", value) = setting(word)? {
            let parsed = values::duration(value)
                .map_err(|why| Error::new(Exit::Invalid, format!("--set STOP_TIMEOUT: {why}")))?;
            timeout = Some(parsed);
        }
    }
    Ok(timeout)
}

/// Checks that there is such a key.
fn check_key(key: &str, origin: &Origin) -> Result<()> {
    keys::kind(key).map(drop).map_err(|nearest| {
        let error = Error::new(Exit::Invalid, format!("{origin}unknown key {}", shown(key)));
        match nearest {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("keys of your own begin with X_"),
        }
    })
}

/// Returns the defaults that depend on no other setting.
fn built_in() -> Settings {
    let setting = |value: &str| Setting {
        value: value.to_owned(),
        origin: Origin::Default,
    };
    let all = keys::KEYS.iter();
    all.map(|(key, value)| ((*key).to_owned(), setting(value)))
        .collect()
}

/// Adds a setting, in place of an earlier one.
fn put(settings: &mut Settings, key: &str, value: String, origin: Origin) -> Result<()> {
    check_key(key, &origin)?;
    if value.contains('\0') {
        return Err(invalid(&origin, key, "contains a NUL"));
    }
    settings.insert(key.to_owned(), Setting { value, origin });
    Ok(())
}

/// Reads a file of `KEY=word` lines, which only root or the caller may be able to write.
pub(crate) fn read_trusted(file: &Path, tree: &Path, name: &Name) -> Result<Vec<envfile::Pair>> {
    read_pairs(file, tree, name, ToString::to_string)
}

/// Reads such a file without quoting its text in a message.
fn read_secret(file: &Path, tree: &Path, name: &Name) -> Result<Vec<envfile::Pair>> {
    read_pairs(file, tree, name, |e| {
        format!("{}:{}: {}", e.line, e.column, e.bare)
    })
}

fn read_pairs(
    file: &Path,
    tree: &Path,
    name: &Name,
    describe: impl FnOnce(&envfile::SyntaxError) -> String,
) -> Result<Vec<envfile::Pair>> {
    let text = trust::read(file, tree)?;
    let tree = tree.to_string_lossy();
    let scope = [("SUBHOST", tree.as_ref()), ("NAME", name.as_str())];
    envfile::parse(&text, &scope)
        .map_err(|e| Error::new(Exit::Invalid, format!("{}:{}", shown(file), describe(&e))))
}

fn merge(settings: &mut Settings, file: &Path, tree: &Path, name: &Name) -> Result<()> {
    for pair in read_trusted(file, tree, name)? {
        let origin = Origin::File(file.to_owned(), pair.line);
        put(settings, &pair.key, pair.value, origin)?;
    }
    Ok(())
}

/// Returns the names of all subhosts below `tree`, the directories with a config, sorted.
///
/// # Errors
/// `tree` cannot be read.
pub fn names(tree: &Path) -> Result<Vec<Name>> {
    names_with(tree, Vec::new())
}

/// Returns the names of all subhosts below `tree` and those of `known`, sorted and without duplicates. It
/// does not look for the configs of `known`.
///
/// # Errors
/// `tree` cannot be read.
pub fn names_with(tree: &Path, mut known: Vec<Name>) -> Result<Vec<Name>> {
    known.sort();
    let mut names = Vec::new();
    let is_known = |name: &str| {
        known
            .binary_search_by(|known| known.as_str().cmp(name))
            .is_ok()
    };
    let read = dirs::each(tree, |name| {
        let other = std::str::from_utf8(name)
            .ok()
            .filter(|name| !is_known(name));
        let other = other.and_then(Name::parse);
        names.extend(other.filter(|name| tree.join(name.as_str()).join("config").exists()));
    });
    read.doing(|| format!("read {}", shown(tree)))?;
    names.append(&mut known);
    names.sort();
    names.dedup();
    Ok(names)
}

/// The kind of PID 1 of a subhost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pid1 {
    /// The PID 1 of the tools.
    Ours,
    /// An init of the tree.
    Init,
}

/// Returns the default capabilities. A subhost in the network of the host gets no CAP_NET_RAW: raw sockets
/// there read and forge the packets of others.
fn default_caps(net: &Net, pid1: Pid1) -> Cap {
    let mut all = caps::DEFAULT;
    match net {
        Net::Host => {}
        Net::Named(_) => all |= Cap::NET_RAW,
        Net::Private(_) => all |= Cap::NET_ADMIN | Cap::NET_RAW,
    }
    // An init of the tree ends by reboot(2), which in a pid namespace has no other effect.
    if pid1 == Pid1::Init {
        all |= Cap::SYS_BOOT;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(settings: &[(&str, &str)]) -> Result<Config> {
        let name = Name::new("w").unwrap();
        Config::from_settings(Path::new("/no/such"), &name, settings.iter().copied())
    }

    #[test]
    fn a_config_needs_no_file() {
        let config = load(&[]).unwrap();
        assert_eq!(config.dir, Path::new("/no/such/w"));
        assert_eq!(config.root.upper, Path::new("/no/such/w/root"));
        assert_eq!(config.run.hostname, "w");
        assert_eq!(config.settings["RAM_SIZE"], "50M");
        assert!(load(&[("ADDR0", "192.0.2.1/24"), ("BRIDGES", "=")]).is_ok());
    }

    #[test]
    fn the_last_value_wins_and_an_empty_one_is_unset() {
        let config = load(&[("PIDS", "1"), ("RAM_SIZE", ""), ("PIDS", "7")]).unwrap();
        assert_eq!(config.limits.pids, Some(Bound::At(7)));
        assert_eq!(config.run.ram_size, 50 << 20);
    }

    #[test]
    fn errors_without_a_file_name_the_key() {
        for (key, value, why) in [
            ("MEMROY", "64M", "unknown key MEMROY (did you mean MEMORY?)"),
            (
                "MEMORY",
                "much",
                "MEMORY: 'much' is not a size, such as 64M",
            ),
            ("RUN", "a\0b", "RUN: contains a NUL"),
        ] {
            let error = load(&[(key, value)]).unwrap_err();
            assert_eq!((error.exit, error.to_string()), (Exit::Invalid, why.into()));
        }
    }
}
