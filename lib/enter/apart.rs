//! A thread that joins for another, so that any thread of any program may have that done.
//!
//! A mount namespace can be joined only by who shares root and working directory with nobody (`setns(2)`),
//! and children are made in the pid namespace that the thread which makes them has joined for them. A thread of
//! our own, with these its own, does it and ends; the thread that asked stays what and where it is. The command
//! is a child of the process like any other, and outlives the thread.

use super::own;
use crate::base::error::{Doing, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Does `work` in such a thread.
pub(super) fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let joiner = || {
        // Until it executes its program the child has our memory, but is another process: no handler of the
        // program's may run there. It unblocks what it has none for any more.
        let blocked = SigSet::all().thread_block();
        blocked.doing(|| "block signals").map_err(own)?;
        let parted = unshare(CloneFlags::CLONE_FS);
        parted.doing(|| "have a root of our own").map_err(own)?;
        let _hidden = Hidden::new().map_err(own)?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, joiner);
        let thread = thread.doing(|| "begin a thread").map_err(own)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Until exec, our child is a copy of us: nobody inside may look into it (CVE-2016-9962). For good.
pub(super) fn hide() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hide our memory")
}

/// The same for as long as one of these lives: it concerns the memory, which is all threads'.
struct Hidden;

/// How many there are, and whether others may look into our memory when there are none.
static HIDDEN: Mutex<(usize, bool)> = Mutex::new((0, false));

fn hidden() -> MutexGuard<'static, (usize, bool)> {
    HIDDEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hidden {
    fn new() -> Result<Self> {
        let mut hidden = hidden();
        if hidden.0 == 0 {
            let before = dumpable_behavior();
            hidden.1 = before.doing(|| "ask who may see our memory")? == DumpableBehavior::Dumpable;
            hide()?;
        }
        hidden.0 += 1;
        Ok(Self)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let mut hidden = hidden();
        hidden.0 -= 1;
        if hidden.0 == 0 && hidden.1 {
            // The child has executed its program: what it has is not ours.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
    }
}
