//! The record of the helper of a user's network: pasta or slirp4netns.

use super::State;
use crate::base::error::{Error, Exit, Result};
use crate::kernel::clock::boot_id;
use crate::kernel::proc::Identity;

impl State {
    /// Records the helper.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record_helper(&self, helper: &Identity) -> Result<()> {
        let text = serde_json::to_string(&(boot_id()?, helper))
            .map_err(|e| Error::new(Exit::Failed, format!("cannot record the helper: {e}")))?;
        self.write(&self.dir.join("helper"), text.as_bytes())
    }

    /// Returns the recorded helper, whether it lives or not.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn helper(&self) -> Result<Option<Identity>> {
        let file = self.dir.join("helper");
        let Some(text) = self.read("helper")? else {
            return Ok(None);
        };
        let damaged = |e| {
            let what = format!("{} cannot be read: {e}", file.display());
            Error::new(Exit::Invalid, what).hint("end pasta or slirp4netns, then remove the file")
        };
        let (boot, helper): (String, Identity) = serde_json::from_str(&text).map_err(damaged)?;
        Ok((boot == boot_id()?).then_some(helper))
    }

    /// Removes the record of the helper.
    pub fn forget_helper(&self) {
        // If it stays, it is the record of a dead process.
        let _ = std::fs::remove_file(self.dir.join("helper"));
    }
}
