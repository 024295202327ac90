//! The PID 1 of the tools while the subhost runs: it starts the command, reaps processes, forwards signals,
//! writes the log, and ends when it is asked to or the command has ended.

use super::spec::{Main, Process};
use crate::base::error::{Doing, Errno, Error, Result};
use crate::base::protocol::{FromInit, ToInit};
use crate::init::log::Log;
use crate::kernel::clock::now;
use crate::kernel::lsm::Labelling;
use crate::kernel::packets::{Received, receive_any, send};
use crate::kernel::proc::shell_status;
use crate::kernel::spawn::{Entry, Exec};
use crate::login::{Setup, cannot_run};
use crate::state::Last;
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::pipe::PipeFlags;
use rustix::process::{WaitOptions, wait};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The time between TERM and HUP. Interactive shells ignore TERM but not HUP. HUP comes later, because the kernel
/// delivers HUP before a pending TERM.
const TERM_TO_HUP: Duration = Duration::from_millis(100);

/// Whether the tool still has its end of the socket open.
enum Peer {
    Present,
    Gone,
}

/// The state of PID 1.
pub(super) struct Reaper<'a> {
    socket: &'a OwnedFd,
    process: &'a Process,
    signals: SignalFd,
    last: File,
    /// The pipe with the output of the command and its descendants, and the log.
    output: Option<(File, Log)>,
    /// Whether PID 1 runs a command.
    has_command: bool,
    /// The pid of the command while it runs.
    command: Option<i32>,
    /// The exit status of the command.
    status: Option<u8>,
    /// The time at which a stop ends by force; none if no stop has begun.
    stop_deadline: Option<Instant>,
    /// The time at which all processes got TERM.
    term_sent: Option<Instant>,
    /// Whether all processes got HUP as well.
    hup_sent: bool,
}

