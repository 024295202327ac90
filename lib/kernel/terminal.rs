//! Terminals: which of our descriptors are one, a pair of the subhost's own, and the loop that
//! carries bytes, window size and signals between the caller's terminal and the inside until the
//! command has ended. Standard input that is no terminal is never read here.

use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
pub use crate::kernel::signals::Signals;
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, openat};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// DEVPTS_SUPER_MAGIC of `statfs(2)`.
const DEVPTS: i64 = 0x1cd1;

/// How the caller's 0, 1 and 2 are to reach the inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StdioMode {
    /// Which become the inside terminal's slave; none: there is no terminal inside.
    pub slaves: [bool; 3],
    /// The caller's input is read and its terminal set to raw mode.
    pub reads: bool,
    /// Which descriptor what the inside writes to its terminal goes to.
    pub writes: usize,
}

/// What the user said about a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtyMode {
    /// Nothing: as the descriptors are.
    Auto,
    /// `-t`: one in any case.
    Always,
    /// `-T`: none.
    Never,
}

fn standard(fd: usize) -> BorrowedFd<'static> {
    match fd {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

/// No terminal inside.
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
    /// By what the descriptors are. LXC found that 1 or 2 can be the terminal while 0 is not.
    pub fn new(wish: TtyMode) -> Self {
        let ttys = [0, 1, 2].map(|fd| isatty(standard(fd)));
        let slaves = match wish {
            TtyMode::Never => [false; 3],
            TtyMode::Always => [true; 3],
            TtyMode::Auto => ttys,
        };
        let first = |wanted: [usize; 3]| wanted.into_iter().find(|fd| ttys[*fd]);
        Self {
            slaves,
            // With a pipe on either side somebody else's input would be swallowed.
            reads: wish == TtyMode::Always || (wish == TtyMode::Auto && ttys[0] && ttys[1]),
            writes: match wish {
                TtyMode::Always => 1,
                _ => first([1, 2, 0]).unwrap_or(1),
            },
        }
    }

    /// Is there a terminal inside?
    pub fn any(&self) -> bool {
        self.slaves.iter().any(|slave| *slave)
    }

    /// Does somebody sit there who wants to be told things?
    pub fn interactive(&self) -> bool {
        self.any() && self.reads
    }
}

/// A terminal of the subhost's own.
#[derive(Debug)]
pub struct Terminal {
    /// Our side.
    pub master: OwnedFd,
    /// The inside's. Kept open here as well: an inside that closes its last descriptor and opens
    /// the terminal again must not look like one that has ended.
    pub slave: OwnedFd,
}

/// A pair in the devpts that is mounted here, that is in the subhost whose root is ours. What lies
/// at the path is the subhost's and may be anything (CVE-2025-52565): it is checked.
///
/// # Errors
/// There is no devpts, or something else in its place.
pub fn pair() -> Result<Terminal> {
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
        sys::pty_unlock(&master)?;
        let slave = sys::pty_peer(&master)?;
        Ok(Terminal { master, slave })
    };
    open().doing(|| "open a terminal inside")
}

/// The caller's terminal in raw mode; as it was when this goes.
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

/// Carries bytes, size and signals until the process of `child` has ended.
///
/// # Errors
/// The wait itself failed.
pub fn relay(
    stdio: StdioMode,
    terminal: Option<&Terminal>,
    signals: &Signals,
    child: &OwnedFd,
    hand_on: impl Fn(i32),
) -> Result<()> {
    let master = terminal.map(|terminal| &terminal.master);
    let raw = match (stdio.reads, master) {
        (true, Some(_)) => Raw::new(),
        _ => None,
    };
    let mut output = Output::new(master, stdio.writes);
    let mut input = Input::new(stdio.reads && master.is_some());
    resize(master, stdio);
    loop {
        let mut fds = vec![
            PollFd::new(child.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let master_at = master
            .filter(|_| output.open || input.pending())
            .map(|master| {
                let mut events = PollFlags::empty();
                if output.open {
                    events |= PollFlags::POLLIN;
                }
                if input.pending() {
                    events |= PollFlags::POLLOUT;
                }
                fds.push(PollFd::new(master.as_fd(), events));
                fds.len() - 1
            });
        let input_at = (input.open && !input.pending()).then(|| {
            fds.push(PollFd::new(standard(0), PollFlags::POLLIN));
            fds.len() - 1
        });
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other.doing(|| "wait for the command inside")?,
        };
        let ready = |at: usize| fds[at].any().unwrap_or(false);
        if ready(1) {
            while let Some(signal) = signals.next() {
                if signal == Signal::SIGWINCH as i32 {
                    resize(master, stdio);
                } else {
                    hand_on(signal);
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
        if ready(0) {
            break;
        }
    }
    if let Some(master) = master {
        // What was written before the end is still in the terminal; what a process in the
        // background goes on writing has no end.
        let _ = (0..REST).all(|_| output.pass(master));
    }
    drop(raw);
    Ok(())
}

fn resize(master: Option<&OwnedFd>, stdio: StdioMode) {
    let Some(master) = master else { return };
    let size = [stdio.writes, 0, 1, 2]
        .into_iter()
        .find_map(|fd| sys::window_size(standard(fd)).ok());
    if let Some(size) = size {
        let _ = sys::set_window_size(master, &size);
    }
}

/// How many buffers are taken from the terminal after the end: more than the kernel's (64 KiB).
const REST: usize = 16;

/// From the inside's terminal to the caller.
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

    /// One buffer; false if there is nothing now.
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

/// From the caller's terminal to the inside's; never blocks on an inside that does not read.
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

    fn pending(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(standard(0), &mut buffer) {
            Ok(0) => {
                self.open = false;
                // What a terminal says at the end of input.
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
            // The caller's end is gone; the command inside goes on.
            Err(_) => return,
        }
    }
}

/// The failure of a child that could not say why.
pub fn lost() -> Error {
    Error::new(
        crate::base::error::Exit::Failed,
        "the inside ended before it was up",
    )
}

/// The terminal that a process has open as its standard input, output or error.
pub fn tty_of(pid: i32) -> Option<String> {
    (0..3).find_map(|fd| {
        let path = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let terminal = path.starts_with("/dev/pts") || path.starts_with("/dev/tty");
        terminal.then(|| shown(path))
    })
}
