//! Our PID 1 while the subhost runs: starts its command, reaps, hands signals on, writes the log, and
//! ends when it is told to or the command has ended.

use super::spec::{Main, Process};
use crate::base::error::{Doing, Errno, Error, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::init::log::Log;
use crate::kernel::clock::now;
use crate::kernel::lsm::Labelling;
use crate::kernel::packets::{Received, receive_any, send};
use crate::kernel::spawn::{Entry, Exec};
use crate::login::{Setup, cannot_run};
use crate::state::Last;
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::pipe::PipeFlags;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Interactive shells take no notice of TERM but of HUP. Not at once: of two signals that wait,
/// HUP would be delivered first.
const TERM_TO_HUP: Duration = Duration::from_millis(100);

/// Reaps and waits.
pub(super) struct Reaper<'a> {
    socket: &'a OwnedFd,
    process: &'a Process,
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
    pub(super) fn new(socket: &'a OwnedFd, process: &'a Process, last: File) -> Result<Self> {
        let all = SigSet::all();
        // A blocked signal is kept even for PID 1, which ignores what it has no handler for.
        all.thread_block().doing(|| "block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&all, flags).doing(|| "open the signals")?;
        Ok(Self {
            socket,
            process,
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

    pub(super) fn run(mut self, main: &Main, terminal: Option<OwnedFd>) -> Result<u8> {
        nix::unistd::setsid().doing(|| "lead a session")?;
        // Whatever we need capabilities for is done; what we start must not have more than we.
        let rights = self.process.rights.for_init();
        let confinement = Rc::new(rights.prepare()?);
        if let Main::Run(program) = main {
            let its = match program.rights == rights {
                true => confinement.clone(),
                false => Rc::new(program.rights.prepare()?),
            };
            let (slaves, labels) = (self.process.slaves, Labelling::new(&program.labels)?);
            let setup = Setup {
                terminal: terminal.as_ref(),
                labels,
                confinement: its,
                userns: None,
            };
            let mut command = program.prepare_on_terminal(slaves, setup)?;
            if let Some(max) = self.process.log_max {
                self.output = Some(logged(&mut command, max)?);
            }
            let name = command.program().to_owned();
            let child = command
                .spawn(CloneFlags::empty(), &Entry::default(), || Ok(()))
                .map_err(|errno| cannot_run(&name, errno))?;
            self.command = Some(child.id());
            std::env::set_current_dir("/").doing(|| "change to / inside")?;
        }
        drop(terminal);
        confinement.enter()?;
        send(self.socket, &FromInit::Up, &[])?;
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
                match receive_any(self.socket) {
                    Ok(Received::Message(ToInit::Signal(signal), _)) => match self.command {
                        // As a terminal's would: to all that the command has in the foreground.
                        Some(pid) => drop(sys::kill(-pid, signal)),
                        // Holding in the foreground: whatever would end a command ends us.
                        None => self.stop(),
                    },
                    Ok(Received::Message(..) | Received::Unknown) => {
                        let _ = send(self.socket, &FromInit::Unknown, &[]);
                    }
                    // The tool is gone. Its boot ends with it, or it left us to ourselves.
                    _ if self.process.tied => return Ok(self.status.unwrap_or(0)),
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
            self.hand_on(self.process.stop_signal);
        }
    }

    /// False if it is stopping already.
    fn begin_stop(&mut self) -> bool {
        let begins = self.stopping.is_none();
        if begins {
            self.stopping = Some(Instant::now() + self.process.stop_timeout);
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
fn logged(command: &mut Exec, max: u64) -> Result<(File, Log)> {
    let mut make = || -> std::io::Result<(File, Log)> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        command.stdio(1, write.try_clone()?);
        command.stdio(2, write);
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
pub(super) fn record(file: &File, exit: Option<i32>, signal: Option<i32>) {
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