impl<'a> Reaper<'a> {
    pub(super) fn new(socket: &'a OwnedFd, process: &'a Process, last: File) -> Result<Self> {
        let all = SigSet::all();
        // PID 1 loses signals without a handler, but blocked ones stay pending (signal(7)).
        all.thread_block().doing(|| "block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&all, flags).doing(|| "open the signals")?;
        Ok(Self {
            socket,
            process,
            signals,
            last,
            output: None,
            has_command: false,
            command: None,
            status: None,
            stop_deadline: None,
            term_sent: None,
            hup_sent: false,
        })
    }

    /// Runs `main`, which is not an init, and returns the exit status of PID 1.
    pub(super) fn run(mut self, main: &Main, terminal: Option<OwnedFd>) -> Result<u8> {
        nix::unistd::setsid().doing(|| "lead a session")?;
        // PID 1 needs no capabilities from here on. It drops them after it has spawned the command.
        let rights = self.process.rights.for_init();
        let confinement = Rc::new(rights.prepare()?);
        if let Main::Run(program) = main {
            let command_confinement = match program.rights == rights {
                true => confinement.clone(),
                false => Rc::new(program.rights.prepare()?),
            };
            let (slaves, labels) = (self.process.slaves, Labelling::new(&program.labels)?);
            let setup = Setup {
                terminal: terminal.as_ref(),
                labels,
                confinement: command_confinement,
                userns: None,
            };
            let mut command = program.prepare_on_terminal(slaves, setup)?;
            if let Some(max) = self.process.log_max {
                self.output = Some(pipe_to_log(&mut command, max)?);
            }
            let name = command.program().to_owned();
            let child = command
                .spawn(CloneFlags::empty(), &Entry::default(), || Ok(()))
                .map_err(|errno| cannot_run(&name, errno))?;
            self.has_command = true;
            self.command = Some(child.id());
            std::env::set_current_dir("/").doing(|| "change to / inside")?;
        }
        drop(terminal);
        confinement.enter()?;
        send(self.socket, &FromInit::Up, &[])?;
        self.wait_and_drain()
    }

    /// Waits for the end and appends the rest of the output to the log.
    fn wait_and_drain(&mut self) -> Result<u8> {
        let status = self.wait();
        if let Some((pipe, log)) = &self.output {
            // A bounded number of reads: a process may still be writing without end.
            for _ in 0..64 {
                let more = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], 0u8);
                if !matches!(more, Ok(1)) || !log.append_from(pipe) {
                    break;
                }
            }
        }
        status
    }

    /// Serves signals, messages and output until the command has ended or a stop is complete.
    fn wait(&mut self) -> Result<u8> {
        let mut listening = true;
        loop {
            self.reap();
            if self.has_command && self.command.is_none() && self.stop_deadline.is_none() {
                return Ok(self.status.unwrap_or(0));
            }
            if let Some(deadline) = self.stop_deadline {
                if self.command.is_none() && self.term_sent.is_none() {
                    self.terminate_all();
                    continue;
                }
                if (self.term_sent.is_some() && !has_children()) || Instant::now() >= deadline {
                    return Ok(self.status.unwrap_or(0));
                }
                let is_due = |sent: Instant| sent.elapsed() >= TERM_TO_HUP;
                if !self.hup_sent && self.term_sent.is_some_and(is_due) {
                    self.hup_sent = true;
                    let _ = sys::kill(-1, Signal::SIGHUP as i32);
                }
            }
            // In place of a closed descriptor, poll gets that of the signals.
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
            match poll(&mut fds, self.poll_timeout()) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::sys("wait for signals", errno)),
            }
            let [_, has_message, has_output] = fds.map(|fd| fd.any().unwrap_or(false));
            self.handle_signals();
            if has_output
                && self
                    .output
                    .as_ref()
                    .is_some_and(|(pipe, log)| !log.append_from(pipe))
            {
                self.output = None;
            }
            if has_message && listening {
                match self.handle_message() {
                    Peer::Present => {}
                    // A boot that is tied to the tool ends with it; another one continues.
                    Peer::Gone if self.process.tied => return Ok(self.status.unwrap_or(0)),
                    Peer::Gone => listening = false,
                }
            }
        }
    }

    /// Receives a message of the tool and does what it asks for.
    fn handle_message(&mut self) -> Peer {
        match receive_any(self.socket) {
            Ok(Received::Message(ToInit::Signal(signal), _)) => match self.command {
                // Like a terminal, to the foreground process group of the command.
                Some(pid) => drop(sys::kill(-pid, signal)),
                // Without a command, a signal that would end one ends PID 1.
                None => self.stop(self.process.stop_timeout),
            },
            Ok(Received::Message(..) | Received::Unknown) => {
                let _ = send(self.socket, &FromInit::Unknown, &[]);
            }
            Ok(Received::End) | Err(_) => return Peer::Gone,
        }
        Peer::Present
    }

    /// Returns the time until the next signal of a stop is due; none without a stop.
    fn poll_timeout(&self) -> PollTimeout {
        let Some(deadline) = self.stop_deadline else {
            return PollTimeout::NONE;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let longest = if self.hup_sent {
            1000
        } else {
            TERM_TO_HUP.as_millis()
        };
        let millis = left.as_millis().clamp(1, longest) as u16;
        PollTimeout::from(millis)
    }

    /// Handles all pending signals.
    fn handle_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            // The kernel shows a sender in an outer pid namespace as 0. A signal from inside is meant for an init, as package
            // scripts send it, and must end neither the command nor the subhost.
            if info.ssi_pid != 0 {
                continue;
            }
            let timeout = match info.ssi_code {
                // subhost-stop says how long it waits, in milliseconds.
                nix::libc::SI_QUEUE => {
                    Duration::from_millis(u64::from(info.ssi_int.unsigned_abs()))
                }
                _ => self.process.stop_timeout,
            };
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => {}
                Ok(Signal::SIGTERM) => self.stop(timeout),
                // The command of STOP has asked the command to end.
                Ok(Signal::SIGPWR) => {
                    self.begin_stop(timeout);
                }
                _ => self.forward(number),
            }
        }
    }

    /// Sends a signal to the command.
    fn forward(&self, signal: i32) {
        if let Some(pid) = self.command {
            let _ = sys::kill(pid, signal);
        }
    }

    /// Begins a stop and asks the command to end.
    fn stop(&mut self, timeout: Duration) {
        if self.begin_stop(timeout) {
            self.forward(self.process.stop_signal);
        }
    }

    /// Sets the deadline of a stop. Returns false if a stop has begun already.
    fn begin_stop(&mut self, timeout: Duration) -> bool {
        let begins = self.stop_deadline.is_none();
        if begins {
            self.stop_deadline = Some(Instant::now() + timeout);
        }
        begins
    }

    /// Asks all processes to end, after the command has ended.
    fn terminate_all(&mut self) {
        self.term_sent = Some(Instant::now());
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            let _ = sys::kill(-1, signal as i32);
        }
    }

    /// Reaps all processes that have ended, and records the end of the command.
    fn reap(&mut self) {
        loop {
            // Not by nix, whose wait fails for a child that a real-time signal has killed.
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Err(rustix::io::Errno::INTR) => continue,
                Ok(None) | Err(_) => return,
            };
            if self.command == Some(pid.as_raw_nonzero().get()) {
                let (exit, signal) = (status.exit_status(), status.terminating_signal());
                self.command = None;
                self.status = Some(shell_status(exit, signal));
                record(&self.last, exit, signal);
            }
        }
    }
}

/// Makes a pipe for the output of the command. The command does not get the log itself: root inside could change
/// the file on the host through its descriptor.
fn pipe_to_log(command: &mut Exec, max: u64) -> Result<(File, Log)> {
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

/// Tells whether PID 1 has children, also ended ones.
fn has_children() -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::All, flags), Err(Errno::ECHILD))
}

/// Writes the record of the end of a run.
pub(super) fn record(file: &File, exit: Option<i32>, signal: Option<i32>) {
    let last = Last {
        when: now(),
        exit,
        signal,
        out_of_memory: None,
        killed: Vec::new(),
    };
    if let Ok(text) = serde_json::to_string(&last) {
        // The text is written before the file is cut, so that a reader never sees an empty file.
        let _ = file.write_all_at(text.as_bytes(), 0);
        let _ = file.set_len(text.len() as u64);
    }
}
