//! The keys of what runs in a subhost, how it is stopped, and which files of the host it sees.

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

/// The command or init of a subhost, and its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The host name.
    pub hostname: String,
    /// The command that our PID 1 runs; if empty, PID 1 only waits for the stop.
    pub command: Vec<String>,
    /// The init of the tree as PID 1; empty if PID 1 is ours.
    pub init: Vec<String>,
    /// The user inside that runs `command`.
    pub user: String,
    /// The working directory of `command` inside.
    pub dir: String,
    /// The variables `ENV_*` of the config; [`Config::environment`] adds those of the files.
    pub env: BTreeMap<String, String>,
    /// The files with further variables; a later file overrides an earlier one.
    pub env_files: Vec<EnvFile>,
    /// How RUN or INIT is asked to end.
    pub stop: Stop,
    /// The time limit for that.
    pub stop_timeout: Duration,
    /// The labels of the host's security modules.
    pub labels: Vec<Label>,
    /// The directories and files of the host that appear inside.
    pub binds: Vec<Bind>,
    /// The tmpfs inside: mount point and size in bytes.
    pub tmpfs: Vec<(String, Option<u64>)>,
    /// The largest size of the console log, in bytes.
    pub log_max: u64,
    /// The size of the tmpfs on /run in bytes; 0 means none.
    pub ram_size: u64,
    /// The name servers.
    pub dns: Vec<IpAddr>,
    /// The search domains.
    pub search: Vec<String>,
}

/// A file of variables, which may be secret. It is read only for a process that gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// The path on the host.
    pub path: PathBuf,
    /// Whether the file may be missing.
    pub optional: bool,
}

/// A directory or file of the host that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The path on the host.
    pub source: PathBuf,
    /// The path inside.
    pub target: String,
    /// Whether it is read-only inside.
    pub read_only: bool,
}

/// How RUN or INIT is asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// By what the init of the tree understands; by TERM for RUN.
    Usual,
    /// By the signal with this number.
    Signal(i32),
    /// By a command that runs inside.
    Command(Vec<String>),
}

impl Checker<'_> {
    /// Checks the keys of what runs.
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
        // HOST_NAME_MAX of Linux, and the characters of a domain name.
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
        let labels = [
            Label::AppArmor(raw.apparmor.clone()),
            Label::SeLinux(raw.selinux.clone()),
        ];
        let labels: Vec<_> = labels
            .into_iter()
            .filter(|l| !l.as_str().is_empty())
            .collect();
        for label in &labels {
            if label.as_str().chars().any(char::is_control) {
                return Err(self.bad(label.key(), "contains a control character"));
            }
        }
        Ok(labels)
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

    /// Checks a path inside.
    pub(super) fn inside(&self, key: &str, path: &str) -> Result<String> {
        let lexical = Path::new(path);
        if !path.starts_with('/') || lexical.components().any(|c| c == Component::ParentDir) {
            return Err(self.bad(key, format!("'{path}' is not a plain absolute path")));
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

    /// Checks the sets of AUTOSTART; none for `no`.
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
    /// Returns the variables of RUN, INIT and entered commands: those of the files of ENV_FILE, which it
    /// reads now, overridden by `ENV_*`. They may be secret: pass them to these processes only.
    ///
    /// # Errors
    /// `Failed` if a file cannot be read; `Invalid` if others can write a file, or with the line that is
    /// wrong, but without its text.
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
