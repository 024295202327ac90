//! A thread that joins a subhost for its caller, so that any thread of a program may run commands inside.
//!
//! Only a task that shares its root and working directory with no other can join a mount namespace (`setns(2)`), and a
//! child is made in the pid namespace that its parent thread has joined for its children. So a new thread unshares these,
//! joins, spawns the command and ends; the calling thread stays as and where it is. The command is a child of the process,
//! and outlives the thread.

use crate::base::error::{Doing, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs `work` in a new thread that shares neither root nor working directory, and blocks all signals.
pub(super) fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let joiner = || {
        // The child has our memory until it executes its program: no signal handler of ours may run in it. It unblocks
        // signals when it has reset the handlers.
        let blocked = SigSet::all().thread_block();
        blocked.doing(|| "block signals")?;
        let parted = unshare(CloneFlags::CLONE_FS);
        parted.doing(|| "have a root of our own")?;
        let _hidden = Hidden::new()?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, joiner);
        let thread = thread.doing(|| "start a thread")?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Hides the memory of this process from ptrace and /proc for good: until it executes its program, our child inside has it
/// (CVE-2016-9962).
pub(super) fn hide_memory() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hide our memory")
}

/// Hides the memory as long as one of these lives. The attribute belongs to the memory, which all threads share.
struct Hidden;

/// How many [`Hidden`] there are, and whether the memory was visible before the first.
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
            hide_memory()?;
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
            // The child has executed its program, and does not have our memory any more.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
    }
}
