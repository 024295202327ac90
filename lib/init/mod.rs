//! PID 1 of a subhost: makes its world, runs one command, reaps what dies, and ends when it is
//! told to or the command has ended. All else inside ends with it.
//!
//! What runs here runs for months: it allocates nothing after start, and holds no descriptor of
//! the host but the state file that it was given.

mod cross;
mod dev;
mod masks;
mod nodes;
mod pick;
pub mod spec;
mod tree;

use crate::config::signal_number;
use crate::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::log::Log;
use crate::login::{Program, cannot_run, default_signals, null_instead};
use crate::state::{Last, now};
use crate::{lsm, sys, terminal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::pipe::PipeFlags;
use spec::{Go, Hand, Main, Report, Spec, receive, send};
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Interactive shells take no notice of TERM but of HUP. Not at once: of two signals that wait,
/// HUP would be delivered first.
const TERM_TO_HUP: Duration = Duration::from_millis(100);

/// `subhost-init N`: N is the socket to the tool that boots. `subhost-init --cross N`: the same by way
/// of a user namespace. `subhost-init --console N MAX`: logs an init's console, MAX bytes of it.
/// `subhost-init --world N`: holds an ordinary user's world. `subhost-init --helper N PROGRAM`: runs
/// the helper of a network of his.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let adopted = |number: &str| number.parse().ok().and_then(|fd| sys::adopt(fd).ok());
    if let ["--world", number] = words[..]
        && let Some(socket) = adopted(number)
    {
        return world(socket);
    }
    if let ["--helper", number, program, ..] = words[..]
        && let Some(socket) = adopted(number)
    {
        return helper(&socket, program, &words[3..]);
    }
    let (socket, log_max) = match words[..] {
        [number] | ["--cross", number] => (adopted(number), None),
        ["--console", number, max] => (adopted(number), max.parse().ok()),
        _ => (None, None),
    };
    let Some(socket) = socket else {
        eprintln!("subhost-init: PID 1 of a subhost; subhost-start and subhost-enter run it");
        return ExitCode::from(2);
    };
    let _ = sys::cloexec_from(3);
    // We were executed by the number of a descriptor.
    let _ = rustix::thread::set_name(c"subhost-init");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Nobody inside may look into us: our program and our descriptors are the host's.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // What cron or init thought of killing first is not for us to inherit.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    if let Some(max) = log_max {
        return log(&socket, max);
    }
    match boot(&socket, words.len() == 2) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let _ = send(&socket, &Report::failed(error), &[]);
            ExitCode::from(125)
        }
    }
}

/// Becomes the helper of a network, once it has been recorded.
fn helper(socket: &OwnedFd, program: &str, args: &[&str]) -> ExitCode {
    let _ = sys::cloexec_from(3);
    let _ = nix::unistd::setsid();
    if let Ok(Some((Go, _))) = receive::<Go>(socket) {
        let errno = Command::new(program).args(args).exec();
        eprintln!("cannot run {program}: {errno}");
    }
    ExitCode::from(126)
}

/// Holds a user's world. Not hidden as PID 1 is: the user's tools have to get at it.
fn world(socket: OwnedFd) -> ExitCode {
    let _ = sys::cloexec_from(3);
    let _ = rustix::thread::set_name(c"subhost-world");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = default_signals();
    ExitCode::from(crate::rootless::hold(socket))
}

