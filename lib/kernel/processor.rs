//! On which processor we work.

use nix::sched::{sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering};

/// Have all processors enough to do without us?
static SATURATED: AtomicBool = AtomicBool::new(false);

/// Says that as many of us are at work as there are processors, or more: none is to be had for a part of what one does.
pub fn set_saturated() {
    SATURATED.store(true, Ordering::Relaxed);
}

/// Has [`set_saturated`] been called?
pub fn is_saturated() -> bool {
    SATURATED.load(Ordering::Relaxed)
}

/// Does `work` on another processor than we are on, if we may be on another.
///
/// What a call leaves to the kernel's workers begins where it was made, and may keep that processor for a millisecond:
/// whoever waits for us was here, and does not have to wait for that.
pub fn on_another_cpu<T>(work: impl FnOnce() -> T) -> T {
    if is_saturated() {
        return work();
    }
    let us = Pid::from_raw(0);
    let leave = || {
        let may = sched_getaffinity(us)?;
        let mut others = may;
        others.unset(sched_getcpu()?)?;
        // Of none it says EINVAL.
        sched_setaffinity(us, &others).map(|()| may)
    };
    let left = leave();
    let done = work();
    if let Ok(may) = left {
        let _ = sched_setaffinity(us, &may);
    }
    done
}
