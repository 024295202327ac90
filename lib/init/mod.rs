//! PID 1 of a subhost: makes its world, runs one command, reaps what dies, and ends when it is
//! told to or the command has ended. All else inside ends with it.
//!
//! What runs here runs for months: it allocates nothing after start, and holds no descriptor of
//! the host but the state file that it was given.

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
use crate::kernel::lsm::Labelling;
use crate::kernel::packets::{receive, send};
use crate::kernel::signals::{default_signals, signal_number};
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

/// Becomes the helper of a network, once it has been recorded.
pub(crate) fn helper(socket: &OwnedFd, program: &str, args: &[&str]) -> u8 {
    let _ = sys::cloexec_from(3);
    let _ = nix::unistd::setsid();
    if let Ok(Some((ToInit::Go, _))) = receive(socket) {
        let errno = Command::new(program).args(args).exec();
        eprintln!("cannot run {program}: {errno}");
    }
    126
}

/// What a process of ours does before it becomes PID 1, or logs the console of one: it cuts what ties it
/// to whoever called.
pub(crate) fn begin() {
    let _ = sys::cloexec_from(3);
    // We were executed by the number of a descriptor.
    let _ = rustix::thread::set_name(c"subhost-init");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Nobody inside may look into us: our program and our descriptors are the host's.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // What cron or init thought of killing first is not for us to inherit.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
}

/// Becomes PID 1, by way of a user namespace if it `crosses`. Gives the status that it ends with.
pub(crate) fn pid_1(socket: &OwnedFd, crosses: bool) -> u8 {
    boot(socket, crosses).unwrap_or_else(|error| {
        let _ = send(socket, &FromInit::failed(error), &[]);
        125
    })
}

fn boot(socket: &OwnedFd, crosses: bool) -> Result<u8> {
    let mut picked = None;
    if crosses {
        let Some(made) = userns::enter(socket)? else {
            return Ok(125);
        };
        picked = Some(made);
    }
    // The tool that spawned us may be gone already.
    let Some((ToInit::Go, fds)) = receive(socket)? else {
        return Ok(125);
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(terminal::lost);
    let (text, last) = (next()?, File::from(next()?));
    let network = fds.next();
    let spec = read(text)?;
    tree::assemble(&spec, network.as_ref(), picked)?;
    drop(network);
    let terminal = if spec.process.slaves.contains(&true) {
        let pair = terminal::open_pair()?;
        tree::console(&pair.slave)?;
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

fn read(memfd: OwnedFd) -> Result<Spec> {
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

/// Executes the tree's own init in our place. Returns only if that fails.
fn become_init(program: &Program, terminal: Option<&OwnedFd>, slaves: [bool; 3]) -> Error {
    let path = program.argv.first().cloned().unwrap_or_default();
    let prepare = || -> Result<(CString, Vec<CString>, Vec<CString>)> {
        for (fd, is_slave) in slaves.into_iter().enumerate() {
            let null = null_instead(fd)?;
            let Some(instead) = terminal.filter(|_| is_slave).or(null.as_ref()) else {
                continue;
            };
            let duplicated = match fd {
                0 => rustix::stdio::dup2_stdin(instead),
                1 => rustix::stdio::dup2_stdout(instead),
                _ => rustix::stdio::dup2_stderr(instead),
            };
            duplicated.doing(|| "take the console")?;
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
        sys::cloexec_from(3).doing(|| "let go of descriptors")
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

/// The signal that asks an init or a command of this program to end, where the config says
/// nothing (systemd(1), busybox init.c); none: it wants a command, `telinit 0`.
pub fn usual_stop(program: &str) -> Option<i32> {
    match program.rsplit('/').next().unwrap_or_default() {
        "systemd" => signal_number("RTMIN+3"),
        "busybox" => Some(Signal::SIGUSR2 as i32),
        "init" => None,
        _ => Some(Signal::SIGTERM as i32),
    }
}

/// Logs the console of an init in the background. Gives the status.
pub(crate) fn log_console(socket: &OwnedFd, max: u64) -> u8 {
    // Not to be ended by what ends the tool's terminal; by all else as usual.
    let _ = nix::unistd::setsid();
    let _ = default_signals();
    let logged = receive(socket).and_then(|received| {
        let Some((ToInit::Go, fds)) = received else {
            return Ok(());
        };
        let Ok([master, _slave, log, last, init]) = <[OwnedFd; 5]>::try_from(fds) else {
            return Ok(());
        };
        log::console(&master, &log::Log::new(log, max), &init)?;
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

/// The kernel tells once somebody has reaped it, which the host's init does soon.
fn wait_status(init: &OwnedFd) -> Option<i32> {
    (0..50).find_map(|_| {
        sys::pidfd_exit_status(init).or_else(|| {
            std::thread::sleep(Duration::from_millis(10));
            None
        })
    })
}
