//! A process with the surroundings of a fresh login: user and groups of the subhost, environment, signals,
//! resource limits, terminal. It runs after the root of the subhost has become ours, so that the files of
//! the subhost are read without a way to the host.

mod guest;
mod stdio;
mod user;

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::confine::{Confinement, Rights};
use crate::kernel::inherited;
use crate::kernel::lsm::{Label, Labelling};
use crate::kernel::resolve::open_without_magic_links;
use crate::kernel::signals::default_signals;
use crate::kernel::spawn::Exec;
use crate::sys;
pub use guest::Guest;
use nix::sys::stat::{Mode, umask};
use rustix::fs::OFlags;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
pub use stdio::{StdioSource, null_instead};
use user::User;

/// The default PATH inside.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The program and its arguments; if empty, the login shell of the user.
    pub argv: Vec<String>,
    /// The user, by name or number, with or without `:GROUP`.
    pub user: String,
    /// The working directory; if empty, the home of the user.
    pub dir: String,
    /// Further environment variables.
    pub env: BTreeMap<String, String>,
    /// The value of TERM, if there is a terminal.
    pub term: Option<String>,
    /// The rights.
    pub rights: Rights,
    /// The labels of the host's security modules.
    pub labels: Vec<Label>,
}

/// Sets the exit status of a failure of `subhost-enter` itself.
fn own(error: Error) -> Error {
    error.exit(Exit::Own)
}

/// The surroundings that a program needs besides its settings.
pub struct Setup<'a> {
    /// The terminal inside, which becomes the controlling terminal.
    pub terminal: Option<&'a OwnedFd>,
    /// The prepared labels of the program.
    pub labels: Labelling,
    /// The prepared rights of the program.
    pub confinement: Rc<Confinement>,
    /// The user namespace to enter before the exec.
    pub userns: Option<&'a OwnedFd>,
}

impl Program {
    /// Prepares the execution of the program like [`Program::prepare`]. Those of 0, 1 and 2 that `slaves`
    /// names are the terminal, the others are inherited.
    ///
    /// # Errors
    /// See [`Program::prepare`].
    pub fn prepare_on_terminal(&self, slaves: [bool; 3], setup: Setup<'_>) -> Result<Exec> {
        let stdio = slaves.map(|is_slave| match is_slave {
            true => StdioSource::Terminal,
            false => StdioSource::Inherit,
        });
        self.prepare(stdio, setup)
    }

    /// Prepares the execution of the program in the subhost whose root is ours.
    ///
    /// # Errors
    /// There is no such user, group, directory or null device inside.
    pub fn prepare(&self, stdio: [StdioSource; 3], setup: Setup<'_>) -> Result<Exec> {
        let Setup {
            terminal,
            labels,
            confinement,
            userns,
        } = setup;
        let user = User::find(&self.user)?;
        let mut command = self.executable(&user);
        let shell = match user.shell.as_str() {
            "" => "/bin/sh",
            shell => shell,
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
        for (number, source) in stdio.into_iter().enumerate() {
            if let Some(fd) = source.open(number, terminal)? {
                command.stdio(number, fd);
            }
        }
        let tty = terminal.map(OwnedFd::try_clone).transpose();
        let tty = tty.doing(|| "duplicate the terminal")?;
        let userns = userns.map(OwnedFd::try_clone).transpose();
        let userns = userns.doing(|| "duplicate the user namespace")?;
        command.set_last_step(move || {
            labels.set_for_exec().map_err(|(_, errno)| errno)?;
            set_up_login(tty.as_ref(), &user, &confinement, userns.as_ref())
        });
        Ok(command)
    }

    /// Returns the execution of the program, or of the login shell of the user.
    fn executable(&self, user: &User) -> Exec {
        if let Some((program, args)) = self.argv.split_first() {
            let mut command = Exec::new(program);
            args.iter().for_each(|arg| command.arg(arg));
            return command;
        }
        let usable = user.shell.starts_with('/') && std::path::Path::new(&user.shell).exists();
        let shell = if usable {
            user.shell.as_str()
        } else {
            "/bin/sh"
        };
        let name = shell.rsplit('/').next().unwrap_or("sh");
        let mut command = Exec::new(shell);
        // The hyphen makes it a login shell (sh(1)).
        command.arg0(&format!("-{name}"));
        command
    }

    fn change_dir(&self, user: &User) -> Result<()> {
        if self.dir.is_empty() {
            // As login(1) does: a missing home does not prevent the login.
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
    let dir = open_without_magic_links(path, OFlags::PATH | OFlags::DIRECTORY)?;
    nix::unistd::fchdir(dir)
}

/// Sets up session, terminal, signals, limits and ids in the child, just before the exec.
fn set_up_login(
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
    inherited::reset_limits();
    inherited::reset_scheduling();
    if let Some(userns) = userns {
        crate::kernel::userns::enter(userns)?;
    }
    sys::new_session_keyring();
    // These calls change this thread only. The functions of libc would change all threads, and take those
    // of our parent, whose memory this is, for ours.
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

/// Makes the failure of a command that could not be executed, with status 127 if it was not found, else
/// 126.
pub fn cannot_run(program: &str, errno: Errno) -> Error {
    let exit = match errno {
        Errno::ENOENT | Errno::ENOTDIR => Exit::NotFound,
        _ => Exit::CannotRun,
    };
    let error = Error::sys(format!("run {} inside", shown(program)), errno).exit(exit);
    match errno {
        Errno::ENOEXEC => error.hint("not a program for this machine, and no #! line"),
        Errno::ENOENT => error.hint("or its #! interpreter or its loader is not there"),
        _ => error,
    }
}
