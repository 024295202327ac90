//! The ids of a subhost: those of the host, or a range of its own.

use super::Subhost;
use crate::base::error::{Error, Exit, Result};
use crate::config::{Config, Userns};
use crate::kernel::mountinfo::{Mounts, Table};
use crate::net::Network;
use crate::plan::{Part, Plan, Presence, Recorded};
use crate::root;
use crate::state::ids::{self, Reserve};

impl Subhost {
    /// Returns the first id of the range that a part is made with. `None`: it has the host's ids.
    ///
    /// # Errors
    /// USERNS=yes, and something here cannot be mapped; no range is free.
    pub(super) fn ids(&self, config: &Config, part: Part, reserve: Reserve) -> Result<Option<u32>> {
        // All parts have the same ids, even if USERNS has changed since the first was made.
        for other in Part::FROM_CONFIG.into_iter().filter(|other| *other != part) {
            if let Some(other) = self.frozen(other)? {
                return Ok(other.ids);
            }
        }
        if config.userns == Userns::No {
            return Ok(None);
        }
        if crate::kernel::privilege::has_entered() {
            let what = "cannot give it ids of its own: without root, its root is the user already";
            let why = Error::new(Exit::Failed, what).hint("leave out USERNS");
            return match config.userns {
                Userns::Yes => Err(why),
                _ => {
                    self.goes_without(&why);
                    Ok(None)
                }
            };
        }
        let possible = ids::range(config, Reserve::No).and_then(|base| {
            let steps = crate::plan::root_steps(config, self.state.dir(), Some(base));
            root::check_mappable(&steps, base, &Table::read()?)
        });
        match possible {
            Err(why) if config.userns == Userns::Auto => {
                self.goes_without(&why);
                Ok(None)
            }
            other => other.and_then(|()| ids::range(config, reserve)).map(Some),
        }
    }

    pub(super) fn goes_without(&self, why: &crate::base::error::Error) {
        crate::base::message::tell(Some(&self.name), || {
            format!("continues without a user namespace: {why}")
        });
    }

    /// Returns the plan that the settings make of a part that is up, with the ids that it has.
    pub(super) fn wanted(&self, config: &Config, frozen: &Plan) -> Result<Plan> {
        let ids = match config.userns {
            Userns::No => None,
            Userns::Auto => frozen.ids,
            Userns::Yes => frozen.ids.or(Some(0)),
        };
        self.planned(config, frozen.part, ids)
    }

    /// Returns the plan of a part of which nothing is recorded, with the ids of the root that is mounted, if one is.
    pub(super) fn found(
        &self,
        config: &Config,
        part: Part,
        mounts: &Mounts,
        network: &mut Network,
    ) -> Result<Plan> {
        let without = self.planned(config, part, None)?;
        if config.userns == Userns::No || crate::kernel::privilege::has_entered() {
            return Ok(without);
        }
        let with = self.planned(config, part, Some(ids::range(config, Reserve::No)?))?;
        let there = self.presences(&with, Recorded::No, mounts, network)?;
        let mapped = there
            .iter()
            .any(|(planned, presence)| planned.step.is_root() && *presence == Presence::Ours);
        Ok(if mapped { with } else { without })
    }
}
