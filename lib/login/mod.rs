//! A process as a fresh login has it: user and groups by the subhost's own files, environment,
//! signals, limits, terminal. Runs inside, after the subhost's root has become ours, so that its
//! files are read with no way to the host.

mod given;
mod user;

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::confine::{Confinement, Rights};
use crate::kernel::lsm::{Label, Labelling};
use crate::kernel::signals::default_signals;
use crate::kernel::spawn::Exec;
use crate::sys;
pub use given::{Given, null_instead};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use rustix::fs::{CWD, OFlags, ResolveFlags, openat2};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use user::User;

/// Where commands are looked for inside.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is to be run inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Program and arguments; empty: the user's login shell.
    pub argv: Vec<String>,
    /// User by name or number, with `:GROUP` or without.
    pub user: String,
    /// Working directory; empty: the user's home.
    pub dir: String,
    /// Further environment.
    pub env: BTreeMap<String, String>,
    /// Type of the terminal, if there is one.
    pub term: Option<String>,
    /// What it may do.
    pub rights: Rights,
    /// What the host's security modules confine it by.
    pub labels: Vec<Label>,
}

/// Our own failures inside `subhost-enter` have a status of their own.
fn own(error: Error) -> Error {
    error.exit(Exit::Own)
}

/// Opens something of the subhost. Links are followed, but for those of /proc that are no paths:
/// they lead to whatever a process has open, which may be the host's.
fn open_inside(path: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    openat2(
        CWD,
        path,
        OFlags::CLOEXEC | flags,
        rustix::fs::Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(IntoErrno::into_errno)
}

impl Program {
    /// As [`Program::given`]: `terminal` replaces those of 0, 1 and 2 that `slaves` names, the others are ours.
    ///
    /// # Errors
    /// The same.
    pub fn command(
        &self,
        terminal: Option<&OwnedFd>,
        slaves: [bool; 3],
        labels: Labelling,
        confinement: Rc<Confinement>,
        userns: Option<&OwnedFd>,
    ) -> Result<Exec> {
        let given = slaves.map(|is_slave| match is_slave {
            true => Given::Terminal,
            false => Given::Ours,
        });
        self.given(given, terminal, labels, confinement, userns)
    }

    /// The command, ready to be spawned in the subhost whose root is our root, with what is `given` as its 0, 1
    /// and 2. `terminal` becomes its controlling terminal; `labels` and `confinement` are what its labels and
    /// rights were prepared to; in `userns` it becomes root first.
    ///
    /// # Errors
    /// No such user, group or directory; no /dev/null inside that is to be had.
    pub fn given(
        &self,
        given: [Given; 3],
        terminal: Option<&OwnedFd>,
        labels: Labelling,
        confinement: Rc<Confinement>,
        userns: Option<&OwnedFd>,
    ) -> Result<Exec> {
        let user = User::find(&self.user)?;
        let mut command = match self.argv.split_first() {
            Some((program, args)) => {
                let mut command = Exec::new(program);
                args.iter().for_each(|arg| command.arg(arg));
                command
            }
            None => {
                let usable =
                    user.shell.starts_with('/') && std::path::Path::new(&user.shell).exists();
                let shell = if usable {
                    user.shell.as_str()
                } else {
                    "/bin/sh"
                };
                let name = shell.rsplit('/').next().unwrap_or("sh");
                let mut command = Exec::new(shell);
                // What makes it a login shell.
                command.arg0(&format!("-{name}"));
                command
            }
        };
        let shell = if user.shell.is_empty() {
            "/bin/sh"
        } else {
            &user.shell
        };
        for (key, value) in [
            ("HOME", user.home.as_str()),
            ("LOGNAME", &user.name),
            ("PATH", PATH),
            ("SHELL", shell),
            ("USER", &user.name),
        ] {
            command.env(key, value);
        }
        if let Some(term) = &self.term {
            command.env("TERM", term);
        }
        for (key, value) in &self.env {
            command.env(key, value);
        }
        self.change_dir(&user)?;
        for (number, given) in given.into_iter().enumerate() {
            if let Some(fd) = given.instead(number, terminal)? {
                command.stdio(number, fd);
            }
        }
        let tty = terminal.map(OwnedFd::try_clone).transpose();
        let tty = tty.doing(|| "duplicate the terminal")?;
        let userns = userns.map(OwnedFd::try_clone).transpose();
        let userns = userns.doing(|| "duplicate the user namespace")?;
        command.set_last_step(move || {
            labels.set_for_exec().map_err(|(_, errno)| errno)?;
            fresh(tty.as_ref(), &user, &confinement, userns.as_ref())
        });
        Ok(command)
    }

    fn change_dir(&self, user: &User) -> Result<()> {
        if self.dir.is_empty() {
            // A home that is not there keeps nobody out.
            if change_dir(&user.home).is_err() {
                let _ = std::env::set_current_dir("/");
            }
            return Ok(());
        }
        change_dir(&self.dir)
            .doing(|| format!("change to the directory {} inside", shown(&self.dir)))
            .map_err(own)
    }
}

fn change_dir(path: &str) -> std::result::Result<(), Errno> {
    nix::unistd::fchdir(open_inside(path, OFlags::PATH | OFlags::DIRECTORY)?)
}

/// In the child, just before exec.
fn fresh(
    tty: Option<&OwnedFd>,
    user: &User,
    confinement: &Confinement,
    userns: Option<&OwnedFd>,
) -> std::result::Result<(), Errno> {
    nix::unistd::setsid()?;
    if let Some(tty) = tty {
        sys::set_controlling_tty(tty)?;
    }
    default_signals()?;
    umask(Mode::from_bits_truncate(0o022));
    limits();
    if let Some(userns) = userns {
        crate::kernel::userns::enter(userns)?;
    }
    sys::new_session_keyring();
    // Each call for this thread alone. libc's would change all threads of a process, and takes those of our
    // parent, whose memory this is, for ours.
    let groups: Vec<_> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups).map_err(IntoErrno::into_errno)?;
    let gid = Gid::from_raw(user.gid);
    set_thread_res_gid(gid, gid, gid).map_err(IntoErrno::into_errno)?;
    confinement
        .enter()
        .map_err(|e| e.errno.unwrap_or(Errno::EPERM))?;
    let uid = Uid::from_raw(user.uid);
    set_thread_res_uid(uid, uid, uid).map_err(IntoErrno::into_errno)?;
    sys::cloexec_from(3)
}

