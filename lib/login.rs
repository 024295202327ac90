//! A process as a fresh login has it: user and groups by the subhost's own files, environment,
//! signals, limits, terminal. Runs inside, after the subhost's root has become ours, so that its
//! files are read with no way to the host.

use crate::confine::{Confinement, Rights};
use crate::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::lsm::Label;
use crate::sys;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use rustix::fs::{CWD, FileType, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// /etc/passwd and /etc/group larger than this are not read.
const MAX: u64 = 8 << 20;
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

/// A user as the subhost's /etc/passwd has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    home: String,
    shell: String,
}

/// Our own failures inside `subhost-enter` have a status of their own.
fn own(error: Error) -> Error {
    error.exit(Exit::Own)
}

/// Opens something of the subhost. Links are followed, but for those of /proc that are no paths:
/// they lead to whatever a process has open, which may be the host's.
fn within(path: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    openat2(
        CWD,
        path,
        OFlags::CLOEXEC | flags,
        rustix::fs::Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(IntoErrno::into_errno)
}

/// A file of the subhost: regular, of a sane size, opened without waiting for a FIFO's other end.
fn file(path: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(within(path, flags).ok()?);
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > MAX {
        return None;
    }
    let mut bytes = Vec::new();
    // No more than its size: the kernel's own files have none, and to read some of them has effects
    // (/proc/kmsg takes messages out of the host's log).
    file.take(meta.len()).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// An id in full or not at all: `1x` must not become 1 (CVE-2026-30892).
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

impl User {
    fn find(text: &str) -> Result<Self> {
        let (passwd, group) = (file("/etc/passwd"), file("/etc/group"));
        Self::of(
            text,
            &passwd.unwrap_or_default(),
            &group.unwrap_or_default(),
        )
    }

    /// `USER[:GROUP]`, each a name or a number. A number needs no entry in passwd.
    fn of(text: &str, passwd: &str, group: &str) -> Result<Self> {
        let (name, group_name) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let unknown = |what: &str, name: &str| {
            let what = format!("there is no {what} '{}' inside", shown(name));
            own(Error::new(Exit::Own, what))
        };
        let mut user = entry(passwd, name)
            .or_else(|| Self::bare(name))
            .ok_or_else(|| unknown("user", name))?;
        if let Some(name) = group_name {
            user.gid = group_id(group, name).ok_or_else(|| unknown("group", name))?;
            user.groups = vec![user.gid];
        } else {
            user.groups = memberships(group, &user.name);
            user.groups.insert(0, user.gid);
        }
        Ok(user)
    }

    fn bare(name: &str) -> Option<Self> {
        let uid = match name {
            // Even a tree without /etc/passwd has its root.
            "root" => 0,
            other => id(other)?,
        };
        Some(Self {
            name: name.to_owned(),
            uid,
            gid: uid,
            groups: Vec::new(),
            home: if uid == 0 { "/root" } else { "/" }.into(),
            shell: String::new(),
        })
    }
}

fn entry(passwd: &str, wanted: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let [name, _, uid, gid, _, home, shell] = line.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let uid = id(uid)?;
        if name.is_empty() || (name != wanted && id(wanted) != Some(uid)) {
            return None;
        }
        Some(User {
            name: name.to_owned(),
            uid,
            gid: id(gid)?,
            groups: Vec::new(),
            home: home.to_owned(),
            shell: shell.to_owned(),
        })
    })
}

fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let [name, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        Some((name, id(gid)?, members))
    })
}

fn group_id(group: &str, wanted: &str) -> Option<u32> {
    group_entries(group)
        .find(|(name, ..)| !name.is_empty() && *name == wanted)
        .map(|(_, gid, _)| gid)
        .or_else(|| id(wanted))
}

