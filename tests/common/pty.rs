//! Terminals: a program with a pseudo-terminal as its controlling terminal.

use super::Run;
use super::run::{command, status_code};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

/// A terminal of 33 rows and 77 columns, and the program that leads its session.
pub struct Pty {
    keys: File,
    slave: OwnedFd,
    child: Child,
    screen: Receiver<Vec<u8>>,
    seen: String,
    rest: usize,
    before: Termios,
}

impl Pty {
    /// Starts `run` by `setsid -c`: it leads a session, and the terminal is its controlling terminal.
    pub(super) fn start(run: Run) -> Self {
        let size = Winsize {
            ws_row: 33,
            ws_col: 77,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pair.slave).unwrap();
        let run = run.into_command();
        let mut command = command("/usr/bin/setsid");
        command
            .arg("-c")
            .arg(run.get_program())
            .args(run.get_args())
            .envs(run.get_envs().filter_map(|(k, v)| v.map(|v| (k, v))))
            .env("TERM", "vt100")
            .stdin(stdio(&pair.slave))
            .stdout(stdio(&pair.slave))
            .stderr(stdio(&pair.slave));
        let child = command.spawn().unwrap();
        let keys = File::from(pair.master);
        let mut screen = keys.try_clone().unwrap();
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut bytes) {
                if send.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            keys,
            slave: pair.slave,
            child,
            screen: receive,
            seen: String::new(),
            rest: 0,
            before,
        }
    }

    /// Returns the pid of the program.
    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Types the text as it is. Ctrl-C is `\x03`, Ctrl-Z `\x1a`, Ctrl-D `\x04`.
    pub fn keys(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
    }

    /// Types a line. The terminal echoes it: expect what the line does not contain, such as the result of
    /// `$((40+2))`.
    pub fn line(&mut self, text: &str) {
        self.keys(&format!("{text}\r"));
    }

    /// Reads until `pattern` is on the screen. Returns the text before it; the next call continues behind it.
    #[track_caller]
    pub fn expect(&mut self, pattern: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.seen[self.rest..].find(pattern) {
                let start = self.rest;
                self.rest += at + pattern.len();
                return self.seen[start..start + at].to_owned();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no '{pattern}' on the terminal in {LIMIT:?}, but:\n{}",
                self.seen
            );
            self.read(left.min(Duration::from_millis(50)));
        }
    }

    fn read(&mut self, patience: Duration) -> bool {
        let bytes = self.screen.recv_timeout(patience);
        if let Ok(bytes) = &bytes {
            self.seen.push_str(&String::from_utf8_lossy(bytes));
        }
        bytes.is_ok()
    }

    /// Returns all that was on the screen so far.
    pub fn seen(&mut self) -> &str {
        while self.read(Duration::from_millis(50)) {}
        &self.seen
    }

    /// Changes the size of the terminal. The kernel sends SIGWINCH to the foreground.
    pub fn resize(&self, rows: u16, columns: u16) {
        let status = Command::new("/usr/bin/stty")
            .args(["rows", &rows.to_string(), "columns", &columns.to_string()])
            .stdin(stdio(&self.slave))
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits until the program ends. Returns its exit status.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status_code(status);
            }
            self.read(Duration::from_millis(5));
            if Instant::now() > end {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("did not end in {LIMIT:?}; the terminal:\n{}", self.seen());
            }
        }
    }

    /// Asserts that the terminal's settings are as they were before the program ran.
    #[track_caller]
    pub fn restored(&self) {
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(self.before, after, "the terminal is not as it was");
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stdio(fd: &impl AsFd) -> Stdio {
    fd.as_fd().try_clone_to_owned().unwrap().into()
}
