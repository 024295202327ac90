//! Trials: an ability of the kernel is tested by its use.

use super::Ability;
use crate::base::error::{Errno, IntoErrno};
use nix::sched::{CloneFlags, unshare};

/// The result of a trial.
pub(super) type Trial = std::result::Result<(), Errno>;

/// Does `work` on a thread in new namespaces, which end with the thread.
pub(super) fn run_in_namespaces(
    flags: CloneFlags,
    work: impl FnOnce() -> Trial + Send + 'static,
) -> Trial {
    let thread = std::thread::Builder::new().spawn(move || {
        unshare(flags)?;
        work()
    });
    match thread {
        Ok(thread) => thread.join().unwrap_or(Err(Errno::EIO)),
        Err(e) => Err(e.into_errno()),
    }
}

/// Makes the ability `name` from the result of its trial.
pub(super) fn tried(name: &str, result: Trial) -> Ability {
    let found = result
        .err()
        .map_or(String::new(), |errno| errno.desc().to_owned());
    Ability::new(name, result.is_ok(), found)
}
