//! Programs, run with a limit on their time, and their results.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn tool_path(name: &str) -> &'static str {
    match name {
        "subhost-mount" => env!("CARGO_BIN_EXE_subhost-mount"),
        "subhost-net" => env!("CARGO_BIN_EXE_subhost-net"),
        "subhost-enter" => env!("CARGO_BIN_EXE_subhost-enter"),
        "subhost-start" => env!("CARGO_BIN_EXE_subhost-start"),
        "subhost-stop" => env!("CARGO_BIN_EXE_subhost-stop"),
        "subhost-list" => env!("CARGO_BIN_EXE_subhost-list"),
        "subhost-info" => env!("CARGO_BIN_EXE_subhost-info"),
        "subhost-limit" => env!("CARGO_BIN_EXE_subhost-limit"),
        "subhost-config" => env!("CARGO_BIN_EXE_subhost-config"),
        "subhost-check" => env!("CARGO_BIN_EXE_subhost-check"),
        "subhost-init" => env!("CARGO_BIN_EXE_subhost-init"),
        other => panic!("no tool {other}"),
    }
}

/// Returns the directory of the built tools.
pub fn tools_dir() -> &'static str {
    let (dir, _) = tool_path("subhost-mount").rsplit_once('/').unwrap();
    dir
}

/// A program with its arguments and environment, run by one of `run`, `ok`, `silent`, `fails` or `start`.
pub struct Run {
    command: Command,
    input: Option<Vec<u8>>,
    limit: Duration,
}

/// Returns a command with an empty environment, in `/`, with all signals at their defaults. `make check &` and
/// nohup(1) ignore SIGINT, SIGQUIT or SIGHUP, and execve(2) keeps that: without this, a test of signals would depend
/// on who runs the tests.
#[allow(unsafe_code)]
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/");
    let reset = || {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        for signal in Signal::iterator() {
            // SIGKILL and SIGSTOP fail: they are always at their defaults.
            // SAFETY: no handler is installed.
            let _ = unsafe { sigaction(signal, &default) };
        }
        Ok(())
    };
    // SAFETY: `reset` only makes system calls and allocates nothing.
    unsafe { command.pre_exec(reset) };
    command
}

impl Run {
    fn new(program: &str) -> Self {
        let command = command(program);
        Self {
            command,
            input: None,
            limit: LIMIT,
        }
    }

    pub(super) fn tool(subhost: &Path, line: &str) -> Self {
        let mut words = line.split_whitespace();
        Self::new(tool_path(words.next().unwrap()))
            .env("SUBHOST", subhost.to_str().unwrap())
            .args(words)
    }

    pub(super) fn sh(script: &str) -> Self {
        Self::new("/bin/sh").arg("-c").arg(script)
    }

    pub fn host(dir: &Path, script: &str) -> Self {
        let mut run = Self::new("/bin/sh")
            .arg("-ec")
            .arg(script)
            .env("PATH", super::HOST_PATH);
        run.command.current_dir(dir);
        run
    }

    /// Returns the same program run by an ordinary user, whose group has the same number.
    pub(super) fn by_user(self, uid: u32) -> Self {
        let id = uid.to_string();
        let mut command = command("/usr/bin/setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .envs(self.command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        Self { command, ..self }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// Removes a variable of the environment.
    pub fn without(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Sets the working directory. The default is `/`.
    pub fn cwd(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets the text for standard input, which is a pipe then. The default is /dev/null.
    pub fn input(mut self, text: &str) -> Self {
        self.input = Some(text.as_bytes().to_vec());
        self
    }

    /// Sets the time limit. The default is 60 seconds.
    pub fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Returns the command as text.
    pub(super) fn line(&self) -> String {
        format!("{:?}", self.command).replacen("env -i ", "", 1)
    }

    /// Returns the command itself.
    pub(super) fn into_command(self) -> Command {
        self.command
    }

    /// Starts the program in the background.
    #[track_caller]
    pub fn start(mut self) -> Background {
        let line = self.line();
        let stdin = match self.input {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {line}: {e}"));
        if let (Some(text), Some(mut pipe)) = (self.input, child.stdin.take()) {
            std::thread::spawn(move || {
                let _ = pipe.write_all(&text); // A reader that leaves early is its own business.
            });
        }
        Background {
            stdout: collect(child.stdout.take().unwrap()),
            stderr: collect(child.stderr.take().unwrap()),
            child,
            line,
            limit: self.limit,
        }
    }

    /// Runs the program to its end. If that takes too long, the test fails with the program's output.
    #[track_caller]
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Runs it and asserts exit status 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        let output = self.run();
        assert!(output.code == 0, "{output}");
        output
    }

    /// Runs it and asserts exit status 0 and no output.
    #[track_caller]
    pub fn silent(self) -> Output {
        let output = self.ok();
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "success is silent: {output}"
        );
        output
    }

    /// Runs it and asserts exit status `code` and, on standard error, all `parts`.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) -> Output {
        let output = self.run();
        assert!(output.code == code, "status should be {code}: {output}");
        for part in parts {
            assert!(
                output.stderr.contains(part),
                "no '{part}' on stderr: {output}"
            );
        }
        output
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (done, collected) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    collected
}

/// A program in the background.
pub struct Background {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    line: String,
    limit: Duration,
}

impl Background {
    /// Returns its pid.
    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Returns whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let end = Instant::now() + self.limit;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status_code(status));
            }
            if Instant::now() > end {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        // A process that inherited the pipes may outlive the program, and would keep `x=$(...)` waiting.
        let rest = Duration::from_secs(3);
        let stdout = self.stdout.recv_timeout(rest);
        let stderr = self.stderr.recv_timeout(rest);
        let held =
            stdout == Err(RecvTimeoutError::Timeout) || stderr == Err(RecvTimeoutError::Timeout);
        let output = Output {
            line: self.line,
            code: code.unwrap_or(-1),
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
        };
        assert!(code.is_some(), "took more than {:?}: {output}", self.limit);
        assert!(
            !held,
            "ended, but something else holds its output: {output}"
        );
        output
    }
}

/// Returns the exit status as a shell has it: 128+N if signal N ended the program.
pub fn status_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap())
}

/// The result of a program.
pub struct Output {
    /// The command line.
    pub line: String,
    /// Its exit status, 128+N if signal N ended it.
    pub code: i32,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Output {
    /// Returns standard output without blanks at its ends.
    pub fn text(&self) -> String {
        self.stdout.trim().to_owned()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nstatus {}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.line,
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}
