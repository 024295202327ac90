//! A subhost's settings: where they come from, and what they mean.
//!
//! [`Config::load`] reads `defaults` and `config`, checks that nobody else could have written
//! them, and gives the settings their meaning. It never runs anything, and reads nothing from
//! inside a subhost's tree.
//!
//! A key is a row of `table`; what it means stands in the file of its group, which has the types and
//! what fills them.

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
pub use limits::{Bound, CPU_PERIOD, Cgroup, Io, LIMIT_KEYS, Limits, USUAL_PIDS};
pub use net::{Cable, Net, Private};
pub use root::{Image, Layer, Root};
pub use run::{Bind, EnvFile, Run, Stop};
pub use trust::{check_above, unreachable_by_others};
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
    /// $SUBHOST, absolute.
    pub tree: PathBuf,
    /// Its name.
    pub name: Name,
    /// `$SUBHOST/NAME`.
    pub dir: PathBuf,
    /// Its root file system.
    pub root: Root,
    /// Its network.
    pub net: Net,
    /// What runs in it.
    pub run: Run,
    /// What those inside may do.
    pub confine: Confine,
    /// What it may use of the host.
    pub limits: Limits,
    /// Whether root inside is nobody outside.
    pub userns: Userns,
    /// First of the ids that it was given for good, if it was.
    pub ids: Option<u32>,
    /// Programs on the host, run along the way.
    pub hooks: BTreeMap<Phase, Vec<String>>,
    /// How long a hook may take.
    pub hook_timeout: Duration,
    /// The sets that start at boot; empty: none.
    pub autostart: Vec<String>,
    /// Every setting as text, defaults included: what `subhost-config` prints and hooks get.
    pub settings: BTreeMap<String, String>,
}

/// Where a setting was made, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf, usize),
    CommandLine,
    /// A program that uses the library.
    Program,
    /// It holds already, or is to.
    Live,
}

impl fmt::Display for Origin {
    /// What a message about it begins with.
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

/// The settings by key, before they have meaning.
pub(crate) type Settings = BTreeMap<String, Setting>;

pub(crate) fn invalid(origin: &Origin, key: &str, why: impl fmt::Display) -> Error {
    Error::new(
        Exit::Invalid,
        format!("{origin}{key}: {}", shown(why.to_string())),
    )
}

impl Config {
    /// Reads and checks the settings of `name` below `tree` ($SUBHOST); `set` are `KEY=VALUE`
    /// pairs that come last.
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

    /// Checks settings that stand in no file: pairs of a key and its value, of which a later one wins.
    /// What is not among them has its default; `defaults` and `config` below `tree` ($SUBHOST, absolute)
    /// are not read, and need not be there.
    ///
    /// # Errors
    /// `Invalid` with the key.
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

    /// The file that keeps what was given to the subhost for good.
    pub fn assigned_file(dir: &Path) -> PathBuf {
        dir.join("assigned")
    }

    /// What those inside may do; `has_init` if the tree's own init runs.
    pub fn rights(&self, has_init: bool) -> Rights {
        let kept = self.confine.caps.apply(usual(&self.net, has_init));
        Rights {
            caps: kept.bits(),
            no_new_privs: self.confine.no_new_privs,
            seccomp: self.confine.seccomp.resolve(kept),
        }
    }

    /// Is it an ordinary user's network, with a helper?
    pub fn has_helper(&self) -> bool {
        matches!(&self.net, Net::Private(private) if private.helper)
    }

    /// The kind of root in one word, as `subhost-list` shows it.
    pub fn kind(&self) -> &'static str {
        self.root.kind()
    }
}

/// A word of `--set`: a known key and its value.
///
/// # Errors
/// `Usage` if it is no such word; `Invalid` with the nearest key.
pub fn setting(word: &str) -> Result<(&str, &str)> {
    let (key, value) = word
        .split_once('=')
        .ok_or_else(|| Error::new(Exit::Usage, format!("--set {}: not KEY=VALUE", shown(word))))?;
    known(key, &Origin::CommandLine)?;
    Ok((key, value))
}

