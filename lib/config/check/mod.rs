//! From settings as text to settings with meaning. What needs the kernel (does the bridge exist,
//! is the image in use) is not asked here; only whether a LOWER or the image is a file, since
//! that decides what the words mean.

mod confine;
mod limits;
mod net;
mod run;
mod userns;

use super::values::{Checked, duration, words, yes_no};
use super::{Config, Image, Layer, Limits, Origin, Phase, Root, Settings, invalid, keys};
use crate::base::error::{Error, Result};
use crate::base::name::Name;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

struct Checker<'a> {
    tree: &'a Path,
    name: &'a Name,
    dir: PathBuf,
    settings: Settings,
    assigned: OnceCell<userns::Assigned>,
}

pub(super) fn config(tree: &Path, name: &Name, settings: Settings) -> Result<Config> {
    let checker = Checker {
        tree,
        name,
        dir: tree.join(name.as_str()),
        settings,
        assigned: OnceCell::new(),
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
        assigned: OnceCell::new(),
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
        let mut raw = keys::raw(&texts(&self.settings))?;
        let image = self.image(&raw)?;
        let (upper, work) = match &image {
            Some(_) => ("mnt/root", "mnt/work"),
            None => ("root", "work"),
        };
        let timeout = if raw.init.is_empty() { "30s" } else { "90s" };
        let file = image.as_ref().map(|image| image.file.to_string_lossy());
        let name = self.name.as_str();
        for (key, value, default) in [
            ("UPPER", &mut raw.upper, upper),
            ("WORK", &mut raw.work, work),
            ("HOSTNAME", &mut raw.hostname, name),
            ("LINK", &mut raw.link, name),
            ("STOP_TIMEOUT", &mut raw.stop_timeout, timeout),
            ("IMAGE", &mut raw.image, file.as_deref().unwrap_or_default()),
        ] {
            self.default_to(key, default);
            if value.is_empty() {
                default.clone_into(value);
            }
        }
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
