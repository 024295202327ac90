//! The built-in filters of system calls: an allow list. Calls that a capability guards are allowed only with
//! that capability. A call is added only if a service of a distribution needs it.
//!
//! The list follows that of Docker, which is the most attacked, without modify_ldt (16-bit segments for old
//! emulators, CVE-2015-5157), without reading clocks by the calls that set them, and without fanotify. No
//! capability allows kexec, io_uring (its operations bypass the filter) and keyrings (without a user
//! namespace they belong to the host, shared by uid).

use super::profile::{Action, Compare, Condition, Profile, Rule, int};
use nix::libc;
use rustix::thread::CapabilitySet as Cap;
use syscalls::Sysno as S;

/// The calls that are allowed with any arguments.
#[rustfmt::skip]
const ALLOWED: &[S] = &[
    S::accept, S::accept4, S::bind, S::brk, S::cachestat, S::capget, S::capset, S::chdir,
    S::clock_getres, S::clock_gettime, S::clock_nanosleep, S::close, S::close_range, S::connect,
    S::copy_file_range, S::dup, S::dup3, S::epoll_create1, S::epoll_ctl, S::epoll_pwait,
    S::epoll_pwait2, S::eventfd2, S::execve, S::execveat, S::exit, S::exit_group, S::faccessat,
    S::faccessat2, S::fadvise64, S::fallocate, S::fchdir, S::fchmod, S::fchmodat, S::fchmodat2,
    S::fchown, S::fchownat, S::fcntl, S::fdatasync, S::fgetxattr, S::file_getattr,
    S::flistxattr, S::flock, S::fremovexattr, S::fsetxattr, S::fstat, S::fstatfs, S::fsync,
    S::ftruncate, S::futex, S::futex_requeue, S::futex_wait, S::futex_waitv, S::futex_wake,
    S::get_robust_list, S::getcpu, S::getcwd, S::getdents64, S::getegid, S::geteuid, S::getgid,
    S::getgroups, S::getitimer, S::getpeername, S::getpgid, S::getpid, S::getppid,
    S::getpriority, S::getrandom, S::getresgid, S::getresuid, S::getrlimit, S::getrusage,
    S::getsid, S::getsockname, S::getsockopt, S::gettid, S::gettimeofday, S::getuid,
    S::getxattr, S::getxattrat, S::inotify_add_watch, S::inotify_init1, S::inotify_rm_watch,
    S::io_cancel, S::io_destroy, S::io_getevents, S::io_pgetevents, S::io_setup, S::io_submit,
    S::ioprio_get, S::ioprio_set, S::kill, S::landlock_add_rule, S::landlock_create_ruleset,
    S::landlock_restrict_self, S::lgetxattr, S::linkat, S::listen, S::listmount, S::listxattr,
    S::listxattrat, S::llistxattr, S::lremovexattr, S::lseek, S::lsetxattr, S::madvise,
    S::map_shadow_stack, S::membarrier, S::memfd_create, S::memfd_secret, S::mincore,
    S::mkdirat, S::mknodat, S::mlock, S::mlock2, S::mlockall, S::mmap, S::mprotect,
    S::mq_getsetattr, S::mq_notify, S::mq_open, S::mq_timedreceive, S::mq_timedsend,
    S::mq_unlink, S::mremap, S::mseal, S::msgctl, S::msgget, S::msgrcv, S::msgsnd, S::msync,
    S::munlock, S::munlockall, S::munmap, S::name_to_handle_at, S::nanosleep, S::openat,
    S::openat2, S::pidfd_open, S::pidfd_send_signal, S::pipe2, S::pkey_alloc, S::pkey_free,
    S::pkey_mprotect, S::ppoll, S::prctl, S::pread64, S::preadv, S::preadv2, S::prlimit64,
    S::process_mrelease, S::pselect6, S::pwrite64, S::pwritev, S::pwritev2, S::read,
    S::readahead, S::readlinkat, S::readv, S::recvfrom, S::recvmmsg, S::recvmsg,
    S::remap_file_pages, S::removexattr, S::removexattrat, S::renameat, S::renameat2,
    S::restart_syscall, S::rseq, S::rt_sigaction, S::rt_sigpending, S::rt_sigprocmask,
    S::rt_sigqueueinfo, S::rt_sigreturn, S::rt_sigsuspend, S::rt_sigtimedwait,
    S::rt_tgsigqueueinfo, S::sched_get_priority_max, S::sched_get_priority_min,
    S::sched_getaffinity, S::sched_getattr, S::sched_getparam, S::sched_getscheduler,
    S::sched_rr_get_interval, S::sched_setaffinity, S::sched_setattr, S::sched_setparam,
    S::sched_setscheduler, S::sched_yield, S::seccomp, S::semctl, S::semget, S::semop,
    S::semtimedop, S::sendfile, S::sendmmsg, S::sendmsg, S::sendto, S::set_robust_list,
    S::set_tid_address, S::setfsgid, S::setfsuid, S::setgid, S::setgroups, S::setitimer,
    S::setpgid, S::setpriority, S::setregid, S::setresgid, S::setresuid, S::setreuid,
    S::setrlimit, S::setsid, S::setsockopt, S::setuid, S::setxattr, S::setxattrat, S::shmat,
    S::shmctl, S::shmdt, S::shmget, S::shutdown, S::sigaltstack, S::signalfd4, S::socketpair,
    S::splice, S::statfs, S::statmount, S::statx, S::symlinkat, S::sync, S::sync_file_range,
    S::syncfs, S::sysinfo, S::tee, S::tgkill, S::timer_create, S::timer_delete,
    S::timer_getoverrun, S::timer_gettime, S::timer_settime, S::timerfd_create,
    S::timerfd_gettime, S::timerfd_settime, S::times, S::tkill, S::truncate, S::umask, S::uname,
    S::unlinkat, S::utimensat, S::vmsplice, S::wait4, S::waitid, S::write, S::writev,
];

