//! Commands inside a running subhost, for programs, as `std::process` has them.

use super::Subhost;
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::enter::{self, Inside, Join};
use crate::kernel::pipes::exchange;
use crate::login::StdioSource;
use crate::sys;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};

/// A command to run inside a running subhost, as [`std::process::Command`] is for one outside.
///
/// It runs as after a fresh login: in the subhost's cgroups, with the subhost's rights, in the home of its user, without the
/// caller's environment. It inherits no descriptors but 0, 1 and 2. It has no controlling terminal; [`Subhost::enter`] gives
/// one.
///
/// Any thread of a program may run commands, several at once. The namespaces, the signal mask and the signal handlers of the
/// caller do not change.
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
    /// `None`: the default, which depends on how it is run.
    stdio: [Option<Stdio>; 3],
}

/// What a command gets as its standard input, output or error.
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
    /// The caller's own. A process inside can do to a terminal of the host what the terminal's owner can; [`Subhost::enter`]
    /// gives it another terminal instead.
    pub fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// The subhost's /dev/null.
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// A pipe, whose other end is in the [`Child`].
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

/// The output of another child, as in a pipeline.
impl From<ChildStdout> for Stdio {
    fn from(pipe: ChildStdout) -> Self {
        OwnedFd::from(pipe).into()
    }
}

impl Subhost {
    /// Returns a command to run inside. `program` is a path inside, or a name that is looked up in PATH inside.
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
    /// Adds an argument.
    pub fn arg(&mut self, arg: impl Into<String>) -> &mut Self {
        self.join.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<T: Into<String>>(&mut self, args: impl IntoIterator<Item = T>) -> &mut Self {
        self.join.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the user inside: `USER[:GROUP]`, by name or number. The default is root.
    pub fn user(&mut self, user: impl Into<String>) -> &mut Self {
        self.join.user = user.into();
        self
    }

    /// Sets the working directory inside. The default is the user's home.
    pub fn dir(&mut self, dir: impl Into<String>) -> &mut Self {
        self.join.dir = dir.into();
        self
    }

    /// Sets a variable, over those of a login and of the subhost's settings.
    pub fn env(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.join.env.insert(key.into(), value.into());
        self
    }

    /// Sets standard input. The default is the caller's for [`Command::spawn`] and [`Command::status`], and empty for
    /// [`Command::output`].
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = Some(stdin.into());
        self
    }

    /// Sets standard output. The default is the caller's for [`Command::spawn`] and [`Command::status`], and a pipe for
    /// [`Command::output`].
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = Some(stdout.into());
        self
    }

    /// Sets standard error. The defaults are those of standard output.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = Some(stderr.into());
        self
    }

    /// Spawns the command and does not wait for it.
    ///
    /// # Errors
    /// `NotRunning` or `NoSubhost`: the subhost is neither started nor thawed for it. `Own`: there is no such user or directory
    /// inside, or a call failed. `NotFound` or `CannotRun`: the program does not exist or cannot be executed; [`Child::wait`]
    /// may be the first to report that.
    pub fn spawn(&self) -> Result<Child> {
        self.spawn_with([Stdio::inherit(), Stdio::inherit(), Stdio::inherit()])
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn status(&self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Runs the command to its end and returns its output. Waits as long as any process has the output open.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn output(&self) -> Result<Output> {
        let usual = [Stdio::null(), Stdio::piped(), Stdio::piped()];
        self.spawn_with(usual)?.wait_with_output()
    }

    /// As [`Command::output`], with `input` as standard input. The command need not read all of it. Input and output of any
    /// size do not deadlock.
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
                let what = format!("'{}' is not the name of a variable", shown(key));
                return Err(Error::new(Exit::Own, what));
            }
        }
        let stdio = |number: usize| wanted[number].unwrap_or(&usual[number]);
        let inside = self.subhost.joined(|running, cgroups| {
            let (stdin, to) = source_of(stdio(0), Use::Reads)?;
            let (stdout, out) = source_of(stdio(1), Use::Writes)?;
            let (stderr, err) = source_of(stdio(2), Use::Writes)?;
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

/// What a command does with a descriptor.
enum Use {
    Reads,
    Writes,
}

/// Returns what the command gets as a descriptor, and our end if that is a pipe.
fn source_of(stdio: &Stdio, usage: Use) -> Result<(StdioSource, Option<OwnedFd>)> {
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
            match usage {
                Use::Reads => (StdioSource::Fd(reader), Some(writer)),
                Use::Writes => (StdioSource::Fd(writer), Some(reader)),
            }
        }
    })
}

fn own(error: Error) -> Error {
    error.exit(Exit::Own)
}

/// A command that runs inside, as [`std::process::Child`]. It is a child of the calling process, and is not ended if this is
/// dropped. Its descriptor is a pidfd, which polls as readable when the command has ended.
#[derive(Debug)]
pub struct Child {
    inside: Inside,
    ended: Option<Result<ExitStatus>>,
    /// The pipe to its standard input.
    pub stdin: Option<ChildStdin>,
    /// The pipe from its standard output.
    pub stdout: Option<ChildStdout>,
    /// The pipe from its standard error.
    pub stderr: Option<ChildStderr>,
}

impl Child {
    /// Returns its pid in the caller's pid namespace.
    pub fn id(&self) -> u32 {
        self.inside.id().unsigned_abs()
    }

    /// Closes its input, then waits until it has ended.
    ///
    /// # Errors
    /// `NotFound` or `CannotRun`: it was never executed. Another thread has waited for it.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        let inside = &self.inside;
        self.ended.get_or_insert_with(|| inside.wait()).clone()
    }

    /// Returns its status if it has ended.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.inside.try_wait().transpose();
        }
        self.ended.clone().transpose()
    }

    /// Kills it. Processes that it has started run on.
    ///
    /// # Errors
    /// The signal cannot be sent. That it has ended already is no error.
    pub fn kill(&mut self) -> Result<()> {
        match sys::pidfd_kill(self.inside.pidfd(), nix::libc::SIGKILL) {
            Err(nix::errno::Errno::ESRCH) => Ok(()),
            other => other.doing(|| "end the command inside").map_err(own),
        }
    }

    /// Closes its input, waits until it has ended and its pipes are closed, and returns its output.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait_with_output(self) -> Result<Output> {
        self.wait_with(&[])
    }

    /// As [`Child::wait_with_output`], and writes `input` meanwhile. The command need not read all of it. Rust programs ignore
    /// SIGPIPE; a program that has reset it to its default may be killed by it here.
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