fn memberships(group: &str, user: &str) -> Vec<u32> {
    group_entries(group)
        .filter(|(.., members)| members.split(',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
        .take(1024)
        .collect()
}

impl Program {
    /// The command, ready to be spawned in the subhost whose root is our root. `terminal` replaces
    /// those of 0, 1 and 2 that `slaves` names, and becomes the controlling terminal; `proc` is the
    /// /proc by which it is confined; in `userns` it becomes root first.
    ///
    /// # Errors
    /// No such user, group or directory.
    pub fn command(
        &self,
        terminal: Option<&OwnedFd>,
        slaves: [bool; 3],
        proc: &OwnedFd,
        userns: Option<&OwnedFd>,
    ) -> Result<Command> {
        let user = User::find(&self.user)?;
        let mut command = match self.argv.split_first() {
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args);
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
                let mut command = Command::new(shell);
                // What makes it a login shell.
                command.arg0(format!("-{name}"));
                command
            }
        };
        command.env_clear();
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
        command.envs(&self.env);
        self.change_dir(&user)?;
        if let Some(terminal) = terminal {
            let slave = || terminal.try_clone().map(Stdio::from);
            let doing = || "duplicate the terminal";
            if slaves[0] {
                command.stdin(slave().doing(doing)?);
            }
            if slaves[1] {
                command.stdout(slave().doing(doing)?);
            }
            if slaves[2] {
                command.stderr(slave().doing(doing)?);
            }
        }
        for (fd, _) in slaves.iter().enumerate().filter(|(_, slave)| !**slave) {
            let Some(null) = null_instead(fd)? else {
                continue;
            };
            match fd {
                0 => command.stdin(null),
                1 => command.stdout(null),
                _ => command.stderr(null),
            };
        }
        let tty = terminal.map(OwnedFd::try_clone).transpose();
        let tty = tty.doing(|| "duplicate the terminal")?;
        let (confinement, labels) = (self.rights.prepare()?, self.labels.clone());
        let proc = proc.try_clone().doing(|| "duplicate /proc")?;
        let userns = userns.map(OwnedFd::try_clone).transpose();
        let userns = userns.doing(|| "duplicate the user namespace")?;
        sys::before_exec(&mut command, move || {
            let labelled = labels.iter().try_for_each(|label| label.on_exec(&proc));
            labelled
                .and_then(|()| fresh(tty.as_ref(), &user, &confinement, userns.as_ref()))
                .map_err(|errno| std::io::Error::from_raw_os_error(errno as i32))
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

/// The subhost's own /dev/null, if what we have as 0, 1 or 2 is one: by the host's, root inside could
/// change its mode and owner for the host.
///
/// # Errors
/// There is no such thing inside.
pub fn null_instead(fd: usize) -> Result<Option<OwnedFd>> {
    let is_null = |fd: BorrowedFd<'_>| {
        rustix::fs::fstat(fd).is_ok_and(|stat| {
            let char_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
            char_device && stat.st_rdev == rustix::fs::makedev(1, 3)
        })
    };
    let given = match fd {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    };
    if !is_null(given) {
        return Ok(None);
    }
    let doing = || "open /dev/null inside";
    // It may have been made a FIFO, which is not waited for.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let null = within("/dev/null", flags).doing(doing).map_err(own)?;
    match is_null(null.as_fd()) {
        true => Ok(Some(null)),
        false => Err(own(
            Error::sys(doing(), Errno::ENXIO).hint("something else was put in its place")
        )),
    }
}

fn change_dir(path: &str) -> std::result::Result<(), Errno> {
    nix::unistd::fchdir(within(path, OFlags::PATH | OFlags::DIRECTORY)?)
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
        sys::controlling_tty(tty)?;
    }
    default_signals()?;
    umask(Mode::from_bits_truncate(0o022));
    limits();
    if let Some(userns) = userns {
        crate::userns::enter(userns)?;
    }
    sys::new_session_keyring();
    let groups: Vec<_> = user
        .groups
        .iter()
        .map(|gid| nix::unistd::Gid::from_raw(*gid))
        .collect();
    nix::unistd::setgroups(&groups)?;
    let gid = nix::unistd::Gid::from_raw(user.gid);
    nix::unistd::setresgid(gid, gid, gid)?;
    confinement
        .enter()
        .map_err(|e| e.errno.unwrap_or(Errno::EPERM))?;
    let uid = nix::unistd::Uid::from_raw(user.uid);
    nix::unistd::setresuid(uid, uid, uid)?;
    sys::cloexec_from(3)
}

/// All signals at their defaults and none blocked: nohup, cron and our own waiting leave others.
///
/// # Errors
/// The mask cannot be set.
pub fn default_signals() -> std::result::Result<(), Errno> {
    for number in 1..=64 {
        sys::default_signal(number);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
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

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        broken:x:1x:1::/:/bin/sh\nwww-data:x:33:33:www:/var/www:/usr/sbin/nologin\nshort:x:5\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:\ntty:x:5:www-data,other\nbad:x:1x:www-data\n";

    #[test]
    fn the_kernels_own_files_are_not_read() {
        assert_eq!(file("/proc/self/status").as_deref(), Some(""));
        assert_eq!(file("/proc/self/exe"), None);
        assert_eq!(file("/dev/null"), None);
    }

    #[test]
    fn users() {
        let user = User::of("www-data", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (33, 33, vec![33, 5]));
        let user = User::of("33", PASSWD, GROUP).unwrap();
        assert_eq!((user.name.as_str(), user.uid), ("www-data", 33));
        let user = User::of("1234:tty", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1234, 5, vec![5]));
        assert_eq!(User::of("root", "", "").unwrap().home, "/root");
        for bad in [
            "broken",
            "short",
            "nobody",
            "1x",
            "-1",
            "+1",
            "",
            "4294967295",
            "root:nogroup",
        ] {
            assert!(User::of(bad, PASSWD, GROUP).is_err(), "{bad}");
        }
    }
}
