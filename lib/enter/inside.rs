//! Joins a running subhost, spawns a command there, and returns.

use super::Joiner;
use crate::base::error::{Doing, Errno, Error, Exit, Result};
use crate::cgroup::Who;
use crate::kernel::lsm::Labelling;
use crate::kernel::proc::{self, Namespace};
use crate::kernel::spawn::{Child, Entry};
use crate::kernel::terminal::{self, Terminal};
use crate::kernel::trampoline::Trampoline;
use crate::kernel::userns;
use crate::login::{Program, Setup, StdioSource, cannot_run};
use crate::state::{Group, Running};
use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A command to spawn inside.
pub(super) struct JoinRequest {
    pub program: Program,
    /// Its descriptors 0, 1 and 2.
    pub given: [StdioSource; 3],
    pub trampoline: Option<Trampoline>,
}

/// The terminal made for the command, if one was; its process; its name.
type Spawned = (Option<Terminal>, Child, String);

/// What a join needs of the host, opened before the host is out of sight.
pub(super) struct Entrance<'a> {
    running: &'a Running,
    entry: Entry,
    labels: Labelling,
    ids: Option<OwnIds>,
    namespaces: Namespaces,
}

impl<'a> Entrance<'a> {
    /// Opens what is needed. Returns `None` if the subhost has just ended.
    pub fn open(
        program: &Program,
        running: &'a Running,
        cgroups: &Group,
        namespaces: Namespaces,
    ) -> Result<Option<Self>> {
        let labels = Labelling::new(&program.labels)?;
        // Inside, the directories of its cgroups cannot be seen.
        let entry = match cgroups.entry(Who::Joining) {
            Err(error) if error.errno == Some(Errno::ENOENT) && is_ending(running) => {
                return Ok(None);
            }
            other => other?,
        };
        let ids = match running.init.ids.map(|base| OwnIds::open(running, base)) {
            Some(Err(error)) if error.errno == Some(Errno::ENOENT) => return Ok(None),
            ids => ids.transpose()?,
        };
        Ok(Some(Self {
            running,
            entry,
            labels,
            ids,
            namespaces,
        }))
    }

    /// Joins, spawns the command and returns. Returns `None` if the subhost has just ended. The calling thread must share
    /// root and working directory with no other (CLONE_FS).
    pub fn spawn_inside(
        self,
        request: JoinRequest,
        back: Return,
        joiner: Joiner,
    ) -> Result<Option<Spawned>> {
        if !join_mounts_and_pids(self.running)? {
            return Ok(None);
        }
        let (running, namespaces) = (self.running, self.namespaces);
        let spawned = self.spawn(request);
        // A process that stays in them would keep the subhost's mounts when it ends.
        back.go_back()?;
        match spawned {
            // No process can be made in a pid namespace whose PID 1 is exiting, nor in a cgroup that is gone.
            Err(error) if error.errno.is_some_and(is_too_late) && is_ending(running) => {
                match namespaces.in_user_namespace && joiner == Joiner::Tool {
                    // All further children would be in its pid namespace: this process cannot boot it anew.
                    true => Err(Error::new(Exit::NotRunning, "it ended while it was joined")),
                    false => Ok(None),
                }
            }
            other => other.map(Some),
        }
    }

    /// Spawns the command. The root of the calling thread is the subhost's.
    fn spawn(self, request: JoinRequest) -> Result<Spawned> {
        let wants = |given: &StdioSource| matches!(given, StdioSource::Terminal);
        let terminal = match request.given.iter().any(wants) {
            true => Some(terminal::open_pair()?),
            false => None,
        };
        if let (Some(terminal), Some(ids)) = (&terminal, &self.ids) {
            // Its owner is root of the host, whose id is not mapped inside.
            let uid = nix::unistd::Uid::from_raw(ids.base);
            let owned = nix::unistd::fchown(&terminal.slave, Some(uid), None);
            owned.doing(|| "change the owner of the terminal")?;
        }
        let setup = Setup {
            terminal: terminal.as_ref().map(|terminal| &terminal.slave),
            labels: self.labels,
            confinement: Rc::new(request.program.rights.prepare()?),
            userns: self.ids.as_ref().map(|ids| &ids.userns),
        };
        let mut command = request.program.prepare(request.given, setup)?;
        let name = command.program().to_owned();
        if let Some(trampoline) = request.trampoline {
            command.set_trampoline(trampoline);
        }
        let joins = || setns(&self.running.pidfd, self.namespaces.of_child);
        let child = command.spawn(CloneFlags::empty(), &self.entry, joins);
        let child = child.map_err(|errno| cannot_run(&name, errno))?;
        Ok((terminal, child, name))
    }
}

