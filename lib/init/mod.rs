//! PID 1 of a subhost: it assembles the mount namespace, runs one command, reaps processes, and ends when
//! it is asked to or the command has ended. The kernel then kills all other processes inside.
//!
//! It runs for months: it allocates nothing after the start, and its only descriptor of a host file is the
//! one for the record of its end and, if the command is logged, the log.

mod dev;
mod log;
mod masks;
mod nodes;
mod pick;
mod reaper;
pub mod spec;
pub(crate) mod tree;
mod userns;

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::base::protocol::{FromInit, ToInit};
use crate::kernel::inherited;
use crate::kernel::lsm::Labelling;
use crate::kernel::packets::{receive, send};
use crate::kernel::signals::{default_signals, signal_number};
use crate::kernel::stdio::replace_standard;
use crate::kernel::terminal;
use crate::login::{Program, cannot_run, null_instead};
use crate::sys;
use nix::sys::signal::Signal;
use reaper::{Reaper, record};
use spec::{Main, Spec};
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Executes the network helper after the tool has recorded this process. Returns the exit status on
/// failure.
pub(crate) fn helper(socket: &OwnedFd, program: &str, args: &[&str]) -> u8 {
    let _ = sys::cloexec_from(3);
    let _ = nix::unistd::setsid();
    if let Ok(Some((ToInit::Go, _))) = receive(socket) {
        let errno = Command::new(program).args(args).exec();
        eprintln!("cannot run {program}: {errno}");
    }
    126
}

/// Detaches this process from its caller, before it becomes PID 1 or logs a console.
pub(crate) fn begin() {
    let _ = sys::cloexec_from(3);
    // The kernel names a process after the number of the descriptor by which it was executed.
    let _ = rustix::thread::set_name(c"subhost-init");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Processes inside must not ptrace this process: its program and descriptors are of the host.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    inherited::reset_oom_score("self");
    inherited::reset_signals();
    inherited::reset_limits();
    inherited::reset_scheduling();
}

/// The kind of namespaces that PID 1 is made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The tool has made the pid namespace; there is no user namespace.
    Direct,
    /// The process enters a user namespace and makes the pid namespace there.
    Userns,
}

/// Becomes PID 1. Returns its exit status.
pub(crate) fn pid_1(socket: &OwnedFd, entry: Entry) -> u8 {
    boot(socket, entry).unwrap_or_else(|error| {
        let _ = send(socket, &FromInit::failed(error), &[]);
        125
    })
}

