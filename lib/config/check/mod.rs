//! From settings as text to settings with meaning. What needs the kernel (does the bridge exist,
//! is the image in use) is not asked here; only whether a LOWER or the image is a file, since
//! that decides what the words mean.

mod confine;
mod limits;
mod net;
mod userns;

use super::values::{Checked, duration, size, words, yes_no};
use super::{
    Bind, Config, Image, Layer, Limits, Name, Origin, Phase, Root, Run, Settings, Stop, invalid,
    keys, signal_number,
};
use crate::error::{Error, Result};
use crate::lsm::Label;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

struct Checker<'a> {
    tree: &'a Path,
    name: &'a Name,
    dir: PathBuf,
    settings: Settings,
}

pub(super) fn config(tree: &Path, name: &Name, settings: Settings) -> Result<Config> {
    let checker = Checker {
        tree,
        name,
        dir: tree.join(name.as_str()),
        settings,
    };
    checker.config()
}

/// Of the keys of limits alone.
pub(super) fn limits(tree: &Path, name: &Name, settings: Settings) -> Result<Limits> {
    let checker = Checker {
        tree,
        name,
        dir: tree.join(name.as_str()),
        settings,
    };
    let texts = checker.settings.iter();
    let texts = texts.map(|(key, setting)| (key.clone(), setting.value.clone()));
    checker.limits(&keys::raw(&texts.collect())?)
}

