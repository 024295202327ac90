//! A trial of the kernel, and the ability that it shows.

use super::Ability;
use crate::base::error::{Errno, IntoErrno};
use nix::sched::{CloneFlags, unshare};

/// What came of a trial.
pub(super) type Tried = std::result::Result<(), Errno>;

/// Does `work` on a thread with new namespaces, which end with it.
pub(super) fn scratch(flags: CloneFlags, work: impl FnOnce() -> Tried + Send + 'static) -> Tried {
    let thread = std::thread::Builder::new().spawn(move || {
        unshare(flags)?;
        work()
    });
    match thread {
        Ok(thread) => thread.join().unwrap_or(Err(Errno::EIO)),
        Err(e) => Err(e.into_errno()),
    }
}

/// The ability `name` by its trial.
pub(super) fn tried(name: &str, result: Tried) -> Ability {
    let found = result
        .err()
        .map_or(String::new(), |errno| errno.desc().to_owned());
    Ability::new(name, result.is_ok(), found)
}