/// What a login has where nobody configured otherwise; the hard limits may only be lowered by
/// those who are no longer root.
pub fn limits() {
    let hard = |resource| getrlimit(resource).map_or(RLIM_INFINITY, |(_, hard)| hard);
    for (resource, soft, hard) in [
        (Resource::RLIMIT_CORE, 0, RLIM_INFINITY),
        (Resource::RLIMIT_STACK, 8 << 20, RLIM_INFINITY),
        (
            Resource::RLIMIT_NOFILE,
            1024,
            hard(Resource::RLIMIT_NOFILE).max(4096),
        ),
        (Resource::RLIMIT_CPU, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_DATA, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY),
    ] {
        // A host that caps us keeps its cap.
        let _ = setrlimit(resource, soft, hard);
    }
    let _ = rustix::process::setpriority_process(None, 0);
}

/// The status for a command that could not be executed: 127 not found, 126 otherwise.
pub fn cannot_run(program: &str, errno: Errno) -> Error {
    let exit = match errno {
        Errno::ENOENT | Errno::ENOTDIR => Exit::NotFound,
        _ => Exit::CannotRun,
    };
    let error = Error::sys(format!("run {} inside", shown(program)), errno).exit(exit);
    match errno {
        Errno::ENOEXEC => error.hint("no program of this machine, and no #! line"),
        Errno::ENOENT => error.hint("or its #! interpreter or its loader is not there"),
        _ => error,
    }
}
