//! What runs in a subhost, how it is ended, and which files of the host it has.

use super::checker::Checker;
use super::keys::Raw;
use super::values::{duration, size, words};
use super::{Config, read_secret};
use crate::base::error::{Errno, Result};
use crate::kernel::lsm::Label;
use crate::kernel::signals::signal_number;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// What runs in a subhost, and how it is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its host name.
    pub hostname: String,
    /// What our PID 1 runs; empty: it holds until stop.
    pub command: Vec<String>,
    /// The tree's own init instead of our PID 1; empty: ours.
    pub init: Vec<String>,
    /// User inside that `command` runs as.
    pub user: String,
    /// Directory inside that `command` runs in.
    pub dir: String,
    /// Further environment, as far as the config itself has it: [`Config::environment`] is all.
    pub env: BTreeMap<String, String>,
    /// Files with more of it, an earlier one first.
    pub env_files: Vec<EnvFile>,
    /// How RUN or INIT is asked to end.
    pub stop: Stop,
    /// How long that may take.
    pub stop_timeout: Duration,
    /// What the host's security modules confine it all by.
    pub labels: Vec<Label>,
    /// Host directories and files that appear inside.
    pub binds: Vec<Bind>,
    /// Temporary file systems inside: path and size in bytes.
    pub tmpfs: Vec<(String, Option<u64>)>,
    /// How large the log of what runs in the background may become, bytes.
    pub log_max: u64,
    /// Size of the tmpfs on /run, bytes; 0: none.
    pub ram_size: u64,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
}

/// A file of variables that are secrets, maybe: it is read only for who is to have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// On the host.
    pub path: PathBuf,
    /// It need not be there.
    pub optional: bool,
}

/// A host directory or file that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: String,
    /// Cannot be written through.
    pub read_only: bool,
}

/// How RUN or INIT is asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// By what the init in the tree understands; TERM for RUN.
    Usual,
    /// By a signal, its number.
    Signal(i32),
    /// By a command run inside.
    Command(Vec<String>),
}

