//! A program run under ptrace, with one system call made to fail or its process killed at it.
//!
//! `strace -e inject` counts in each process by itself, so it cannot hit one call of a tool that
//! spawns another; here a call has one place: which process of the run, and which of its calls.
//! Only our own tools' calls are counted, not those of hooks or of what runs inside.

use super::Run;
use super::run::{Output, status_code};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// One system call of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Which process or thread, in the order of their making.
    pub process: usize,
    /// Which of its calls of this name: of others two runs may make more or fewer, as the host has more
    /// or fewer loop devices.
    pub number: usize,
    /// Its name.
    pub name: &'static str,
}

/// What is done to a call.
#[derive(Debug, Clone, Copy)]
pub enum Blow {
    /// It is not made and fails.
    Fail(Errno),
    /// It is made, and then its process is killed.
    Kill,
}

/// What came of a run.
pub struct Traced {
    /// Status and texts.
    pub output: Output,
    /// All calls that were counted.
    pub calls: Vec<Call>,
    /// Did the blow fall?
    pub struck: bool,
}

const LIMIT: Duration = Duration::from_secs(40);

/// The calls that make or take away something, or without which nothing can be made.
const CHANGING: &[(i64, &str)] = &[
    (nix::libc::SYS_mount, "mount"),
    (nix::libc::SYS_umount2, "umount2"),
    (nix::libc::SYS_move_mount, "move_mount"),
    (nix::libc::SYS_open_tree, "open_tree"),
    (nix::libc::SYS_mount_setattr, "mount_setattr"),
    (nix::libc::SYS_fsopen, "fsopen"),
    (nix::libc::SYS_fsconfig, "fsconfig"),
    (nix::libc::SYS_fsmount, "fsmount"),
    (nix::libc::SYS_fspick, "fspick"),
    (nix::libc::SYS_pivot_root, "pivot_root"),
    (nix::libc::SYS_chroot, "chroot"),
    (nix::libc::SYS_setns, "setns"),
    (nix::libc::SYS_unshare, "unshare"),
    (nix::libc::SYS_clone, "clone"),
    (nix::libc::SYS_clone3, "clone3"),
    (nix::libc::SYS_vfork, "vfork"),
    (nix::libc::SYS_execve, "execve"),
    (nix::libc::SYS_socket, "socket"),
    (nix::libc::SYS_socketpair, "socketpair"),
    (nix::libc::SYS_bind, "bind"),
    (nix::libc::SYS_listen, "listen"),
    (nix::libc::SYS_connect, "connect"),
    (nix::libc::SYS_accept4, "accept4"),
    (nix::libc::SYS_sendto, "sendto"),
    (nix::libc::SYS_sendmsg, "sendmsg"),
    (nix::libc::SYS_recvfrom, "recvfrom"),
    (nix::libc::SYS_recvmsg, "recvmsg"),
    (nix::libc::SYS_openat, "openat"),
    (nix::libc::SYS_openat2, "openat2"),
    (nix::libc::SYS_read, "read"),
    (nix::libc::SYS_write, "write"),
    (nix::libc::SYS_pwrite64, "pwrite64"),
    (nix::libc::SYS_ftruncate, "ftruncate"),
    (nix::libc::SYS_flock, "flock"),
    (nix::libc::SYS_rename, "rename"),
    (nix::libc::SYS_renameat, "renameat"),
    (nix::libc::SYS_renameat2, "renameat2"),
    (nix::libc::SYS_mkdir, "mkdir"),
    (nix::libc::SYS_mkdirat, "mkdirat"),
    (nix::libc::SYS_mknod, "mknod"),
    (nix::libc::SYS_mknodat, "mknodat"),
    (nix::libc::SYS_symlink, "symlink"),
    (nix::libc::SYS_symlinkat, "symlinkat"),
    (nix::libc::SYS_unlink, "unlink"),
    (nix::libc::SYS_unlinkat, "unlinkat"),
    (nix::libc::SYS_rmdir, "rmdir"),
    (nix::libc::SYS_link, "link"),
    (nix::libc::SYS_linkat, "linkat"),
    (nix::libc::SYS_chmod, "chmod"),
    (nix::libc::SYS_fchmod, "fchmod"),
    (nix::libc::SYS_fchmodat, "fchmodat"),
    (nix::libc::SYS_chown, "chown"),
    (nix::libc::SYS_fchown, "fchown"),
    (nix::libc::SYS_fchownat, "fchownat"),
    (nix::libc::SYS_setxattr, "setxattr"),
    (nix::libc::SYS_lsetxattr, "lsetxattr"),
    (nix::libc::SYS_fsetxattr, "fsetxattr"),
    (nix::libc::SYS_removexattr, "removexattr"),
    (nix::libc::SYS_utimensat, "utimensat"),
    (nix::libc::SYS_copy_file_range, "copy_file_range"),
    (nix::libc::SYS_sendfile, "sendfile"),
    (nix::libc::SYS_fallocate, "fallocate"),
    (nix::libc::SYS_fsync, "fsync"),
    (nix::libc::SYS_fdatasync, "fdatasync"),
    (nix::libc::SYS_syncfs, "syncfs"),
    (nix::libc::SYS_ioctl, "ioctl"),
    (nix::libc::SYS_memfd_create, "memfd_create"),
    (nix::libc::SYS_pidfd_open, "pidfd_open"),
    (nix::libc::SYS_pidfd_send_signal, "pidfd_send_signal"),
    (nix::libc::SYS_signalfd4, "signalfd4"),
    (nix::libc::SYS_epoll_create1, "epoll_create1"),
    (nix::libc::SYS_epoll_ctl, "epoll_ctl"),
    (nix::libc::SYS_eventfd2, "eventfd2"),
    (nix::libc::SYS_sethostname, "sethostname"),
    (nix::libc::SYS_setsid, "setsid"),
    (nix::libc::SYS_capset, "capset"),
    (nix::libc::SYS_prctl, "prctl"),
    (nix::libc::SYS_seccomp, "seccomp"),
    (nix::libc::SYS_dup3, "dup3"),
    (nix::libc::SYS_chdir, "chdir"),
    (nix::libc::SYS_fchdir, "fchdir"),
    (nix::libc::SYS_close_range, "close_range"),
];

