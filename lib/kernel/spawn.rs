//! A child that is in its cgroups before its program begins.
//!
//! To move a process between cgroups of the v2 hierarchy costs the kernel a grace period, 5 to 15 ms;
//! to be made in one costs nothing (CLONE_INTO_CGROUP, Linux 5.7). In a v1 hierarchy the child moves
//! itself, as a thread: that costs as little. And the child runs in our memory until it executes its
//! program, while we wait, as after vfork(2): to copy our page tables, and then to copy what either of
//! us writes, costs more than all that it does there.

use crate::base::error::{Errno, IntoErrno};
use crate::kernel::trampoline::{Report, Trampoline};
use crate::sys;
use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// Returns an exit status as a shell does: 128+N for a process that signal N ended.
pub fn shell_status(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (_, signal) => 128 + signal.unwrap_or(0) as u8,
    }
}

/// A child of ours.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    /// The memory of its trampoline.
    image: Option<OwnedFd>,
    report: Option<Report>,
}

/// What is done in the child before all else is executed.
type Preparation = Box<dyn FnMut() -> Result<(), Errno>>;

/// A program to be executed. Not `std::process::Command`, which takes locks of ours into the child and
/// leaves our environment changed where both have one memory.
pub struct Exec {
    program: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    stdio: [Option<OwnedFd>; 3],
    before: Option<Preparation>,
    through: Option<Trampoline>,
}

impl Exec {
    /// The program at this path, or, without a slash in it, where `PATH` of its environment says; with
    /// no arguments but its name, and no environment.
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            args: vec![program.to_owned()],
            env: BTreeMap::new(),
            stdio: [None, None, None],
            before: None,
            through: None,
        }
    }

    /// What it is called by, or should be.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The name that it sees itself called by.
    pub fn arg0(&mut self, name: &str) {
        name.clone_into(&mut self.args[0]);
    }

    /// One more argument.
    pub fn arg(&mut self, arg: &str) {
        self.args.push(arg.to_owned());
    }

    /// A variable of its environment.
    pub fn env(&mut self, key: &str, value: &str) {
        self.env.insert(key.to_owned(), value.to_owned());
    }

    /// What it has as 0, 1 or 2 instead of ours.
    pub fn stdio(&mut self, number: usize, fd: OwnedFd) {
        self.stdio[number] = Some(fd);
    }

    /// What the child does last, with its 0, 1 and 2 in place.
    pub fn before(&mut self, work: impl FnMut() -> Result<(), Errno> + 'static) {
        self.before = Some(Box::new(work));
    }

    /// By what the child executes it, so that it never is what we are.
    pub fn through(&mut self, trampoline: Trampoline) {
        self.through = Some(trampoline);
    }

    /// Starts it in a child with new namespaces (`flags`) and in the cgroups of `entry`; `first` is run
    /// in it before all else. `first` and what was given to [`Exec::before`] run in our memory, while other
    /// threads may go on. They may allocate and take locks: to libc and to us the child is the thread that
    /// waits for it, and who holds a lock lives and lets go of it, unlike after fork(2). They must not wait
    /// for what this thread itself holds, nor call what libc makes of a call for all threads (set*id(2)). Of
    /// signal handlers of ours, which would run there with our memory, the caller blocks the signals.
    ///
    /// # Errors
    /// The child could not be made or enter its cgroups, or the program cannot be run: what goes through a
    /// trampoline says this when it has ended, by [`Child::failure`].
    pub fn spawn(
        mut self,
        flags: CloneFlags,
        entry: &Entry,
        first: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<Child, Errno> {
        self.lift_stdio()?;
        let ready = self.ready()?;
        if let Some(trampoline) = &self.through {
            trampoline.write(&ready.paths)?;
        }
        let into = entry.unified.as_ref().map(AsFd::as_fd);
        let mut first = Some(first);
        let mut failed = Errno::UnknownErrno;
        let mut inside = |moved| {
            let mut prepare = || {
                entry.join(moved)?;
                if let Some(first) = first.take() {
                    first()?;
                }
                self.take_stdio()?;
                self.before.as_mut().map_or(Ok(()), |before| before())
            };
            failed = match prepare() {
                Ok(()) => match &self.through {
                    Some(trampoline) => trampoline.execute(&ready.args, &ready.env),
                    None => ready.execute(),
                },
                Err(errno) => errno,
            };
        };
        let made = match sys::vfork(flags.bits(), into, &mut || inside(true)) {
            // A filter of system calls hides clone3 from us.
            Err(Errno::ENOSYS) => sys::vfork_clone(flags.bits(), &mut || inside(false)),
            other => other,
        };
        let (pid, pidfd) = made?;
        let (image, report) = self.through.map(Trampoline::apart).unzip();
        let child = Child {
            pid,
            pidfd,
            image,
            report,
        };
        match failed {
            Errno::UnknownErrno => Ok(child),
            failed => {
                let _ = child.wait();
                Err(failed)
            }
        }
    }

    /// Away from 0, 1 and 2, where one may be if ours are closed: another would be put there first.
    fn lift_stdio(&mut self) -> Result<(), Errno> {
        for fd in self.stdio.iter_mut().flatten() {
            if fd.as_raw_fd() <= 2 {
                let lifted = rustix::io::fcntl_dupfd_cloexec(&*fd, 3);
                *fd = lifted.map_err(IntoErrno::into_errno)?;
            }
        }
        Ok(())
    }

    fn take_stdio(&self) -> Result<(), Errno> {
        for (number, fd) in self.stdio.iter().enumerate() {
            let Some(fd) = fd else { continue };
            let taken = match number {
                0 => rustix::stdio::dup2_stdin(fd),
                1 => rustix::stdio::dup2_stdout(fd),
                _ => rustix::stdio::dup2_stderr(fd),
            };
            taken.map_err(IntoErrno::into_errno)?;
        }
        Ok(())
    }

    /// All that execve(2) gets, before there is a child: what that allocates nobody frees.
    fn ready(&self) -> Result<Ready, Errno> {
        // As for execvp(3), which knows no program without a name.
        if self.program.is_empty() {
            return Err(Errno::ENOENT);
        }
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::EINVAL);
        let env = self.env.iter();
        let env = env.map(|(key, value)| text(format!("{key}={value}").as_bytes()));
        let dirs = match self.program.contains('/') {
            true => "",
            false => self.env.get("PATH").map_or("/bin:/usr/bin", String::as_str),
        };
        let paths = dirs.split(':').map(|dir| {
            let path = Path::new(dir).join(&self.program);
            text(OsStr::new(&path).as_bytes())
        });
        let paths: Vec<CString> = paths.collect::<Result<_, _>>()?;
        let args = self.args.iter().map(|arg| text(arg.as_bytes()));
        let args: Vec<CString> = args.collect::<Result<_, _>>()?;
        // As execvp(3): what the kernel does not know is a script for sh.
        let script = |path: &CString| {
            let all = [c"/bin/sh".to_owned(), path.clone()].into_iter();
            all.chain(args.iter().skip(1).cloned()).collect()
        };
        Ok(Ready {
            scripts: paths.iter().map(script).collect(),
            paths,
            args,
            env: env.collect::<Result<_, _>>()?,
        })
    }
}

