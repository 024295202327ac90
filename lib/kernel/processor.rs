//! The processor that this thread runs on.

use nix::sched::{sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether all processors are busy with work of this process.
static SATURATED: AtomicBool = AtomicBool::new(false);

/// Declares that this process works on at least as many things as there are processors, so that none is
/// free for a part of one.
pub fn set_saturated() {
    SATURATED.store(true, Ordering::Relaxed);
}

/// Tells whether [`set_saturated`] has been called.
pub fn is_saturated() -> bool {
    SATURATED.load(Ordering::Relaxed)
}

/// Does `work` on another processor than the current one, if the affinity allows another.
///
/// Work that a system call leaves to kernel workers begins on the processor of the call and may occupy it for
/// a millisecond. The process that waits for us ran there and does not have to wait for that work.
pub fn on_another_cpu<T>(work: impl FnOnce() -> T) -> T {
    if is_saturated() {
        return work();
    }
    let us = Pid::from_raw(0);
    let leave = || {
        let may = sched_getaffinity(us)?;
        let mut others = may;
        others.unset(sched_getcpu()?)?;
        // With no other processor the call fails with EINVAL.
        sched_setaffinity(us, &others).map(|()| may)
    };
    let left = leave();
    let done = work();
    if let Ok(may) = left {
        let _ = sched_setaffinity(us, &may);
    }
    done
}