fn boot(socket: &OwnedFd, entry: Entry) -> Result<u8> {
    let mut picked = None;
    if entry == Entry::Userns {
        let Some(made) = userns::enter(socket)? else {
            return Ok(125);
        };
        picked = Some(made);
    }
    // No message comes if the tool has been killed meanwhile.
    let Some((ToInit::Go, fds)) = receive(socket)? else {
        return Ok(125);
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(terminal::lost);
    let (text, last) = (next()?, File::from(next()?));
    let network = fds.next();
    let spec = read_spec(text)?;
    tree::assemble(&spec, network.as_ref(), picked)?;
    drop(network);
    let terminal = if spec.process.slaves.contains(&true) {
        let pair = terminal::open_pair()?;
        tree::bind_console(&pair.slave)?;
        let fds = [pair.master.as_raw_fd(), pair.slave.as_raw_fd()];
        send(socket, &FromInit::Terminal, &fds)?;
        Some(pair.slave)
    } else {
        None
    };
    let Some((ToInit::Proceed, _)) = receive(socket)? else {
        return Ok(125);
    };
    match &spec.process.main {
        Main::Init(program) => Err(become_init(program, terminal.as_ref(), spec.process.slaves)),
        main => Reaper::new(socket, &spec.process, last)?.run(main, terminal),
    }
}

fn read_spec(memfd: OwnedFd) -> Result<Spec> {
    let mut text = String::new();
    let read = File::from(memfd).read_to_string(&mut text);
    read.doing(|| "read the boot's settings")?;
    serde_json::from_str(&text).map_err(|e| {
        Error::new(
            Exit::Failed,
            format!("cannot read the boot's settings: {e}"),
        )
    })
}

/// Executes the init of the tree. Returns only on failure.
fn become_init(program: &Program, terminal: Option<&OwnedFd>, slaves: [bool; 3]) -> Error {
    let path = program.argv.first().cloned().unwrap_or_default();
    let prepare = || -> Result<(CString, Vec<CString>, Vec<CString>)> {
        for (fd, is_slave) in slaves.into_iter().enumerate() {
            let null = null_instead(fd)?;
            let Some(instead) = terminal.filter(|_| is_slave).or(null.as_ref()) else {
                continue;
            };
            replace_standard(fd, instead).doing(|| "take the console")?;
        }
        let text = |text: &str| CString::new(text).doing(|| "pass a text with a NUL to INIT");
        let args = program.argv.iter().map(|arg| text(arg));
        let env = program
            .env
            .iter()
            .map(|(key, value)| text(&format!("{key}={value}")));
        Ok((
            text(&path)?,
            args.collect::<Result<_>>()?,
            env.collect::<Result<_>>()?,
        ))
    };
    let confinement = match program.rights.prepare() {
        Ok(confinement) => confinement,
        Err(error) => return error,
    };
    let (program_path, args, env) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return error,
    };
    let last_steps = || -> Result<()> {
        nix::unistd::setsid().doing(|| "lead a session")?;
        Labelling::new(&program.labels)?
            .set_for_exec()
            .map_err(|(label, errno)| {
                let doing = format!("confine by {}={}", label.key(), shown(label.as_str()));
                Error::sys(doing, errno)
            })?;
        confinement.enter()?;
        default_signals().doing(|| "reset signals")?;
        sys::cloexec_from(3).doing(|| "mark descriptors close-on-exec")
    };
    if let Err(error) = last_steps() {
        return error;
    }
    let errno = sys::exec(&program_path, &args, &env);
    cannot_run(&path, errno)
}

impl IntoErrno for std::ffi::NulError {
    fn into_errno(self) -> Errno {
        Errno::EINVAL
    }
}

/// How an init is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsualStop {
    /// By this signal.
    Signal(i32),
    /// By a command that is run inside.
    Command(&'static [&'static str]),
}

/// Returns how an init whose program has this path is asked to power off: sysvinit by telinit(8), runit by runit-init(8), which it links as /sbin/init,
/// systemd(1) and busybox by signals of their own. openrc-init(8) and s6-svscan take TERM.
pub fn usual_stop(program: &str) -> UsualStop {
    match program.rsplit('/').next().unwrap_or_default() {
        "systemd" => UsualStop::Signal(signal_number("RTMIN+3").unwrap_or(37)),
        "busybox" => UsualStop::Signal(Signal::SIGUSR2 as i32),
        "init" => UsualStop::Command(&["/sbin/telinit", "0"]),
        "runit" | "runit-init" => UsualStop::Command(&["/sbin/init", "0"]),
        _ => UsualStop::Signal(Signal::SIGTERM as i32),
    }
}

/// Logs the console of an init in the background until the init has ended. Returns the exit status.
pub(crate) fn log_console(socket: &OwnedFd, max: u64) -> u8 {
    // Signals of the tool's terminal must not end this process; other signals may.
    let _ = nix::unistd::setsid();
    let _ = default_signals();
    let logged = receive(socket).and_then(|received| {
        let Some((ToInit::Go, fds)) = received else {
            return Ok(());
        };
        let Ok([master, _slave, log, last, init]) = <[OwnedFd; 5]>::try_from(fds) else {
            return Ok(());
        };
        log::log_console(&master, &log::Log::new(log, max), &init)?;
        let status = wait_status(&init);
        let (exit, signal) = match status {
            Some(status) if status & 0x7f == 0 => (Some(status >> 8 & 0xff), None),
            Some(status) => (None, Some(status & 0x7f)),
            None => (None, None),
        };
        record(&File::from(last), exit, signal);
        Ok(())
    });
    u8::from(logged.is_err())
}

/// Returns the wait status of an init. The kernel has it after the init of the host has reaped the process.
fn wait_status(init: &OwnedFd) -> Option<i32> {
    (0..50).find_map(|_| {
        sys::pidfd_exit_status(init).or_else(|| {
            std::thread::sleep(Duration::from_millis(10));
            None
        })
    })
}