impl Checker<'_> {
    pub(super) fn run(&self, raw: &Raw) -> Result<Run> {
        let command = self.value("RUN", words(&raw.run))?;
        let init = self.value("INIT", words(&raw.init))?;
        if !command.is_empty() && !init.is_empty() {
            return Err(self.bad(
                "RUN",
                "RUN and INIT exclude each other: an INIT starts its own services",
            ));
        }
        if command.first().is_some_and(String::is_empty) {
            return Err(self.bad("RUN", "names no program"));
        }
        if !init.is_empty() && !init[0].starts_with('/') {
            return Err(self.bad("INIT", format!("'{}' is no path from / on", init[0])));
        }
        let hostname = raw.hostname.clone();
        // HOST_NAME_MAX of Linux, and what a name in DNS may hold.
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let begins = hostname.starts_with(|c: char| c.is_ascii_alphanumeric());
        if hostname.len() > 64 || !begins || !hostname.chars().all(fits) {
            return Err(self.bad("HOSTNAME", format!("'{hostname}' cannot be a host name")));
        }
        let env = self
            .settings
            .iter()
            .filter_map(|(key, setting)| {
                let name = key.strip_prefix("ENV_").filter(|_| key != "ENV_FILE")?;
                Some((name.to_owned(), setting.value.clone()))
            })
            .collect();
        let search = self.value("SEARCH", words(&raw.search))?;
        if let Some(bad) = search.iter().find(|word| !word.chars().all(fits)) {
            return Err(self.bad("SEARCH", format!("'{bad}' is not a domain")));
        }
        let mut dns = Vec::new();
        for word in self.value("DNS", words(&raw.dns))? {
            dns.push(self.ip("DNS", &word)?);
        }
        if !raw.run_dir.starts_with('/') {
            return Err(self.bad("RUN_DIR", "is no path from / on"));
        }
        let ram_size = match raw.ram_size.as_str() {
            "none" => 0,
            text => self.value("RAM_SIZE", size(text))?,
        };
        Ok(Run {
            hostname,
            command,
            init,
            user: raw.run_as.clone(),
            dir: raw.run_dir.clone(),
            env,
            env_files: self.env_files(&raw.env_file)?,
            stop: self.stop(&raw.stop)?,
            stop_timeout: self.timeout("STOP_TIMEOUT", &raw.stop_timeout)?,
            labels: self.labels(raw)?,
            binds: self.binds(&raw.bind)?,
            tmpfs: self.tmpfs(&raw.tmpfs)?,
            log_max: self.log_max(&raw.log_max)?,
            ram_size,
            dns,
            search,
        })
    }

    fn env_files(&self, text: &str) -> Result<Vec<EnvFile>> {
        let words = self.value("ENV_FILE", words(text))?;
        let file = |word: &String| {
            let path = word.strip_prefix('-');
            Ok(EnvFile {
                optional: path.is_some(),
                path: self.path("ENV_FILE", path.unwrap_or(word))?,
            })
        };
        words.iter().map(file).collect()
    }

    fn labels(&self, raw: &Raw) -> Result<Vec<Label>> {
        let given = [
            Label::AppArmor(raw.apparmor.clone()),
            Label::SeLinux(raw.selinux.clone()),
        ];
        let given: Vec<_> = given
            .into_iter()
            .filter(|l| !l.as_str().is_empty())
            .collect();
        for label in &given {
            if label.as_str().chars().any(char::is_control) {
                return Err(self.bad(label.key(), "contains a control character"));
            }
        }
        Ok(given)
    }

    fn log_max(&self, text: &str) -> Result<u64> {
        match self.value("LOG_MAX", size(text))? {
            ..65_536 => Err(self.bad("LOG_MAX", format!("'{text}' is less than 64K"))),
            bytes => Ok(bytes),
        }
    }

    fn timeout(&self, key: &str, text: &str) -> Result<Duration> {
        self.value(key, duration(text))
    }

    fn stop(&self, text: &str) -> Result<Stop> {
        let words = self.value("STOP", words(text))?;
        Ok(match words.as_slice() {
            [] => Stop::Usual,
            [word] if signal_number(word).is_some() => {
                Stop::Signal(signal_number(word).unwrap_or_default())
            }
            [word, ..] if !word.starts_with('/') => {
                return Err(self.bad(
                    "STOP",
                    format!("'{word}' is neither a signal nor a path from / on"),
                ));
            }
            _ => Stop::Command(words),
        })
    }

    pub(super) fn inside(&self, key: &str, path: &str) -> Result<String> {
        let lexical = Path::new(path);
        if !path.starts_with('/') || lexical.components().any(|c| c == Component::ParentDir) {
            return Err(self.bad(key, format!("'{path}' is no plain path from / on")));
        }
        if lexical.parent().is_none() {
            return Err(self.bad(key, "the root itself cannot be covered"));
        }
        Ok(path.to_owned())
    }

    fn binds(&self, text: &str) -> Result<Vec<Bind>> {
        let mut binds = Vec::new();
        for word in self.value("BIND", words(text))? {
            let (rest, read_only) = match word.strip_suffix(":ro") {
                Some(rest) => (rest, true),
                None => (word.as_str(), false),
            };
            let (source, target) = rest.split_once(':').unwrap_or((rest, rest));
            if target.contains(':') {
                return Err(self.bad("BIND", format!("'{word}' is not SRC[:DST][:ro]")));
            }
            let source = self.path("BIND", source)?;
            let real = std::fs::canonicalize(&source).unwrap_or_else(|_| source.clone());
            if !read_only && self.dir.starts_with(&real) {
                let what = format!(
                    "{} holds configs, and the inside could write them",
                    source.display()
                );
                return Err(self.bad("BIND", what).hint("add :ro, or bind less"));
            }
            binds.push(Bind {
                source,
                target: self.inside("BIND", target)?,
                read_only,
            });
        }
        Ok(binds)
    }

    fn tmpfs(&self, text: &str) -> Result<Vec<(String, Option<u64>)>> {
        let mut all = Vec::new();
        for word in self.value("TMPFS", words(text))? {
            let (target, bytes) = match word.split_once(':') {
                Some((target, text)) => (target, Some(self.value("TMPFS", size(text))?)),
                None => (word.as_str(), None),
            };
            all.push((self.inside("TMPFS", target)?, bytes));
        }
        Ok(all)
    }

    pub(super) fn autostart(&self, raw: &Raw) -> Result<Vec<String>> {
        let sets = self.value("AUTOSTART", words(&raw.autostart))?;
        match sets.as_slice() {
            [word] if word == "no" => Ok(Vec::new()),
            _ if sets.iter().any(|word| word == "no") => {
                Err(self.bad("AUTOSTART", "'no' cannot stand among sets"))
            }
            _ => Ok(sets),
        }
    }
}

impl Config {
    /// What RUN, INIT and whatever is entered get beside a login's environment: what ENV_FILE names, read
    /// now, and over that `ENV_*`. For nobody else: it is how secrets are passed.
    ///
    /// # Errors
    /// With the file and the key: `Failed` if it cannot be read, `Invalid` if others could have written it,
    /// or with its line, but not with what stands there.
    pub fn environment(&self) -> Result<BTreeMap<String, String>> {
        let mut env = BTreeMap::new();
        for file in &self.run.env_files {
            match read_secret(&file.path, &self.tree, &self.name) {
                Ok(pairs) => env.extend(pairs.into_iter().map(|pair| (pair.key, pair.value))),
                Err(error) if file.optional && error.errno == Some(Errno::ENOENT) => {}
                Err(mut error) => {
                    error.what.insert_str(0, "ENV_FILE: ");
                    return Err(error);
                }
            }
        }
        env.extend(self.run.env.clone());
        Ok(env)
    }
}