fn boot(socket: &OwnedFd, crosses: bool) -> Result<u8> {
    let mut world = None;
    if crosses {
        let Some(made) = cross::cross(socket)? else {
            return Ok(125);
        };
        world = Some(made);
    }
    // The tool that spawned us may be gone already.
    let Some((Go, fds)) = receive(socket)? else {
        return Ok(125);
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(terminal::lost);
    let (text, last) = (next()?, File::from(next()?));
    let network = fds.next();
    let spec = read(text)?;
    tree::assemble(&spec, network.as_ref(), world)?;
    drop(network);
    let terminal = if spec.slaves.contains(&true) {
        let pair = terminal::pair()?;
        tree::console(&pair.slave)?;
        let fds = [pair.master.as_raw_fd(), pair.slave.as_raw_fd()];
        send(socket, &Report::Terminal, &fds)?;
        Some(pair.slave)
    } else {
        None
    };
    match &spec.main {
        Main::Init(program) => Err(become_init(program, terminal.as_ref(), spec.slaves)),
        main => Reaper::new(socket, &spec, last)?.run(main, terminal),
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
        let proc = lsm::proc()?;
        for label in &program.labels {
            let doing = || format!("confine by {}={}", label.key(), shown(label.as_str()));
            label.on_exec(&proc).doing(doing)?;
        }
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

/// Reaps and waits.
struct Reaper<'a> {
    socket: &'a OwnedFd,
    spec: &'a Spec,
    signals: SignalFd,
    last: File,
    /// What the command and its kin write, and where it is kept.
    output: Option<(File, Log)>,
    /// The command, while it lives.
    command: Option<i32>,
    /// How it ended.
    status: Option<u8>,
    /// Stopping: until when.
    stopping: Option<Instant>,
    /// Everything has been told to end: when.
    told: Option<Instant>,
    /// It has been told in the terms of terminals as well.
    hung_up: bool,
}

impl<'a> Reaper<'a> {
    fn new(socket: &'a OwnedFd, spec: &'a Spec, last: File) -> Result<Self> {
        let all = SigSet::all();
        // A blocked signal is kept even for PID 1, which ignores what it has no handler for.
        all.thread_block().doing(|| "block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&all, flags).doing(|| "open the signals")?;
        Ok(Self {
            socket,
            spec,
            signals,
            last,
            output: None,
            command: None,
            status: None,
            stopping: None,
            told: None,
            hung_up: false,
        })
    }

    fn run(mut self, main: &Main, terminal: Option<OwnedFd>) -> Result<u8> {
        nix::unistd::setsid().doing(|| "lead a session")?;
        // Whatever we need capabilities for is done; what we start must not have more than we.
        let confinement = self.spec.rights.of_init().prepare()?;
        if let Main::Run(program) = main {
            let mut command =
                program.command(terminal.as_ref(), self.spec.slaves, &lsm::proc()?, None)?;
            if let Some(max) = self.spec.log_max {
                self.output = Some(logged(&mut command, max)?);
            }
            let name = command.get_program().to_string_lossy().into_owned();
            let child = command
                .spawn()
                .map_err(|e| cannot_run(&name, e.into_errno()))?;
            self.command = i32::try_from(child.id()).ok();
            std::env::set_current_dir("/").doing(|| "change to / inside")?;
        }
        drop(terminal);
        confinement.enter()?;
        send(self.socket, &Report::Up, &[])?;
        self.hold(matches!(main, Main::Run(_)))
    }

    fn hold(&mut self, has_command: bool) -> Result<u8> {
        let status = self.wait(has_command);
        if let Some((pipe, log)) = &self.output {
            // What is left in a pipe: there is no end to what somebody may still be writing.
            for _ in 0..64 {
                let more = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], 0u8);
                if !matches!(more, Ok(1)) || !log.take_from(pipe) {
                    break;
                }
            }
        }
        status
    }

    fn wait(&mut self, has_command: bool) -> Result<u8> {
        let mut listening = true;
        loop {
            self.reap(has_command);
            if has_command && self.command.is_none() && self.stopping.is_none() {
                return Ok(self.status.unwrap_or(0));
            }
            if let Some(until) = self.stopping {
                if self.command.is_none() && self.told.is_none() {
                    self.tell_all();
                    continue;
                }
                if (self.told.is_some() && !has_children()) || Instant::now() >= until {
                    return Ok(self.status.unwrap_or(0));
                }
                if !self.hung_up && self.told.is_some_and(|told| told.elapsed() >= TERM_TO_HUP) {
                    self.hung_up = true;
                    let _ = sys::kill(-1, Signal::SIGHUP as i32);
                }
            }
            // What is not to be heard any more is stood for by the signals.
            let signals = self.signals.as_fd();
            let socket = if listening {
                self.socket.as_fd()
            } else {
                signals
            };
            let pipe = self
                .output
                .as_ref()
                .map_or(signals, |(pipe, _)| pipe.as_fd());
            let mut fds = [signals, socket, pipe].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, self.patience()) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::sys("wait for signals", errno)),
            }
            let [_, heard, written] = fds.map(|fd| fd.any().unwrap_or(false));
            self.signals();
            if written
                && self
                    .output
                    .as_ref()
                    .is_some_and(|(pipe, log)| !log.take_from(pipe))
            {
                self.output = None;
            }
            if heard && listening {
                match receive::<Hand>(self.socket) {
                    // As a terminal's would: to all that the command has in the foreground.
                    Ok(Some((Hand(signal), _))) if self.command.is_some() => {
                        let _ = self.command.map(|pid| sys::kill(-pid, signal));
                    }
                    // Holding in the foreground: whatever would end a command ends us.
                    Ok(Some(_)) => self.stop(),
                    // The tool is gone. Its boot ends with it, or it left us to ourselves.
                    _ if self.spec.tied => return Ok(self.status.unwrap_or(0)),
                    _ => listening = false,
                }
            }
        }
    }

    fn patience(&self) -> PollTimeout {
        let Some(until) = self.stopping else {
            return PollTimeout::NONE;
        };
        let left = until.saturating_duration_since(Instant::now());
        let longest = if self.hung_up {
            1000
        } else {
            TERM_TO_HUP.as_millis()
        };
        let millis = left.as_millis().clamp(1, longest) as u16;
        PollTimeout::from(millis)
    }

    fn signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => {}
                Ok(Signal::SIGTERM) => self.stop(),
                // The command has been asked to end by other means.
                Ok(Signal::SIGPWR) => {
                    self.begin_stop();
                }
                _ => self.hand_on(number),
            }
        }
    }

    fn hand_on(&self, signal: i32) {
        if let Some(pid) = self.command {
            let _ = sys::kill(pid, signal);
        }
    }

    fn stop(&mut self) {
        if self.begin_stop() {
            self.hand_on(self.spec.stop_signal);
        }
    }

    /// False if it is stopping already.
    fn begin_stop(&mut self) -> bool {
        let begins = self.stopping.is_none();
        if begins {
            self.stopping = Some(Instant::now() + self.spec.stop_timeout);
        }
        begins
    }

    /// The command has ended by itself or on request: the rest is asked to.
    fn tell_all(&mut self) {
        self.told = Some(Instant::now());
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            let _ = sys::kill(-1, signal as i32);
        }
    }

    fn reap(&mut self, has_command: bool) {
        loop {
            let (pid, exit, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, exit)) => (pid.as_raw(), Some(exit), None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid.as_raw(), None, Some(signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if has_command && self.command == Some(pid) {
                self.command = None;
                self.status = Some(match (exit, signal) {
                    (Some(exit), _) => exit as u8,
                    (_, signal) => 128 + signal.unwrap_or(0) as u8,
                });
                record(&self.last, exit, signal);
            }
        }
    }
}

