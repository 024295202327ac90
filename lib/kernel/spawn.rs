//! Spawning a child that is in its cgroups before its program begins.
//!
//! Moving a process between cgroups of the v2 hierarchy costs a grace period of the kernel, 5 to 15 ms;
//! making it in one costs nothing (CLONE_INTO_CGROUP, Linux 5.7). In a v1 hierarchy the child moves itself as
//! a thread, which costs nothing either. Until it executes its program, the child runs in our memory while we
//! wait, as after vfork(2): copying the page tables, and the pages that either side writes, would cost more
//! than all that the child does.

use crate::base::error::{Errno, IntoErrno};
use crate::kernel::stdio::replace_standard;
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

/// A child of this process.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    /// The memfd of the trampoline, until [`Child::release_image`].
    image: Option<OwnedFd>,
    report: Option<Report>,
}

/// A function that the child calls before it executes its program.
type Preparation = Box<dyn FnMut() -> Result<(), Errno>>;

/// A program to execute. `std::process::Command` takes locks in the child and changes the environment, which
/// is ours as well while both share one memory.
pub struct Exec {
    program: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    stdio: [Option<OwnedFd>; 3],
    last_step: Option<Preparation>,
    trampoline: Option<Trampoline>,
}

impl Exec {
    /// Makes the execution of a program: a path or, without a slash, a name that is looked up in the `PATH`
    /// of its environment. It has no arguments but its name, and no environment.
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            args: vec![program.to_owned()],
            env: BTreeMap::new(),
            stdio: [None, None, None],
            last_step: None,
            trampoline: None,
        }
    }

    /// Returns the program, for messages.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Sets `argv[0]`.
    pub fn arg0(&mut self, name: &str) {
        name.clone_into(&mut self.args[0]);
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: &str) {
        self.args.push(arg.to_owned());
    }

    /// Sets an environment variable.
    pub fn env(&mut self, key: &str, value: &str) {
        self.env.insert(key.to_owned(), value.to_owned());
    }

    /// Sets the descriptor that the program gets as 0, 1 or 2. By default it inherits ours.
    pub fn stdio(&mut self, number: usize, fd: OwnedFd) {
        self.stdio[number] = Some(fd);
    }

    /// Sets the function that the child calls last before the exec, when its 0, 1 and 2 are in place.
    pub fn set_last_step(&mut self, step: impl FnMut() -> Result<(), Errno> + 'static) {
        self.last_step = Some(Box::new(step));
    }

    /// Sets the trampoline through which the child executes the program, so that the child of a tool never
    /// executes a program inside itself.
    pub fn set_trampoline(&mut self, trampoline: Trampoline) {
        self.trampoline = Some(trampoline);
    }

    /// Spawns the program in a child with the new namespaces `flags`, in the cgroups of `entry`. The child
    /// calls `first` before all else.
    ///
    /// `first` and the function of [`Exec::set_last_step`] run in our memory while other threads continue.
    /// They may allocate and take locks: to libc and to us the child is the thread that waits for it, and,
    /// unlike after fork(2), the holder of a lock is alive and will release it. They must not wait for what
    /// this thread holds, nor call a function that libc applies to all threads (set*id(2)). The caller blocks
    /// signals that have a handler, as a handler would run in the child with our memory.
    ///
    /// # Errors
    /// The errno of making the child, of entering its cgroups, or of executing the program. With a
    /// trampoline, [`Child::failure`] returns the errno of the exec after the child has ended.
    pub fn spawn(
        mut self,
        flags: CloneFlags,
        entry: &Entry,
        first: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<Child, Errno> {
        self.lift_stdio()?;
        let prepared = self.prepare()?;
        if let Some(trampoline) = &self.trampoline {
            trampoline.write(&prepared.paths)?;
        }
        let into = entry.unified.as_ref().map(AsFd::as_fd);
        let mut first = Some(first);
        let mut failed = Errno::UnknownErrno;
        let mut run_child = |join: fn(&Entry) -> Result<(), Errno>| {
            let mut set_up = || {
                join(entry)?;
                if let Some(first) = first.take() {
                    first()?;
                }
                self.take_stdio()?;
                self.last_step.as_mut().map_or(Ok(()), |step| step())
            };
            failed = match set_up() {
                Ok(()) => match &self.trampoline {
                    Some(trampoline) => trampoline.execute(&prepared.args, &prepared.env),
                    None => prepared.execute(),
                },
                Err(errno) => errno,
            };
        };
        let made = match sys::vfork(flags.bits(), into, &mut || run_child(Entry::join_v1)) {
            // A seccomp filter of the host does not allow clone3.
            Err(Errno::ENOSYS) => sys::vfork_clone(flags.bits(), &mut || run_child(Entry::join)),
            other => other,
        };
        let (pid, pidfd) = made?;
        let (image, report) = self.trampoline.map(Trampoline::into_parts).unzip();
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

    /// Moves descriptors away from 0, 1 and 2, which they can be if ours are closed: `take_stdio` would
    /// overwrite them.
    fn lift_stdio(&mut self) -> Result<(), Errno> {
        for fd in self.stdio.iter_mut().flatten() {
            if fd.as_raw_fd() <= 2 {
                let lifted = rustix::io::fcntl_dupfd_cloexec(&*fd, 3);
                *fd = lifted.map_err(IntoErrno::into_errno)?;
            }
        }
        Ok(())
    }

    /// Makes the given descriptors 0, 1 and 2 of the child.
    fn take_stdio(&self) -> Result<(), Errno> {
        for (number, fd) in self.stdio.iter().enumerate() {
            let Some(fd) = fd else { continue };
            replace_standard(number, fd)?;
        }
        Ok(())
    }

    /// Prepares the arguments of execve(2) before there is a child: nobody would free what the child
    /// allocates.
    fn prepare(&self) -> Result<Prepared, Errno> {
        // As execvp(3) does for an empty name.
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
        // As execvp(3) does, /bin/sh runs a file that the kernel does not know.
        let script = |path: &CString| {
            let all = [c"/bin/sh".to_owned(), path.clone()].into_iter();
            all.chain(args.iter().skip(1).cloned()).collect()
        };
        Ok(Prepared {
            scripts: paths.iter().map(script).collect(),
            paths,
            args,
            env: env.collect::<Result<_, _>>()?,
        })
    }
}

/// The arguments of execve(2): the paths to try, and for each path the arguments of a script.
struct Prepared {
    paths: Vec<CString>,
    args: Vec<CString>,
    scripts: Vec<Vec<CString>>,
    env: Vec<CString>,
}

impl Prepared {
    /// Executes the first path that can be executed. Returns only on failure.
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
    /// Adopts a child that another child has made for us (CLONE_PARENT).
    ///
    /// # Errors
    /// ESRCH if it is gone; the errno of pidfd_open(2).
    pub fn adopt(pid: i32) -> Result<Self, Errno> {
        let pidfd = crate::kernel::proc::open_pidfd(pid)?;
        Ok(Self {
            pid,
            pidfd,
            image: None,
            report: None,
        })
    }

    /// Returns the pid.
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// Returns the pidfd.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Returns the errno of a failed exec through a trampoline, after the child has ended.
    pub fn failure(&self) -> Option<Errno> {
        self.report.as_ref().and_then(Report::failure)
    }

    /// Closes the memfd of the trampoline. Doing this while the child runs leaves less work for the time
    /// after its end, for which the user waits.
    pub fn release_image(&mut self) {
        self.image = None;
    }

    /// Kills the child and waits for its end.
    pub fn kill(&self) {
        let _ = sys::pidfd_kill(&self.pidfd, nix::libc::SIGKILL);
        let _ = self.wait();
    }

    /// Waits for the end of the child.
    ///
    /// # Errors
    /// ECHILD if it was waited for already.
    pub fn wait(&self) -> Result<ExitStatus, Errno> {
        loop {
            if let Some(status) = self.wait_with(WaitOptions::empty())? {
                return Ok(status);
            }
        }
    }

    /// Returns the status of the child; none if it has not ended.
    ///
    /// # Errors
    /// ECHILD if it was waited for already.
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

/// The cgroups that a child starts in, opened on the host.
#[derive(Debug, Default)]
pub struct Entry {
    /// The directory in the v2 hierarchy.
    pub unified: Option<OwnedFd>,
    /// The files `tasks` of the directories in the v1 hierarchies.
    pub v1: Vec<File>,
}

impl Entry {
    /// Moves the calling process, which has one thread, into the cgroups of all hierarchies.
    ///
    /// # Errors
    /// The errno of the failed call, as for a removed cgroup.
    pub fn join(&self) -> Result<(), Errno> {
        self.join_v1()?;
        let Some(dir) = &self.unified else {
            return Ok(());
        };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = rustix::fs::openat(dir, "cgroup.procs", flags, Mode::empty());
        let mut procs = File::from(procs.map_err(IntoErrno::into_errno)?);
        procs.write_all(b"0").map_err(IntoErrno::into_errno)
    }

    /// Moves the calling thread into the cgroups of the v1 hierarchies. The kernel has made it in that of
    /// v2.
    fn join_v1(&self) -> Result<(), Errno> {
        for mut file in &self.v1 {
            file.write_all(b"0").map_err(IntoErrno::into_errno)?;
        }
        Ok(())
    }
}