impl Checker<'_> {
    fn config(mut self) -> Result<Config> {
        let texts = |settings: &Settings| -> BTreeMap<String, String> {
            settings
                .iter()
                .map(|(key, setting)| (key.clone(), setting.value.clone()))
                .collect()
        };
        // An empty value is that of a key that is not set, as in sh.
        for (key, default) in keys::KEYS {
            self.default_to(key, default);
        }
        let raw = keys::raw(&texts(&self.settings))?;
        let image = self.image(&raw)?;
        let (upper, work) = match &image {
            Some(_) => ("mnt/root", "mnt/work"),
            None => ("root", "work"),
        };
        self.default_to("UPPER", upper);
        self.default_to("WORK", work);
        self.default_to("HOSTNAME", self.name.as_str());
        self.default_to("LINK", self.name.as_str());
        let timeout = if raw.init.is_empty() { "30s" } else { "90s" };
        self.default_to("STOP_TIMEOUT", timeout);
        if let Some(image) = &image {
            self.default_to("IMAGE", &image.file.to_string_lossy());
        }
        let raw = keys::raw(&texts(&self.settings))?;
        Ok(Config {
            root: self.root(&raw, image)?,
            net: self.net(&raw)?,
            run: self.run(&raw)?,
            userns: self.userns(&raw)?,
            ids: self.ids()?,
            confine: self.confine(&raw)?,
            limits: self.limits(&raw)?,
            hooks: self.hooks(&raw)?,
            hook_timeout: self.hook_timeout(&raw)?,
            autostart: self.autostart(&raw)?,
            settings: texts(&self.settings),
            tree: self.tree.to_owned(),
            name: self.name.clone(),
            dir: self.dir,
        })
    }

    fn hook_timeout(&self, raw: &keys::Raw) -> Result<Duration> {
        match self.value("HOOK_TIMEOUT", duration(&raw.hook_timeout))? {
            Duration::ZERO => Err(self.bad("HOOK_TIMEOUT", "leaves a hook no time to run")),
            timeout => Ok(timeout),
        }
    }

    fn default_to(&mut self, key: &str, value: &str) {
        if let Some(setting) = self.settings.get_mut(key)
            && setting.value.is_empty()
        {
            value.clone_into(&mut setting.value);
        }
    }

    fn bad(&self, key: &str, why: impl std::fmt::Display) -> Error {
        let origin = self
            .settings
            .get(key)
            .map_or(&Origin::Default, |setting| &setting.origin);
        invalid(origin, key, why)
    }

    fn value<T>(&self, key: &str, checked: Checked<T>) -> Result<T> {
        checked.map_err(|why| self.bad(key, why))
    }

    /// A path on the host, relative ones from the subhost's directory; `.` and `..` are taken
    /// out by text, since mountinfo never shows them.
    fn path(&self, key: &str, text: &str) -> Result<PathBuf> {
        if text.is_empty() {
            return Err(self.bad(key, "is empty"));
        }
        let mut path = PathBuf::new();
        for part in self.dir.join(text).components() {
            match part {
                Component::ParentDir => {
                    path.pop();
                }
                Component::CurDir => {}
                other => path.push(other),
            }
        }
        Ok(path)
    }

    fn image(&self, raw: &keys::Raw) -> Result<Option<Image>> {
        let file = if raw.image.is_empty() {
            let file = self.dir.join(format!("{}.img", self.name));
            if !file.exists() {
                for key in ["IMAGE_PARTITION", "IMAGE_FSTYPE", "IMAGE_OPTIONS"] {
                    if self.settings.get(key).is_some_and(|s| !s.value.is_empty()) {
                        return Err(self.bad(
                            key,
                            format!("there is no image: neither IMAGE nor {}.img", self.name),
                        ));
                    }
                }
                return Ok(None);
            }
            file
        } else {
            self.path("IMAGE", &raw.image)?
        };
        let partition = match raw.image_partition.as_str() {
            "" => None,
            text => match text.parse() {
                Ok(number @ 1..=128) => Some(number),
                _ => {
                    return Err(self.bad(
                        "IMAGE_PARTITION",
                        format!("'{text}' is no number from 1 to 128"),
                    ));
                }
            },
        };
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Some(Image {
            // As the kernel will call it.
            file: std::fs::canonicalize(&file).unwrap_or(file),
            at: self.dir.join("mnt"),
            partition,
            fstype: optional(&raw.image_fstype),
            options: optional(&raw.image_options),
        }))
    }

    fn root(&self, raw: &keys::Raw, image: Option<Image>) -> Result<Root> {
        let read_only = self.value("READ_ONLY", yes_no(&raw.read_only))?;
        let volatile = self.value("VOLATILE", yes_no(&raw.volatile))?;
        if read_only && volatile {
            return Err(self.bad(
                "VOLATILE",
                "READ_ONLY=yes leaves nothing to be written and forgotten: choose one",
            ));
        }
        let mut lowers = Vec::new();
        for word in self.value("LOWER", words(&raw.lower))? {
            let path = self.path("LOWER", &word)?;
            lowers.push(if path.is_file() {
                Layer::Image(std::fs::canonicalize(&path).unwrap_or(path))
            } else {
                Layer::Directory(path)
            });
        }
        let live = self.path("LIVE", &raw.live)?;
        let upper = self.path("UPPER", &raw.upper)?;
        // The volatile tmpfs is mounted outside the image, which is then mounted read-only.
        let work = if volatile {
            self.dir.join("work")
        } else {
            self.path("WORK", &raw.work)?
        };
        for (key, path) in [("UPPER", &upper), ("WORK", &work)] {
            if path.starts_with(&live) || live.starts_with(path) {
                return Err(self.bad(
                    key,
                    format!("{} and LIVE lie in each other", path.display()),
                ));
            }
        }
        for layer in &lowers {
            if let Layer::Directory(path) = layer
                && let Some((key, other)) = [("UPPER", &upper), ("LIVE", &live)]
                    .into_iter()
                    .find(|(_, other)| path.starts_with(other))
            {
                let (path, other) = (path.display(), other.display());
                return Err(self.bad("LOWER", format!("{path} lies in {key}, {other}")));
            }
        }
        if !lowers.is_empty() && (work.starts_with(&upper) || upper.starts_with(&work)) {
            return Err(self.bad("WORK", "WORK and UPPER lie in each other; give each a directory of its own on one file system"));
        }
        let disk = self.disk(&raw.disk, image.is_some(), volatile)?;
        Ok(Root {
            live,
            upper,
            work,
            lowers,
            image,
            read_only,
            volatile,
            disk,
        })
    }

    fn run(&self, raw: &keys::Raw) -> Result<Run> {
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
                let name = key.strip_prefix("ENV_")?;
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

    fn labels(&self, raw: &keys::Raw) -> Result<Vec<Label>> {
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

    fn inside(&self, key: &str, path: &str) -> Result<String> {
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

    fn hooks(&self, raw: &keys::Raw) -> Result<BTreeMap<Phase, Vec<String>>> {
        let mut hooks = BTreeMap::new();
        for (key, phase, text) in [
            ("PREMOUNT", Phase::Premount, &raw.premount),
            ("POSTMOUNT", Phase::Postmount, &raw.postmount),
            ("PRENET", Phase::Prenet, &raw.prenet),
            ("POSTNET", Phase::Postnet, &raw.postnet),
            ("PRESTOP", Phase::Prestop, &raw.prestop),
            ("POSTSTOP", Phase::Poststop, &raw.poststop),
        ] {
            let mut words = self.value(key, words(text))?;
            if let Some(program) = words.first_mut() {
                // Nothing is looked for in a PATH that cron or init happened to have.
                *program = self.path(key, program)?.to_string_lossy().into_owned();
                hooks.insert(phase, words);
            }
        }
        Ok(hooks)
    }

    fn autostart(&self, raw: &keys::Raw) -> Result<Vec<String>> {
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

fn usable_file_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !"/\"'\\".contains(c))
}