/// A pipe to us as the command's output. Not the log itself: whoever is root inside could change the
/// host's file by its descriptor.
fn logged(command: &mut Command, max: u64) -> Result<(File, Log)> {
    let mut make = || -> std::io::Result<(File, Log)> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        command
            .stdout(Stdio::from(write.try_clone()?))
            .stderr(Stdio::from(write));
        let log = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok((File::from(read), Log::new(log, max)))
    };
    make().doing(|| "make the pipe to the log")
}

fn has_children() -> bool {
    use nix::sys::wait::{Id, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::All, flags), Err(Errno::ECHILD))
}

/// Writes how a run ended.
fn record(file: &File, exit: Option<i32>, signal: Option<i32>) {
    let last = Last {
        when: now(),
        exit,
        signal,
        out_of_memory: None,
    };
    if let Ok(text) = serde_json::to_string(&last) {
        // Shorter than before or not, a reader sees one of them: the new first, then the cut.
        let _ = file.write_all_at(text.as_bytes(), 0);
        let _ = file.set_len(text.len() as u64);
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

fn log(socket: &OwnedFd, max: u64) -> ExitCode {
    // Not to be ended by what ends the tool's terminal; by all else as usual.
    let _ = nix::unistd::setsid();
    let _ = default_signals();
    let logged = receive::<Go>(socket).and_then(|received| {
        let Some((Go, fds)) = received else {
            return Ok(());
        };
        let Ok([master, _slave, log, last, init]) = <[OwnedFd; 5]>::try_from(fds) else {
            return Ok(());
        };
        crate::log::console(&master, &Log::new(log, max), &init)?;
        let status = wait_status(&init);
        let (exit, signal) = match status {
            Some(status) if status & 0x7f == 0 => (Some(status >> 8 & 0xff), None),
            Some(status) => (None, Some(status & 0x7f)),
            None => (None, None),
        };
        record(&File::from(last), exit, signal);
        Ok(())
    });
    ExitCode::from(u8::from(logged.is_err()))
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
