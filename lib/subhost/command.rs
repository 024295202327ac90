//! Commands inside a running subhost for programs, in the manner of `std::process`.

use super::Subhost;
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::enter::{self, Inside, Join};
use crate::kernel::pipes::exchange;
use crate::login::StdioSource;
use crate::sys;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};

/// A command to be run inside a running subhost, as [`std::process::Command`] is one to be run here.
///
/// It runs as a fresh login does: in the subhost's cgroups, with its rights and no more, in the home of its
/// user, and with nothing of the caller's environment. Of the caller's descriptors it has those that it is given
/// and no other. It is never given a terminal of its own; [`Subhost::enter`] does that.
///
/// Any thread of a program may run commands, many at once. The thread stays where it is, and its signal mask
/// and the program's signal handlers stay as they are.
///
/// ```no_run
/// # fn main() -> subhost::Result<()> {
/// use subhost::{Name, Subhost};
///
/// let web = Subhost::new("/opt/subhost".as_ref(), &Name::new("web")?, &[]);
/// let output = web.command("id").args(["-u", "-n"]).user("www-data").output()?;
/// assert_eq!(output.stdout, b"www-data\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Command {
    subhost: Subhost,
    join: Join,
    /// None: what is usual for what is done with it.
    stdio: [Option<Stdio>; 3],
}

/// What a command has as its standard input, output or error.
#[derive(Debug)]
pub struct Stdio(Kind);

#[derive(Debug)]
enum Kind {
    Inherit,
    Null,
    Piped,
    Fd(OwnedFd),
}

impl Stdio {
    /// The same as the calling process. Of a terminal of the host's those inside can do to it what its owner can;
    /// [`Subhost::enter`] gives them one of their own.
    pub fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// The subhost's /dev/null.
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// A pipe, whose other end is the [`Child`]'s.
    pub fn piped() -> Self {
        Self(Kind::Piped)
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self(Kind::Fd(fd))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

/// What another child writes, as in a pipeline.
impl From<ChildStdout> for Stdio {
    fn from(pipe: ChildStdout) -> Self {
        OwnedFd::from(pipe).into()
    }
}

impl Subhost {
    /// A command that is to be run inside: a path of the subhost's, or a name that is looked for in its PATH.
    pub fn command(&self, program: impl Into<String>) -> Command {
        Command {
            subhost: self.clone(),
            join: Join {
                argv: vec![program.into()],
                ..Join::default()
            },
            stdio: [None, None, None],
        }
    }
}

impl Command {
    /// One more argument.
    pub fn arg(&mut self, arg: impl Into<String>) -> &mut Self {
        self.join.argv.push(arg.into());
        self
    }

    /// More arguments.
    pub fn args<T: Into<String>>(&mut self, args: impl IntoIterator<Item = T>) -> &mut Self {
        self.join.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// The user inside, by name or number of the subhost's own, with `:GROUP` or without; else root.
    pub fn user(&mut self, user: impl Into<String>) -> &mut Self {
        self.join.user = user.into();
        self
    }

    /// The working directory inside; else the user's home.
    pub fn dir(&mut self, dir: impl Into<String>) -> &mut Self {
        self.join.dir = dir.into();
        self
    }

    /// A variable, over those that a login has and those that the subhost's settings give.
    pub fn env(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.join.env.insert(key.into(), value.into());
        self
    }

    /// Standard input. Else ours for [`Command::spawn`] and [`Command::status`], and empty for
    /// [`Command::output`].
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = Some(stdin.into());
        self
    }

    /// Standard output. Else ours, and a pipe for [`Command::output`].
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = Some(stdout.into());
        self
    }

    /// Standard error. Else as standard output.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = Some(stderr.into());
        self
    }

