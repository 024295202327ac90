//! Terminals: which of our descriptors are one, a new one inside, and the loop that relays bytes, window size
//! and signals between the caller's terminal and that inside until the command has ended. Nothing here reads
//! a standard input that is not a terminal.

use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
pub use crate::kernel::signals::Signals;
use crate::kernel::stdio::standard;
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, openat};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// DEVPTS_SUPER_MAGIC of `statfs(2)`.
const DEVPTS: i64 = 0x1cd1;

/// How 0, 1 and 2 of the command inside are connected to those of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StdioMode {
    /// The descriptors that become the slave of a terminal inside; none if there is no terminal inside.
    pub slaves: [bool; 3],
    /// Whether the caller's standard input is read, and its terminal set to raw mode.
    pub reads: bool,
    /// The descriptor of the caller that gets the output of the terminal inside.
    pub writes: usize,
}

/// The user's choice of a terminal inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtyMode {
    /// A descriptor is a terminal inside if it is one outside.
    Auto,
    /// All descriptors are a terminal inside (`-t`).
    Always,
    /// No descriptor is a terminal inside (`-T`).
    Never,
}

/// There is no terminal inside.
impl Default for StdioMode {
    fn default() -> Self {
        Self {
            slaves: [false; 3],
            reads: false,
            writes: 1,
        }
    }
}

impl StdioMode {
    /// Makes the mode from our descriptors. 1 or 2 can be a terminal while 0 is not, as LXC found.
    pub fn new(choice: TtyMode) -> Self {
        let ttys = [0, 1, 2].map(|fd| isatty(standard(fd)));
        let slaves = match choice {
            TtyMode::Never => [false; 3],
            TtyMode::Always => [true; 3],
            TtyMode::Auto => ttys,
        };
        let first = |wanted: [usize; 3]| wanted.into_iter().find(|fd| ttys[*fd]);
        Self {
            slaves,
            // With a pipe on either side, reading would take input that is meant for another program.
            reads: choice == TtyMode::Always || (choice == TtyMode::Auto && ttys[0] && ttys[1]),
            writes: match choice {
                TtyMode::Always => 1,
                _ => first([1, 2, 0]).unwrap_or(1),
            },
        }
    }

    /// Tells whether there is a terminal inside.
    pub fn has_terminal(&self) -> bool {
        self.slaves.iter().any(|slave| *slave)
    }

    /// Tells whether a person sits at the terminal, for whom notices are.
    pub fn is_interactive(&self) -> bool {
        self.has_terminal() && self.reads
    }
}

/// A pseudoterminal of the subhost.
#[derive(Debug)]
pub struct Terminal {
    /// The master, which is ours.
    pub master: OwnedFd,
    /// The slave, which is for the processes inside. It stays open here: if they close their last descriptor
    /// and open the terminal again, that must not look like their end.
    pub slave: OwnedFd,
}

/// Opens a terminal in the devpts at /dev/pts of our root, which is that of the subhost. A process inside may
/// have replaced that path (CVE-2025-52565), so the result is checked.
///
/// # Errors
/// There is no devpts, or something else in its place.
pub fn open_pair() -> Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = || -> std::result::Result<Terminal, Errno> {
        let master =
            openat(CWD, "/dev/pts/ptmx", flags, Mode::empty()).map_err(IntoErrno::into_errno)?;
        let stat = fstat(&master).map_err(IntoErrno::into_errno)?;
        let fs = fstatfs(&master).map_err(IntoErrno::into_errno)?;
        let is_ptmx = (
            nix::libc::major(stat.st_rdev),
            nix::libc::minor(stat.st_rdev),
        ) == (5, 2);
        if !is_ptmx || fs.f_type as i64 != DEVPTS {
            return Err(Errno::ENOTTY);
        }
        sys::unlock_pty(&master)?;
        let slave = sys::open_pty_peer(&master)?;
        Ok(Terminal { master, slave })
    };
    open().doing(|| "open a terminal inside")
}

/// Raw mode of the caller's terminal. Dropping it restores the old mode.
struct Raw(Termios);

impl Raw {
    fn new() -> Option<Self> {
        let before = tcgetattr(standard(0)).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(standard(0), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(standard(0), OptionalActions::Drain, &self.0);
    }
}

/// The ends that [`Relay::run`] connects.
pub struct Relay<'a> {
    /// How our descriptors are connected.
    pub stdio: StdioMode,
    /// The terminal inside, if there is one.
    pub terminal: Option<&'a Terminal>,
    /// The signals to forward.
    pub signals: &'a Signals,
    /// The pidfd of the command inside.
    pub child: &'a OwnedFd,
}

