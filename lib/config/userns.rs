//! The key of the user namespace, and the values that were assigned to a subhost for good.

use super::checker::Checker;
use super::keys::Raw;
use super::{Config, Origin, invalid, read_trusted};
use crate::base::error::Result;
use std::collections::BTreeMap;

/// Whether a subhost has a user namespace with its own ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Userns {
    /// It has none: its users are those of the host.
    No,
    /// It has one, or does not come up.
    Yes,
    /// It has one if the kernel and the file systems support it.
    Auto,
}

/// The assigned values by key, each with its place.
pub(super) type Assigned = BTreeMap<String, (String, Origin)>;

impl Checker<'_> {
    /// Checks USERNS.
    pub(super) fn userns(&self, raw: &Raw) -> Result<Userns> {
        match raw.userns.as_str() {
            "no" => Ok(Userns::No),
            "yes" => Ok(Userns::Yes),
            "auto" => Ok(Userns::Auto),
            other => {
                let what = format!("'{other}' is not yes, no or auto");
                Err(self.bad("USERNS", what))
            }
        }
    }

    /// Returns the first of its ids from the file `assigned`; none if it has no ids yet.
    pub(super) fn ids(&self) -> Result<Option<u32>> {
        let assigned = self.assigned()?;
        let Some((text, origin)) = assigned.get("IDS") else {
            return Ok(None);
        };
        let base = text.parse();
        base.map(Some)
            .map_err(|_| invalid(origin, "IDS", format!("'{text}' is no id")))
    }

    /// Reads the assigned values, once.
    pub(super) fn assigned(&self) -> Result<&Assigned> {
        if let Some(assigned) = self.assigned.get() {
            return Ok(assigned);
        }
        let file = Config::assigned_file(&self.dir);
        let pairs = match file.exists() {
            true => read_trusted(&file, self.tree, self.name)?,
            false => Vec::new(),
        };
        let all = pairs.into_iter().map(|pair| {
            let origin = Origin::File(file.clone(), pair.line);
            (pair.key, (pair.value, origin))
        });
        Ok(self.assigned.get_or_init(|| all.collect()))
    }
}