    /// Begins it and waits for nothing.
    ///
    /// # Errors
    /// `NotRunning` or `NoSubhost`: there is nothing to run it in. It is not started for that, nor thawed. `Own`:
    /// no such user or directory inside, or what failed here. `NotFound` or `CannotRun`: no such program, or
    /// none that can be run; as it is executed inside, [`Child::wait`] may be the first to know.
    pub fn spawn(&self) -> Result<Child> {
        self.spawn_with([Stdio::inherit(), Stdio::inherit(), Stdio::inherit()])
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn status(&self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Runs it to its end and gives what it wrote. Whatever it started and left with its output has to end as well.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn output(&self) -> Result<Output> {
        let usual = [Stdio::null(), Stdio::piped(), Stdio::piped()];
        self.spawn_with(usual)?.wait_with_output()
    }

    /// The same with `input` as its standard input, of which it may leave what it likes. Neither waits for the
    /// other, however much that is.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn output_of(&self, input: impl AsRef<[u8]>) -> Result<Output> {
        let usual = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
        let stdio = [None, self.stdio[1].as_ref(), self.stdio[2].as_ref()];
        self.begin(stdio, usual)?.wait_with(input.as_ref())
    }

    fn spawn_with(&self, usual: [Stdio; 3]) -> Result<Child> {
        self.begin(self.stdio.each_ref().map(Option::as_ref), usual)
    }

    fn begin(&self, wanted: [Option<&Stdio>; 3], usual: [Stdio; 3]) -> Result<Child> {
        for key in self.join.env.keys() {
            if key.is_empty() || key.contains(['=', '\0']) {
                let what = format!("'{}' is no name of a variable", shown(key));
                return Err(Error::new(Exit::Own, what));
            }
        }
        let stdio = |number: usize| wanted[number].unwrap_or(&usual[number]);
        let inside = self.subhost.joined(|running, cgroups| {
            let (stdin, to) = given(stdio(0), true)?;
            let (stdout, out) = given(stdio(1), false)?;
            let (stderr, err) = given(stdio(2), false)?;
            let inside = enter::spawn(running, cgroups, &self.join, [stdin, stdout, stderr])?;
            Ok(inside.map(|inside| Child {
                inside,
                ended: None,
                stdin: to.map(Into::into),
                stdout: out.map(Into::into),
                stderr: err.map(Into::into),
            }))
        })?;
        match inside {
            Some(child) => Ok(child),
            None => Err(self.subhost.not_running()),
        }
    }
}

/// What it is given, and our end of the pipe if it is one that it reads, or writes.
fn given(stdio: &Stdio, reads: bool) -> Result<(StdioSource, Option<OwnedFd>)> {
    Ok(match &stdio.0 {
        Kind::Inherit => (StdioSource::Inherit, None),
        Kind::Null => (StdioSource::Null, None),
        Kind::Fd(fd) => {
            let fd = fd.try_clone().doing(|| "duplicate a descriptor");
            (StdioSource::Fd(fd.map_err(own)?), None)
        }
        Kind::Piped => {
            let pipe = std::io::pipe().doing(|| "make a pipe");
            let (reader, writer) = pipe.map_err(own)?;
            let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
            match reads {
                true => (StdioSource::Fd(reader), Some(writer)),
                false => (StdioSource::Fd(writer), Some(reader)),
            }
        }
    })
}

fn own(error: Error) -> Error {
    error.exit(Exit::Own)
}

/// A command that runs inside, as [`std::process::Child`]. It is a child of the calling process, and goes on
/// if this is dropped. To be polled, its descriptor can be read from when it has ended.
#[derive(Debug)]
pub struct Child {
    inside: Inside,
    ended: Option<Result<ExitStatus>>,
    /// Our end of its standard input, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// Of its standard output.
    pub stdout: Option<ChildStdout>,
    /// Of its standard error.
    pub stderr: Option<ChildStderr>,
}

impl Child {
    /// Its pid, in the pid namespace of the caller.
    pub fn id(&self) -> u32 {
        self.inside.id().unsigned_abs()
    }

    /// Closes its input and waits for its end.
    ///
    /// # Errors
    /// `NotFound` or `CannotRun`: it was never executed. Somebody else has waited for it.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        let inside = &self.inside;
        self.ended.get_or_insert_with(|| inside.wait()).clone()
    }

    /// Its status, if it has ended.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.inside.try_wait().transpose();
        }
        self.ended.clone().transpose()
    }

    /// Ends it by KILL. What it has started goes on inside.
    ///
    /// # Errors
    /// The failed call; to have ended already is none.
    pub fn kill(&mut self) -> Result<()> {
        match sys::pidfd_kill(self.inside.pidfd(), nix::libc::SIGKILL) {
            Err(nix::errno::Errno::ESRCH) => Ok(()),
            other => other.doing(|| "end the command inside").map_err(own),
        }
    }

    /// Closes its input, and gives what it has written to pipes when that and it have ended.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait_with_output(self) -> Result<Output> {
        self.wait_with(&[])
    }

    /// The same, writing `input` to it meanwhile, of which it may leave what it likes. A program that has
    /// SIGPIPE at its default, as no program in Rust has by itself, may end by that.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait_with(mut self, input: &[u8]) -> Result<Output> {
        let from = (self.stdout.take(), self.stderr.take());
        let came = exchange(self.stdin.take(), input, from).map_err(own);
        let status = self.wait()?;
        let [stdout, stderr] = came?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inside.pidfd().as_fd()
    }
}
