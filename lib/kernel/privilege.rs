//! The privilege of a tool: root of the host, or an ordinary user who is root in his user namespace.

use crate::base::error::{Doing, Result};
use crate::sys;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

/// The environment variable by which a tool that executes itself passes the descriptor of the lock of the
/// user's namespace.
const LOCK_VARIABLE: &str = "SUBHOST_WORLD_LOCK";

/// The lock that keeps the user's namespace alive until this process ends.
static ENTERED: OnceLock<OwnedFd> = OnceLock::new();

/// Tells whether an ordinary user runs this tool.
pub fn is_user() -> bool {
    ENTERED.get().is_some() || !nix::unistd::geteuid().is_root()
}

/// Tells whether this tool has entered the namespace of its user. It has then checked $SUBHOST and the
/// directories above it before, when it could see their owners.
pub fn has_entered() -> bool {
    ENTERED.get().is_some()
}

/// Records that this process has entered the namespace of its user. `lock` keeps that namespace alive.
pub fn set_entered(lock: OwnedFd) {
    let _ = ENTERED.set(lock);
}

/// Returns the environment variable for a tool that executes itself, and lets the descriptor in it
/// survive the exec; none outside of a user's namespace.
///
/// # Errors
/// The failed call.
pub(crate) fn lock_variable() -> Result<Option<String>> {
    let Some(lock) = ENTERED.get() else {
        return Ok(None);
    };
    fcntl(lock, FcntlArg::F_SETFD(FdFlag::empty())).doing(|| "keep the user's namespace")?;
    Ok(Some(format!("{LOCK_VARIABLE}={}", lock.as_raw_fd())))
}

/// Takes over the lock that this tool had before it executed itself. Call it before descriptors are closed.
pub(crate) fn adopt_lock() {
    let number = std::env::var(LOCK_VARIABLE).ok();
    let Some(lock) = number.and_then(|text| text.parse().ok()) else {
        return;
    };
    if lock <= 2
        || !crate::kernel::proc::is_in_user_namespace()
        || !nix::unistd::geteuid().is_root()
    {
        return;
    }
    if let Ok(lock) = sys::adopt(lock) {
        let _ = ENTERED.set(lock);
    }
}