/// The calls that newer architectures lack.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLD: &[S] = &[
    S::access, S::alarm, S::arch_prctl, S::chmod, S::chown, S::creat, S::dup2, S::epoll_create,
    S::epoll_wait, S::eventfd, S::fork, S::futimesat, S::get_thread_area, S::getdents,
    S::getpgrp, S::inotify_init, S::lchown, S::link, S::lstat, S::mkdir, S::mknod,
    S::newfstatat, S::open, S::pause, S::pipe, S::poll, S::readlink, S::rename, S::rmdir,
    S::select, S::set_thread_area, S::signalfd, S::stat, S::symlink, S::time, S::unlink,
    S::uprobe, S::uretprobe, S::utime, S::utimes, S::vfork,
];
#[cfg(target_arch = "aarch64")]
const OLD: &[S] = &[S::fstatat];

/// Both lists, sorted by number at compile time, as each filter needs them in this order.
const USUAL: [S; ALLOWED.len() + OLD.len()] = {
    let mut all = [S::read; ALLOWED.len() + OLD.len()];
    let mut count = 0;
    while count < all.len() {
        let call = match count < ALLOWED.len() {
            true => ALLOWED[count],
            false => OLD[count - ALLOWED.len()],
        };
        let mut at = count;
        while at > 0 && all[at - 1].id() > call.id() {
            all[at] = all[at - 1];
            at -= 1;
        }
        all[at] = call;
        count += 1;
    }
    all
};

