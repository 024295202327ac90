//! From settings as text to settings with meaning. What needs the kernel (does the bridge exist,
//! is the image in use) is not asked here; only whether a LOWER or the image is a file, since
//! that decides what the words mean.

use super::userns::Assigned;
use super::values::Checked;
use super::{Config, Limits, Origin, Settings, invalid, keys};
use crate::base::error::{Error, Result};
use crate::base::name::Name;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The settings of one subhost; what each group of keys means, its own file knows.
pub(super) struct Checker<'a> {
    pub(super) tree: &'a Path,
    pub(super) name: &'a Name,
    pub(super) dir: PathBuf,
    pub(super) settings: Settings,
    pub(super) assigned: OnceCell<Assigned>,
}

/// All of a config.
pub(super) fn config(tree: &Path, name: &Name, settings: Settings) -> Result<Config> {
    Checker::new(tree, name, settings).config()
}

/// Of the keys of limits alone.
pub(super) fn limits(tree: &Path, name: &Name, settings: Settings) -> Result<Limits> {
    let checker = Checker::new(tree, name, settings);
    checker.limits(&keys::raw(&checker.texts())?)
}

impl<'a> Checker<'a> {
    fn new(tree: &'a Path, name: &'a Name, settings: Settings) -> Self {
        Self {
            tree,
            name,
            dir: tree.join(name.as_str()),
            settings,
            assigned: OnceCell::new(),
        }
    }

    fn texts(&self) -> BTreeMap<String, String> {
        self.settings
            .iter()
            .map(|(key, setting)| (key.clone(), setting.value.clone()))
            .collect()
    }

    fn config(mut self) -> Result<Config> {
        // An empty value is that of a key that is not set, as in sh.
        for (key, default) in keys::KEYS {
            self.default_to(key, default);
        }
        let mut raw = keys::raw(&self.texts())?;
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
            settings: self.texts(),
            tree: self.tree.to_owned(),
            name: self.name.clone(),
            dir: self.dir,
        })
    }

    fn default_to(&mut self, key: &str, value: &str) {
        if let Some(setting) = self.settings.get_mut(key)
            && setting.value.is_empty()
        {
            value.clone_into(&mut setting.value);
        }
    }

    pub(super) fn bad(&self, key: &str, why: impl std::fmt::Display) -> Error {
        let origin = self
            .settings
            .get(key)
            .map_or(&Origin::Default, |setting| &setting.origin);
        invalid(origin, key, why)
    }

    pub(super) fn value<T>(&self, key: &str, checked: Checked<T>) -> Result<T> {
        checked.map_err(|why| self.bad(key, why))
    }

    /// A path on the host, relative ones from the subhost's directory; `.` and `..` are taken
    /// out by text, since mountinfo never shows them.
    pub(super) fn path(&self, key: &str, text: &str) -> Result<PathBuf> {
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

    pub(super) fn optional<T>(
        &self,
        key: &str,
        text: &str,
        checked: impl FnOnce(&str) -> Checked<T>,
    ) -> Result<Option<T>> {
        match text {
            "" => Ok(None),
            text => self.value(key, checked(text)).map(Some),
        }
    }
}

/// Can it be the name of a file that the kernel or a tool makes of it?
pub(super) fn usable_file_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !"/\"'\\".contains(c))
}
