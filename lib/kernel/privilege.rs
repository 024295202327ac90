//! By whose rights we work: root of the host, or an ordinary user who is root in a world of his own.

use crate::base::error::{Doing, Result};
use crate::sys;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

/// Tells a tool that executes itself anew that it is in the world, by the number of its lock.
const MARK: &str = "SUBHOST_WORLD_LOCK";

/// Our part in the world's lock, to the end of the process.
static ENTERED: OnceLock<OwnedFd> = OnceLock::new();

/// Is this tool an ordinary user's?
pub fn is_user() -> bool {
    ENTERED.get().is_some() || !nix::unistd::geteuid().is_root()
}

/// Has this tool entered its user's world? Then it has looked at $SUBHOST and all above it before,
/// while it saw whose they are.
pub fn has_entered() -> bool {
    ENTERED.get().is_some()
}

/// The process has entered its user's world, for good; `lock` is its part in that.
pub fn has_now_entered(lock: OwnedFd) {
    let _ = ENTERED.set(lock);
}

/// A variable for a tool that executes itself, with the descriptor in it made to last; none outside of
/// a world.
///
/// # Errors
/// The failed call.
pub(crate) fn mark() -> Result<Option<String>> {
    let Some(lock) = ENTERED.get() else {
        return Ok(None);
    };
    fcntl(lock, FcntlArg::F_SETFD(FdFlag::empty())).doing(|| "stay in the world")?;
    Ok(Some(format!("{MARK}={}", lock.as_raw_fd())))
}

/// Takes over the lock from the tool that we were before we executed ourselves. Before descriptors are
/// closed.
pub(crate) fn adopt_mark() {
    let Some(lock) = std::env::var(MARK).ok().and_then(|text| text.parse().ok()) else {
        return;
    };
    if lock <= 2 || !crate::kernel::proc::in_user_namespace() || !nix::unistd::geteuid().is_root() {
        return;
    }
    if let Ok(lock) = sys::adopt(lock) {
        let _ = ENTERED.set(lock);
    }
}