struct Ready {
    paths: Vec<CString>,
    args: Vec<CString>,
    scripts: Vec<Vec<CString>>,
    env: Vec<CString>,
}

impl Ready {
    /// Returns only if none of the paths can be executed.
    fn execute(&self) -> Errno {
        let mut worst = Errno::ENOENT;
        for (path, script) in self.paths.iter().zip(&self.scripts) {
            match sys::exec(path, &self.args, &self.env) {
                Errno::ENOEXEC => return sys::exec(&script[0], script, &self.env),
                Errno::ENOENT | Errno::ENOTDIR if self.paths.len() > 1 => {}
                Errno::EACCES if self.paths.len() > 1 => worst = Errno::EACCES,
                errno => return errno,
            }
        }
        worst
    }
}

impl Child {
    /// One that another child made for us (CLONE_PARENT).
    ///
    /// # Errors
    /// It is gone.
    pub fn adopt(pid: i32) -> Result<Self, Errno> {
        let pidfd = crate::kernel::proc::open(pid)?;
        Ok(Self {
            pid,
            pidfd,
            image: None,
            report: None,
        })
    }

    /// Its pid.
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// A descriptor for it.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Why its program could not be executed, once it has ended.
    pub fn failure(&self) -> Option<Errno> {
        self.report.as_ref().and_then(Report::failure)
    }

    /// Lets go of what it needed to begin. Who does so while it runs has less to do when it has ended, and
    /// that somebody waits for.
    pub fn has_begun(&mut self) {
        self.image = None;
    }

    /// Kills it and waits for its end.
    pub fn kill(&self) {
        let _ = sys::pidfd_kill(&self.pidfd, nix::libc::SIGKILL);
        let _ = self.wait();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// ECHILD if somebody has waited for it.
    pub fn wait(&self) -> Result<ExitStatus, Errno> {
        loop {
            if let Some(status) = self.wait_with(WaitOptions::empty())? {
                return Ok(status);
            }
        }
    }

    /// Its status, if it has ended.
    ///
    /// # Errors
    /// ECHILD if somebody has waited for it.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>, Errno> {
        self.wait_with(WaitOptions::NOHANG)
    }

    fn wait_with(&self, options: WaitOptions) -> Result<Option<ExitStatus>, Errno> {
        match waitpid(Pid::from_raw(self.pid), options) {
            Ok(ended) => Ok(ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw()))),
            Err(rustix::io::Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into_errno()),
        }
    }
}

/// The way in, opened on the host.
#[derive(Debug, Default)]
pub struct Entry {
    /// The directory in v2's hierarchy.
    pub unified: Option<OwnedFd>,
    /// `tasks` of the directories in those of v1.
    pub v1: Vec<File>,
}

impl Entry {
    /// The calling process, of one thread, moves itself into those of v1, and `moved`
    /// says whether it was made in that of v2.
    ///
    /// # Errors
    /// One has been removed.
    pub fn join(&self, moved: bool) -> std::result::Result<(), Errno> {
        for mut file in &self.v1 {
            file.write_all(b"0").map_err(IntoErrno::into_errno)?;
        }
        let Some(dir) = self.unified.as_ref().filter(|_| !moved) else {
            return Ok(());
        };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = rustix::fs::openat(dir, "cgroup.procs", flags, Mode::empty());
        let mut procs = File::from(procs.map_err(IntoErrno::into_errno)?);
        procs.write_all(b"0").map_err(IntoErrno::into_errno)
    }
}
