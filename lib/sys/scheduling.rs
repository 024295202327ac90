//! The scheduling of the calling thread.

use nix::libc;

/// Sets SCHED_OTHER (`sched_setscheduler(2)`), the default I/O priority (`ioprio_set(2)`), memory policy
/// (`set_mempolicy(2)`) and execution domain (`personality(2)`) of the calling thread. What the kernel refuses or lacks stays
/// as it is.
pub fn default_scheduler() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_NONE: libc::c_int = 0;
    const MPOL_DEFAULT: libc::c_int = 0;
    const PER_LINUX: libc::c_ulong = 0;
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter lives across its call, the null node mask belongs to a size of 0; no other memory is passed.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_OTHER,
            &raw const parameter,
        );
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_NONE);
        libc::syscall(
            libc::SYS_set_mempolicy,
            MPOL_DEFAULT,
            std::ptr::null::<libc::c_ulong>(),
            0,
        );
        libc::syscall(libc::SYS_personality, PER_LINUX);
    }
}