/// The calls that are allowed with one of these capabilities. Without it, the kernel would refuse most of
/// what they do.
const GUARDED: &[(&[Cap], &[S])] = &[
    (
        &[Cap::SYS_ADMIN],
        &[
            S::clone3,
            S::fanotify_init,
            S::fanotify_mark,
            S::file_setattr,
            S::fsconfig,
            S::fsmount,
            S::fsopen,
            S::fspick,
            S::lsm_get_self_attr,
            S::lsm_list_modules,
            S::lsm_set_self_attr,
            S::mount,
            S::mount_setattr,
            S::move_mount,
            S::open_tree,
            S::open_tree_attr,
            S::pivot_root,
            S::quotactl,
            S::quotactl_fd,
            S::setdomainname,
            S::sethostname,
            S::setns,
            S::swapoff,
            S::swapon,
            S::umount2,
        ],
    ),
    (&[Cap::BPF, Cap::SYS_ADMIN], &[S::bpf]),
    (&[Cap::DAC_READ_SEARCH], &[S::open_by_handle_at]),
    (&[Cap::PERFMON, Cap::SYS_ADMIN], &[S::perf_event_open]),
    (&[Cap::SYSLOG, Cap::SYS_ADMIN], &[S::syslog]),
    (&[Cap::SYS_BOOT], &[S::reboot]),
    (&[Cap::SYS_CHROOT], &[S::chroot]),
    (
        &[Cap::SYS_MODULE],
        &[S::delete_module, S::finit_module, S::init_module],
    ),
    (
        &[Cap::SYS_NICE],
        &[
            S::get_mempolicy,
            S::mbind,
            S::set_mempolicy,
            S::set_mempolicy_home_node,
        ],
    ),
    (&[Cap::SYS_PACCT], &[S::acct]),
    (
        &[Cap::SYS_PTRACE],
        &[
            S::kcmp,
            S::pidfd_getfd,
            S::process_madvise,
            S::process_vm_readv,
            S::process_vm_writev,
            S::ptrace,
            S::userfaultfd,
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    (&[Cap::SYS_RAWIO], &[S::ioperm, S::iopl]),
    (
        &[Cap::SYS_TIME],
        &[
            S::adjtimex,
            S::clock_adjtime,
            S::clock_settime,
            S::settimeofday,
        ],
    ),
    (&[Cap::SYS_TTY_CONFIG], &[S::vhangup]),
];

/// The calls that SECCOMP=default allows and strict does not: a process can inspect others with the same
/// rights.
const NOT_STRICT: &[S] = &[S::ptrace, S::process_vm_readv, S::process_vm_writev];
/// The calls of the other lists that strict removes: memory placement, handles of files, and giving pages
/// away.
const TAKEN_IF_STRICT: &[S] = &[
    S::get_mempolicy,
    S::mbind,
    S::memfd_secret,
    S::name_to_handle_at,
    S::process_mrelease,
    S::remap_file_pages,
    S::set_mempolicy,
    S::set_mempolicy_home_node,
    S::vmsplice,
];

/// The flags of clone(2) for new namespaces, except CLONE_NEWTIME, whose bit is in the exit signal.
const NEW: u64 = 0x7e02_0000;
/// The flags of unshare(2) for new namespaces, with CLONE_NEWTIME.
const NEW_OR_TIME: u64 = NEW | 0x80;
/// The allowed arguments of personality(2): PER_LINUX, with UNAME26 or ADDR_LIMIT_32BIT or both, and the
/// query. READ_IMPLIES_EXEC and ADDR_NO_RANDOMIZE are not among them.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// The allowed families of sockets. Others load modules that are rarely audited.
const FAMILIES: [u32; 5] = [
    libc::AF_UNIX as u32,
    libc::AF_INET as u32,
    libc::AF_INET6 as u32,
    libc::AF_NETLINK as u32,
    libc::AF_PACKET as u32,
];
/// The ioctls that insert input into terminals (CVE-2017-5226, CVE-2023-28100): TIOCSTI and TIOCLINUX.
const INPUT: [u32; 2] = [libc::TIOCSTI as u32, 0x541c];
/// FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR, which need no capability and can move a file out of the project of
/// its quota.
const ATTRIBUTES: [u32; 2] = [0x4008_6602, 0x401c_5820];
/// TIOCSETD, which loads line disciplines.
const DISCIPLINE: u32 = libc::TIOCSETD as u32;

/// The built-in filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// SECCOMP=default.
    Default,
    /// SECCOMP=strict.
    Strict,
}

/// Returns the profile of a built-in filter for a process with these capabilities.
pub(super) fn profile(caps: Cap, strictness: Strictness) -> Profile {
    let strict = strictness == Strictness::Strict;
    let mut rules = Vec::with_capacity(400);
    let mut add = |call: S, action, conditions: &[Condition]| {
        rules.push(Rule {
            call: call.id().cast_unsigned(),
            action,
            conditions: conditions.to_vec(),
        });
    };
    let is_out = |call: &S| strict && TAKEN_IF_STRICT.contains(call);
    let guarded = GUARDED
        .iter()
        .filter(|(guards, _)| guards.iter().any(|cap| caps.contains(*cap)))
        .flat_map(|(_, calls)| calls.iter());
    let not_strict = NOT_STRICT.iter().filter(|_| !strict);
    for call in USUAL.iter().chain(guarded).chain(not_strict) {
        if !is_out(call) {
            add(*call, Action::Allow, &[]);
        }
    }
    if caps.contains(Cap::SYS_ADMIN) {
        add(S::clone, Action::Allow, &[]);
        add(S::unshare, Action::Allow, &[]);
    } else {
        add(S::clone, Action::Allow, &[int(0, Compare::Masked(NEW), 0)]);
        add(
            S::unshare,
            Action::Allow,
            &[int(0, Compare::Masked(NEW_OR_TIME), 0)],
        );
        // The flags of clone3(2) are in memory, which a filter cannot read. C libraries fall back to
        // clone(2).
        add(S::clone3, Action::Errno(libc::ENOSYS as u16), &[]);
    }
    // The strictest rule of a call decides: the conditional refusal wins over the allowance.
    let mut only = |call: S, among: &[u32], refused| {
        let none = among.iter().map(|one| int(0, Compare::NotEqual, *one));
        add(
            call,
            Action::Errno(refused as u16),
            &none.collect::<Vec<_>>(),
        );
        add(call, Action::Allow, &[]);
    };
    only(S::personality, &PERSONALITIES, libc::EPERM);
    let families = match strict {
        true => &FAMILIES[..4],
        false => &FAMILIES[..],
    };
    // The errno of a kernel without the family.
    only(S::socket, families, libc::EAFNOSUPPORT);
    let attributes = ATTRIBUTES.iter();
    let attributes = attributes.filter(|_| !caps.contains(Cap::LINUX_IMMUTABLE));
    let discipline = strict.then_some(&DISCIPLINE);
    let not: Vec<_> = INPUT
        .iter()
        .chain(attributes)
        .chain(discipline)
        .map(|request| int(1, Compare::NotEqual, *request))
        .collect();
    add(S::ioctl, Action::Allow, &not);
    Profile {
        default: Action::Errno(libc::EPERM as u16),
        rules,
    }
}
