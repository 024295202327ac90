//! User namespaces, and the ids that were given for good.

use super::Checker;
use crate::config::keys::Raw;
use crate::config::{Config, Origin, Userns, invalid, read_trusted};
use crate::error::Result;
use std::collections::BTreeMap;

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
    pub(super) fn assigned(&self) -> Result<BTreeMap<String, (String, Origin)>> {
        let file = Config::assigned_file(&self.dir);
        if !file.exists() {
            return Ok(BTreeMap::new());
        }
        let pairs = read_trusted(&file, self.tree, self.name)?.into_iter();
        Ok(pairs
            .map(|pair| {
                (
                    pair.key,
                    (pair.value, Origin::File(file.clone(), pair.line)),
                )
            })
            .collect())
    }
}
