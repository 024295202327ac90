//! Gives settings their meaning. Nothing here asks the kernel (whether a bridge exists, an image is in use,
//! ...), except whether a LOWER or the image is a file, since that decides what the setting means.

use super::userns::Assigned;
use super::values::Checked;
use super::{Config, Limits, Origin, Settings, invalid, keys};
use crate::base::error::{Error, Result};
use crate::base::name::Name;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The settings of one subhost. The file of each group of keys adds the methods that check them.
pub(super) struct Checker<'a> {
    pub(super) tree: &'a Path,
    pub(super) name: &'a Name,
    pub(super) dir: PathBuf,
    pub(super) settings: Settings,
    pub(super) assigned: OnceCell<Assigned>,
}

/// Checks all settings.
pub(super) fn config(tree: &Path, name: &Name, settings: Settings) -> Result<Config> {
    Checker::new(tree, name, settings).config()
}

/// Checks only the keys of limits.
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
        // As in sh, an empty value is the same as no value.
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

    /// Sets the value of a key whose value is empty.
    fn default_to(&mut self, key: &str, value: &str) {
        if let Some(setting) = self.settings.get_mut(key)
            && setting.value.is_empty()
        {
            value.clone_into(&mut setting.value);
        }
    }

    /// Makes the failure that the value of `key` is invalid, with the place of the setting.
    pub(super) fn bad(&self, key: &str, why: impl std::fmt::Display) -> Error {
        let origin = self
            .settings
            .get(key)
            .map_or(&Origin::Default, |setting| &setting.origin);
        invalid(origin, key, why)
    }

    /// Returns a checked value, or the failure of its key.
    pub(super) fn value<T>(&self, key: &str, checked: Checked<T>) -> Result<T> {
        checked.map_err(|why| self.bad(key, why))
    }

    /// Resolves a path on the host; a relative path begins at the directory of the subhost. `.` and `..`
    /// are removed from the text, because mountinfo never shows them.
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

    /// Checks a value unless it is empty.
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

/// Tells whether a name can be a file name for the kernel and for iproute2.
pub(super) fn is_usable_file_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !"/\"'\\".contains(c))
}
