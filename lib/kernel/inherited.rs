//! What a process inherits from its caller, and a fresh login does not: signals, resource limits, scheduling.
//!
//! A caller may be cron, a daemon that ignores SIGCHLD, a shell with `ulimit`, or any of `nice`, `chrt`, `taskset` and
//! `setarch`.

use crate::base::error::Errno;
use crate::sys;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use std::num::NonZeroU64;

/// Gives SIGCHLD its default action and unblocks all signals. A process that ignores SIGCHLD cannot wait for its children
/// (`wait(2)`), and exec(2) keeps that. Other ignored signals stay ignored, as nohup(1) and a shell's `&` want it.
pub fn reset_signals() {
    sys::default_signal(Signal::SIGCHLD as i32);
    let _ = SigSet::empty().thread_set_mask();
}

/// Lifts the limits under which a tool would fail or be killed halfway: FSIZE (SIGXFSZ), CPU (SIGXCPU), memory, descriptors.
pub fn lift_limits() {
    for resource in [
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_CPU,
        Resource::RLIMIT_AS,
        Resource::RLIMIT_DATA,
    ] {
        set_limit(resource, RLIM_INFINITY, RLIM_INFINITY);
    }
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < NOFILE_SOFT
    {
        set_limit(Resource::RLIMIT_NOFILE, NOFILE_SOFT, hard.max(NOFILE_HARD));
    }
}

const NOFILE_SOFT: u64 = 1024;
/// The hard limit of descriptors that the kernel gives the first process.
const NOFILE_HARD: u64 = 4096;

/// Sets the resource limits that the kernel gives the first process of the host (include/asm-generic/resource.h). The hard
/// limit of NOFILE stays if it is higher: inits raise it.
pub fn reset_limits() {
    let nofile = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    for (resource, soft, hard) in [
        (Resource::RLIMIT_CORE, 0, RLIM_INFINITY),
        (Resource::RLIMIT_STACK, 8 << 20, RLIM_INFINITY),
        (
            Resource::RLIMIT_NOFILE,
            NOFILE_SOFT,
            nofile.max(NOFILE_HARD),
        ),
        (Resource::RLIMIT_CPU, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_DATA, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_RSS, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_LOCKS, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_RTTIME, RLIM_INFINITY, RLIM_INFINITY),
        // The kernel computes its default from the memory. The key PIDS bounds a subhost.
        (Resource::RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
        (Resource::RLIMIT_MSGQUEUE, 819_200, 819_200),
        (Resource::RLIMIT_NICE, 0, 0),
        (Resource::RLIMIT_RTPRIO, 0, 0),
    ] {
        set_limit(resource, soft, hard);
    }
}

/// Sets a limit. Without CAP_SYS_RESOURCE a lower hard limit stays, and bounds the soft one.
fn set_limit(resource: Resource, soft: u64, hard: u64) {
    if setrlimit(resource, soft, hard) == Err(Errno::EPERM)
        && let Ok((_, lower)) = getrlimit(resource)
    {
        let _ = setrlimit(resource, soft.min(lower), lower);
    }
}

/// Gives a process the score of the OOM killer of a fresh login, 0 (`proc_pid_oom_score_adj(5)`). sshd and cron may have another
/// one. A process without CAP_SYS_RESOURCE cannot lower its score.
pub fn reset_oom_score(process: &str) {
    let _ = std::fs::write(format!("/proc/{process}/oom_score_adj"), "0");
}

/// Gives the calling thread the scheduling of a fresh login: SCHED_OTHER with nice value 0 on all processors, best-effort
/// I/O, the default memory policy, timer slack and execution domain. What a process without privilege may not raise
/// stays.
pub fn reset_scheduling() {
    let mut all = CpuSet::new();
    for processor in 0..CpuSet::count() {
        let _ = all.set(processor);
    }
    // The kernel leaves out processors that do not exist or that the cpuset does not have.
    let _ = sched_setaffinity(Pid::from_raw(0), &all);
    sys::default_scheduler();
    let _ = rustix::process::setpriority_process(None, 0);
    // 50 microseconds, as the kernel gives the first process.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(50_000));
}