struct Tracee {
    number: usize,
    calls: BTreeMap<&'static str, usize>,
    /// Between entry and exit of a call: the result that it gets.
    result: Option<Option<Errno>>,
    inside: bool,
    /// The kernel makes the last call once more: some wait in that way for a lock that another has.
    again: bool,
    phase: Phase,
}

/// Whose calls they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A program's that is not ours.
    Foreign,
    /// The loader's, for one of our tools.
    Loading,
    /// Ours: each tool begins with close_range.
    Ours,
}

/// Runs it, strikes at the call `at`, and waits for its end. What it leaves behind runs on, no longer
/// traced.
pub fn traced(run: Run, at: Option<(Call, Blow)>) -> Traced {
    let line = run.line();
    // ptrace belongs to the thread; when that ends, it lets go of what still runs.
    std::thread::scope(|scope| scope.spawn(|| trace(run, line, at)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn scratch() -> File {
    let fd = rustix::fs::memfd_create("output", rustix::fs::MemfdFlags::CLOEXEC);
    fd.unwrap().into()
}

#[allow(clippy::zombie_processes)] // It is the tracer that waits for it.
fn trace(run: Run, line: String, at: Option<(Call, Blow)>) -> Traced {
    let (mut stdout, mut stderr) = (scratch(), scratch());
    let command = run.into_command();
    // The shell stops itself; when we trace it, it executes the program.
    let mut child = super::run::command("/bin/sh")
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(command.get_envs().filter_map(|(k, v)| v.map(|v| (k, v))))
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap();
    let main = Pid::from_raw(child.id().cast_signed());
    waitpid(main, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(main, options).unwrap();
    kill(main, Signal::SIGCONT).unwrap();
    let mut tracer = Tracer {
        tracees: BTreeMap::new(),
        calls: Vec::new(),
        at,
        struck: false,
    };
    let code = tracer.run(main);
    if code.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let output = Output {
        line: format!("{line}, {at:?}"),
        code: code.unwrap_or(-1),
        stdout: text(&mut stdout),
        stderr: text(&mut stderr),
    };
    assert!(code.is_some(), "did not end in {LIMIT:?}: {output}");
    Traced {
        output,
        calls: tracer.calls,
        struck: tracer.struck,
    }
}

struct Tracer {
    tracees: BTreeMap<i32, Tracee>,
    calls: Vec<Call>,
    at: Option<(Call, Blow)>,
    struck: bool,
}

impl Tracer {
    /// The status of `main`; none if it took too long.
    fn run(&mut self, main: Pid) -> Option<i32> {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        let end = Instant::now() + LIMIT;
        let mut idle = 0;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) => {
                    if Instant::now() > end {
                        return None;
                    }
                    // Turning round for a while costs less than sleeping at every stop.
                    idle += 1;
                    if idle > 200 {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                    continue;
                }
                Ok(WaitStatus::Exited(pid, code)) if pid == main => return Some(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                    return Some(status_code(ExitStatus::from_raw(signal as i32)));
                }
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                    self.tracees.remove(&pid.as_raw());
                }
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    self.syscall(pid);
                    let _ = ptrace::syscall(pid, None);
                }
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    if event == nix::libc::PTRACE_EVENT_EXEC {
                        self.executed(pid);
                    }
                    let _ = ptrace::syscall(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => {
                    let _ = ptrace::syscall(pid, signal);
                }
                Ok(_) => {}
                Err(Errno::EINTR) => {}
                Err(errno) => panic!("waitpid: {errno}"),
            }
            idle = 0;
        }
    }

    fn tracee(&mut self, pid: Pid) -> &mut Tracee {
        let number = self.tracees.values().map(|t| t.number + 1).max();
        let made = self.calls.iter().map(|c| c.process + 1).max();
        self.tracees.entry(pid.as_raw()).or_insert(Tracee {
            number: number.max(made).unwrap_or(0),
            calls: BTreeMap::new(),
            result: None,
            inside: false,
            again: false,
            // The first is the shell that becomes the tool; the others are its threads and children.
            phase: match number.or(made) {
                Some(_) => Phase::Ours,
                None => Phase::Foreign,
            },
        })
    }

    fn executed(&mut self, pid: Pid) {
        // Not by /proc/PID/exe: ours are executed by mounts that lie nowhere.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(first);
        let name = name.rsplit('/').next().unwrap_or_default();
        let tracee = self.tracee(pid);
        tracee.phase = match name.starts_with("subhost-") {
            true => Phase::Loading,
            false => Phase::Foreign,
        };
        tracee.inside = true;
    }

    fn syscall(&mut self, pid: Pid) {
        let at = self.at;
        let tracee = self.tracee(pid);
        tracee.inside = !tracee.inside;
        if !tracee.inside {
            let Some(result) = tracee.result.take() else {
                tracee.again = is_restarted(pid);
                return;
            };
            match result {
                Some(errno) => set_result(pid, -(errno as i64)),
                None => {
                    let _ = kill(pid, Signal::SIGKILL);
                }
            }
            return;
        }
        if std::mem::take(&mut tracee.again) || tracee.phase == Phase::Foreign {
            return;
        }
        let Some((number, [first, _, third])) = call(pid) else {
            return;
        };
        if number == nix::libc::SYS_close_range {
            tracee.phase = Phase::Ours;
        }
        if tracee.phase == Phase::Loading {
            return;
        }
        let Some((_, name)) = CHANGING.iter().find(|(known, _)| *known == number) else {
            return;
        };
        // What it says to its user is no change; an eventfd, by which the netlink runtime wakes itself
        // and panics if it cannot, does not fail.
        if *name == "write" && (first == 1 || first == 2 || is_eventfd(pid, first)) {
            return;
        }
        // std waits for the child and then panics if it cannot hear whether an exec failed, 8 bytes on
        // a socket of its own: that socket does not fail.
        if *name == "recvfrom" && third < 4096 {
            return;
        }
        let count = tracee.calls.entry(name).or_default();
        let call = Call {
            process: tracee.number,
            number: *count,
            name,
        };
        *count += 1;
        let blow = at.filter(|(at, _)| *at == call);
        if let Some((_, blow)) = blow {
            match blow {
                Blow::Fail(errno) => {
                    tracee.result = Some(Some(errno));
                    no_call(pid);
                }
                Blow::Kill => tracee.result = Some(None),
            }
            self.struck = true;
        }
        self.calls.push(call);
    }
}

/// Number and first arguments of the call that is entered.
fn call(pid: Pid) -> Option<(i64, [u64; 3])> {
    let regs = ptrace::getregs(pid).ok()?;
    Some((regs.orig_rax.cast_signed(), [regs.rdi, regs.rsi, regs.rdx]))
}

/// Of a call that has ended: ERESTARTSYS to ERESTART_RESTARTBLOCK of include/linux/errno.h, which only a tracer sees.
fn is_restarted(pid: Pid) -> bool {
    ptrace::getregs(pid).is_ok_and(|regs| (-516..=-512).contains(&regs.rax.cast_signed()))
}

fn is_eventfd(pid: Pid, fd: u64) -> bool {
    std::fs::read_link(format!("/proc/{pid}/fd/{fd}"))
        .is_ok_and(|link| link.to_string_lossy().contains("eventfd"))
}

fn no_call(pid: Pid) {
    if let Ok(mut regs) = ptrace::getregs(pid) {
        regs.orig_rax = u64::MAX;
        let _ = ptrace::setregs(pid, regs);
    }
}

fn set_result(pid: Pid, result: i64) {
    if let Ok(mut regs) = ptrace::getregs(pid) {
        regs.rax = result.cast_unsigned();
        let _ = ptrace::setregs(pid, regs);
    }
}