fn known(key: &str, origin: &Origin) -> Result<()> {
    keys::kind(key).map(drop).map_err(|nearest| {
        let error = Error::new(Exit::Invalid, format!("{origin}unknown key {}", shown(key)));
        match nearest {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("keys of your own begin with X_"),
        }
    })
}

/// The defaults that depend on nothing.
fn built_in() -> Settings {
    let setting = |value: &str| Setting {
        value: value.to_owned(),
        origin: Origin::Default,
    };
    let all = keys::KEYS.iter();
    all.map(|(key, value)| ((*key).to_owned(), setting(value)))
        .collect()
}

fn put(settings: &mut Settings, key: &str, value: String, origin: Origin) -> Result<()> {
    known(key, &origin)?;
    if value.contains('\0') {
        return Err(invalid(&origin, key, "contains a NUL"));
    }
    settings.insert(key.to_owned(), Setting { value, origin });
    Ok(())
}

/// Reads one file of `KEY=word` lines that only its owner, root or the caller, could have written.
pub(crate) fn read_trusted(file: &Path, tree: &Path, name: &Name) -> Result<Vec<envfile::Pair>> {
    read_pairs(file, tree, name, ToString::to_string)
}

/// The same, where nothing of the text is to get into a message.
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

/// The names of all subhosts below `tree`: directories with a config. Sorted.
///
/// # Errors
/// `tree` cannot be read.
pub fn names(tree: &Path) -> Result<Vec<Name>> {
    names_and(tree, Vec::new())
}

/// The same and those that are known already, which are not looked at. Sorted, each once.
///
/// # Errors
/// The same.
pub fn names_and(tree: &Path, mut known: Vec<Name>) -> Result<Vec<Name>> {
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

/// Kept by default where the network is the subhost's own, or not the host's: raw sockets on the
/// host's links read and forge what others send.
pub fn usual(net: &Net, has_init: bool) -> Cap {
    let mut kept = caps::DEFAULT;
    match net {
        Net::Host => {}
        Net::Named(_) => kept |= Cap::NET_RAW,
        Net::Private(_) => kept |= Cap::NET_ADMIN | Cap::NET_RAW,
    }
    // An init of the tree's own ends by reboot(2): in a pid namespace that is all that it does.
    if has_init {
        kept |= Cap::SYS_BOOT;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)]) -> Result<Config> {
        let name = Name::new("w").unwrap();
        Config::from_settings(Path::new("/no/such"), &name, settings.iter().copied())
    }

    #[test]
    fn without_a_file() {
        let config = of(&[]).unwrap();
        assert_eq!(config.dir, Path::new("/no/such/w"));
        assert_eq!(config.root.upper, Path::new("/no/such/w/root"));
        assert_eq!(config.run.hostname, "w");
        assert_eq!(config.settings["RAM_SIZE"], "50M");
        assert!(of(&[("ADDR0", "192.0.2.1/24"), ("BRIDGES", "=")]).is_ok());
    }

    #[test]
    fn later_wins_and_empty_is_unset() {
        let config = of(&[("PIDS", "1"), ("RAM_SIZE", ""), ("PIDS", "7")]).unwrap();
        assert_eq!(config.limits.pids, Some(Bound::At(7)));
        assert_eq!(config.run.ram_size, 50 << 20);
    }

    #[test]
    fn what_is_wrong_is_named_without_a_place() {
        for (key, value, why) in [
            ("MEMROY", "64M", "unknown key MEMROY (did you mean MEMORY?)"),
            (
                "MEMORY",
                "much",
                "MEMORY: 'much' is not a size, such as 64M",
            ),
            ("RUN", "a\0b", "RUN: contains a NUL"),
        ] {
            let error = of(&[(key, value)]).unwrap_err();
            assert_eq!((error.exit, error.to_string()), (Exit::Invalid, why.into()));
        }
    }
}