impl Relay<'_> {
    /// Relays bytes, window size and signals until the command has ended. `forward` delivers a signal.
    ///
    /// # Errors
    /// The errno of poll(2).
    pub fn run(self, forward: impl Fn(i32)) -> Result<()> {
        let master = self.master();
        let raw = match (self.stdio.reads, master) {
            (true, Some(_)) => Raw::new(),
            _ => None,
        };
        let mut output = Output::new(master, self.stdio.writes);
        let mut input = Input::new(self.stdio.reads && master.is_some());
        self.resize();
        while !self.poll_once(&mut input, &mut output, &forward)? {}
        if let Some(master) = master {
            // The terminal still holds what the command wrote before its end. A process in the background
            // may write without end.
            let _ = (0..REST).all(|_| output.pass(master));
        }
        drop(raw);
        Ok(())
    }

    fn master(&self) -> Option<&OwnedFd> {
        self.terminal.map(|terminal| &terminal.master)
    }

    /// Waits for an event and serves all that are ready. Tells whether the command has ended.
    fn poll_once(
        &self,
        input: &mut Input,
        output: &mut Output,
        forward: &impl Fn(i32),
    ) -> Result<bool> {
        let master = self.master();
        let mut fds = vec![
            PollFd::new(self.child.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let master_at = master
            .filter(|_| output.open || input.has_pending())
            .map(|master| {
                let mut events = PollFlags::empty();
                if output.open {
                    events |= PollFlags::POLLIN;
                }
                if input.has_pending() {
                    events |= PollFlags::POLLOUT;
                }
                fds.push(PollFd::new(master.as_fd(), events));
                fds.len() - 1
            });
        let input_at = (input.open && !input.has_pending()).then(|| {
            fds.push(PollFd::new(standard(0), PollFlags::POLLIN));
            fds.len() - 1
        });
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(false),
            other => other.doing(|| "wait for the command inside")?,
        };
        let ready = |at: usize| fds[at].any().unwrap_or(false);
        if ready(1) {
            while let Some(signal) = self.signals.next() {
                if signal == Signal::SIGWINCH as i32 {
                    self.resize();
                } else {
                    forward(signal);
                }
            }
        }
        if input_at.is_some_and(ready) {
            input.read();
        }
        if let (Some(at), Some(master)) = (master_at, master)
            && ready(at)
        {
            input.write(master);
            output.pass(master);
        }
        Ok(ready(0))
    }

    /// Gives the terminal inside the window size of the caller's terminal.
    fn resize(&self) {
        let Some(master) = self.master() else { return };
        let size = [self.stdio.writes, 0, 1, 2]
            .into_iter()
            .find_map(|fd| sys::window_size(standard(fd)).ok());
        if let Some(size) = size {
            let _ = sys::set_window_size(master, &size);
        }
    }
}
/// The number of buffers that are read from the terminal after the end: more than the 64 KiB of the kernel.
const REST: usize = 16;

/// The direction from the terminal inside to the caller.
struct Output {
    to: usize,
    open: bool,
}

impl Output {
    fn new(master: Option<&OwnedFd>, to: usize) -> Self {
        Self {
            to,
            open: master.is_some(),
        }
    }

    /// Passes one buffer on; false if there is nothing to read now.
    fn pass(&mut self, master: &OwnedFd) -> bool {
        let mut buffer = [0; 16384];
        match rustix::io::read(master, &mut buffer) {
            Ok(0) => self.open = false,
            Ok(count) => {
                write_all(standard(self.to), &buffer[..count]);
                return true;
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.open = false,
        }
        false
    }
}

/// The direction from the caller's terminal to that inside. It never blocks if nobody reads there.
struct Input {
    buffer: Vec<u8>,
    open: bool,
}

impl Input {
    fn new(open: bool) -> Self {
        Self {
            buffer: Vec::new(),
            open,
        }
    }

    fn has_pending(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(standard(0), &mut buffer) {
            Ok(0) => {
                self.open = false;
                // EOT (Control-D), which marks the end of input at a terminal.
                self.buffer.push(4);
            }
            Ok(count) => self.buffer.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => self.open = false,
        }
    }

    fn write(&mut self, master: &OwnedFd) {
        if self.buffer.is_empty() {
            return;
        }
        match rustix::io::write(master, &self.buffer) {
            Ok(count) => drop(self.buffer.drain(..count)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.buffer.clear(),
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let _ = poll(
                    &mut [PollFd::new(to, PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                );
            }
            // The caller has closed its end. The command inside continues.
            Err(_) => return,
        }
    }
}

/// Makes the failure of a process that ended without a report.
pub fn lost() -> Error {
    Error::new(
        crate::base::error::Exit::Failed,
        "PID 1 ended before it was up",
    )
}

/// Returns the terminal that a process has open as its standard input, output or error; none if it has
/// none.
pub fn tty_of(pid: i32) -> Option<String> {
    (0..3).find_map(|fd| {
        let path = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let terminal = path.starts_with("/dev/pts") || path.starts_with("/dev/tty");
        terminal.then(|| shown(path))
    })
}