/// Reports whether a fork, or joining a namespace, failed because the subhost ends.
fn is_too_late(errno: Errno) -> bool {
    [Errno::ENOMEM, Errno::ENODEV, Errno::ENOENT, Errno::ESRCH].contains(&errno)
}

/// Reports whether its PID 1 is gone or exiting.
fn is_ending(running: &Running) -> bool {
    let stat = proc::Stat::find(running.init.identity.pid);
    proc::has_ended(&running.pidfd) || stat.is_none_or(|stat| stat.exiting)
}

/// The user namespace of a subhost. Our child enters it; a process cannot leave one again.
struct OwnIds {
    base: u32,
    userns: OwnedFd,
}

impl OwnIds {
    fn open(running: &Running, base: u32) -> Result<Self> {
        let userns = userns::open(running.init.identity.pid)?;
        // If it still lives, the namespace was that of this process and not of a later one.
        match proc::has_ended(&running.pidfd) {
            true => Err(Error::sys("join the user namespace", Errno::ENOENT)),
            false => Ok(Self { base, userns }),
        }
    }
}

/// Which namespaces the joiner joins, and which the command. The joiner joins that of mounts, for the subhost's files, and
/// that of processes, for its children.
#[derive(Clone, Copy)]
pub(super) struct Namespaces {
    /// The joiner is in a user namespace, from which it cannot return to namespaces of the host.
    pub in_user_namespace: bool,
    of_child: CloneFlags,
}

impl Namespaces {
    const OURS: CloneFlags = CloneFlags::CLONE_NEWNS.union(CloneFlags::CLONE_NEWPID);

    pub fn new(running: &Running) -> Self {
        let in_user_namespace = proc::is_in_user_namespace();
        let of = |pid| Namespace::Net.inode_of(pid);
        let us = || rustix::thread::gettid().as_raw_nonzero().get();
        let is_hosts = || of(running.init.identity.pid) == of(us());
        let network = match in_user_namespace && is_hosts() {
            true => CloneFlags::empty(),
            false => CloneFlags::CLONE_NEWNET,
        };
        // With nsdelegate no process can be moved into a cgroup namespace from outside: the child is in its cgroup before
        // it joins the namespace.
        let others =
            CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWCGROUP;
        Self {
            in_user_namespace,
            of_child: others | network,
        }
    }
}

/// The namespaces that a joiner returns to, and its root there: to join a mount namespace is to leave a chroot.
pub(super) struct Return {
    namespaces: Vec<OwnedFd>,
    root: Option<OwnedFd>,
}

impl Return {
    /// Opens those of a thread that goes on with other work. One in a user namespace cannot return to the pid namespace of its
    /// children.
    pub fn of_tool(namespaces: Namespaces) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let kinds: &[Namespace] = match namespaces.in_user_namespace {
            true => &[Namespace::Mnt],
            false => &[Namespace::Mnt, Namespace::Pid],
        };
        let namespaces = open(kinds)?;
        let root = rustix::fs::open("/", flags, Mode::empty()).doing(|| "open our root")?;
        Ok(Self {
            namespaces,
            root: Some(root),
        })
    }

    /// Opens that of a thread that then ends. It leaves the subhost's mounts by itself, as the kernel releases those of a thread
    /// after other processes have seen its end.
    pub fn of_thread() -> Result<Self> {
        Ok(Self {
            namespaces: open(&[Namespace::Mnt])?,
            root: None,
        })
    }

    fn go_back(self) -> Result<()> {
        for namespace in &self.namespaces {
            setns(namespace, CloneFlags::empty()).doing(|| "return to our own namespaces")?;
        }
        let Some(root) = self.root else { return Ok(()) };
        nix::unistd::fchdir(&root)
            .and_then(|()| nix::unistd::chroot("."))
            .doing(|| "return to our own root")
    }
}

fn open(kinds: &[Namespace]) -> Result<Vec<OwnedFd>> {
    let namespaces = kinds.iter().map(|kind| kind.open_own());
    let namespaces = namespaces.collect::<std::result::Result<_, Errno>>();
    namespaces.doing(|| "open our own namespaces")
}

/// Joins the mount namespace, and the pid namespace for children: the joiner itself cannot be seen from inside. Returns
/// false if the subhost has just ended.
fn join_mounts_and_pids(running: &Running) -> Result<bool> {
    match setns(&running.pidfd, Namespaces::OURS) {
        Err(Errno::ESRCH) => Ok(false),
        other => other.doing(|| "join the namespaces").map(|()| true),
    }
}
