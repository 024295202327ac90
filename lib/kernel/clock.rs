//! The time, and which boot of the host it is.

use super::proc;
use crate::base::error::{Doing, Result};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The id of this boot of the host.
///
/// # Errors
/// /proc is not there.
pub fn boot_id() -> Result<&'static str> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let id = proc::text("/proc/sys/kernel/random/boot_id");
    let id = id.doing(|| "read the boot id")?;
    Ok(ID.get_or_init(|| String::from_utf8_lossy(&id).trim().to_owned()))
}
