//! The current time, and the id of this boot of the host.

use super::proc;
use crate::base::error::{Doing, Result};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the current time, in seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Returns the boot id of the host (`random(4)`, /proc/sys/kernel/random/boot_id).
///
/// # Errors
/// /proc is not mounted.
pub fn boot_id() -> Result<&'static str> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let id = proc::read_text("/proc/sys/kernel/random/boot_id");
    let id = id.doing(|| "read the boot id")?;
    Ok(ID.get_or_init(|| String::from_utf8_lossy(&id).trim().to_owned()))
}
