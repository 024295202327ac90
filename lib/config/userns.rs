//! User namespaces, and the ids that were given for good.

use super::checker::Checker;
use super::keys::Raw;
use super::{Config, Origin, invalid, read_trusted};
use crate::base::error::Result;
use std::collections::BTreeMap;

/// Has it a user namespace, with ids of its own?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Userns {
    /// No: its users are the host's.
    No,
    /// Yes, or it does not come up.
    Yes,
    /// Where kernel and file systems can.
    Auto,
}

/// Key, value and where it says so.
pub(super) type Assigned = BTreeMap<String, (String, Origin)>;

impl Checker<'_> {
    pub(super) fn userns(&self, raw: &Raw) -> Result<Userns> {
        match raw.userns.as_str() {
            "no" => Ok(Userns::No),
            "yes" => Ok(Userns::Yes),
            "auto" => Ok(Userns::Auto),
            other => {
                let what = format!("'{other}' is none of yes, no and auto");
                Err(self.bad("USERNS", what))
            }
        }
    }

    /// The first of its ids, as `assigned` has it.
    pub(super) fn ids(&self) -> Result<Option<u32>> {
        let assigned = self.assigned()?;
        let Some((text, origin)) = assigned.get("IDS") else {
            return Ok(None);
        };
        let base = text.parse();
        base.map(Some)
            .map_err(|_| invalid(origin, "IDS", format!("'{text}' is no id")))
    }

    /// What was given to the subhost for good.
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
