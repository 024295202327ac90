//! The way in and home again: what joins the subhost, and what makes the command there.

use super::{Ends, own};
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

/// What is to be made inside.
pub(super) struct JoinRequest {
    pub program: Program,
    /// Its 0, 1 and 2.
    pub given: [StdioSource; 3],
    pub trampoline: Option<Trampoline>,
}

/// The terminal if there is one, the command, and what it is called.
type Spawned = (Option<Terminal>, Child, String);

/// A way in, open: what it takes of the host is there.
pub(super) struct Way<'a> {
    running: &'a Running,
    entry: Entry,
    labels: Labelling,
    ids: Option<OwnIds>,
    split: Split,
}

impl<'a> Way<'a> {
    /// None if it has just ended.
    pub fn open(
        program: &Program,
        running: &'a Running,
        cgroups: &Group,
        split: Split,
    ) -> Result<Option<Self>> {
        let labels = Labelling::new(&program.labels).map_err(own)?;
        // Opened while their directories are to be seen.
        let entry = match cgroups.entry(Who::Joining) {
            Err(error) if error.errno == Some(Errno::ENOENT) && is_ending(running) => {
                return Ok(None);
            }
            other => other.map_err(own)?,
        };
        let ids = match running.init.ids.map(|base| OwnIds::open(running, base)) {
            Some(Err(error)) if error.errno == Some(Errno::ENOENT) => return Ok(None),
            ids => ids.transpose().map_err(own)?,
        };
        Ok(Some(Self {
            running,
            entry,
            labels,
            ids,
            split,
        }))
    }

    /// The calling thread goes in, makes the command and comes home. Its file system context (root, working
    /// directory) is its own (CLONE_FS). None if the subhost has just ended.
    pub fn walk(self, request: JoinRequest, home: Home, ends: Ends) -> Result<Option<Spawned>> {
        if !become_member(self.running).map_err(own)? {
            return Ok(None);
        }
        let (running, split) = (self.running, self.split);
        let spawned = self.spawn(request);
        // Out again: what we hold would keep the subhost's network and mounts from going when it ends.
        home.go().map_err(own)?;
        match spawned {
            // No process can be made in a pid namespace whose PID 1 ends, nor in a cgroup that is gone.
            Err(error) if error.errno.is_some_and(is_too_late) && is_ending(running) => {
                match split.in_world && ends == Ends::WithTheProcess {
                    // Our children are in its pid namespace for good: nothing else can be booted by us.
                    true => Err(Error::new(Exit::NotRunning, "it ended while it was joined")),
                    false => Ok(None),
                }
            }
            other => other.map(Some),
        }
    }

    /// In the subhost whose root is our root.
    fn spawn(self, request: JoinRequest) -> Result<Spawned> {
        let wants = |source: &StdioSource| matches!(source, StdioSource::Terminal);
        let terminal = match request.given.iter().any(wants) {
            true => Some(terminal::open_pair().map_err(own)?),
            false => None,
        };
        if let (Some(terminal), Some(ids)) = (&terminal, &self.ids) {
            // It was made by us, who are nobody inside.
            let uid = nix::unistd::Uid::from_raw(ids.base);
            let given = nix::unistd::fchown(&terminal.slave, Some(uid), None);
            given.doing(|| "give the terminal away").map_err(own)?;
        }
        let setup = Setup {
            terminal: terminal.as_ref().map(|terminal| &terminal.slave),
            labels: self.labels,
            confinement: Rc::new(request.program.rights.prepare().map_err(own)?),
            userns: self.ids.as_ref().map(|ids| &ids.userns),
        };
        let command = request.program.prepare(request.given, setup);
        let mut command = command.map_err(own)?;
        let name = command.program().to_owned();
        if let Some(trampoline) = request.trampoline {
            command.set_trampoline(trampoline);
        }
        let joins = || setns(&self.running.pidfd, self.split.childs);
        let child = command.spawn(CloneFlags::empty(), &self.entry, joins);
        let child = child.map_err(|errno| cannot_run(&name, errno))?;
        Ok((terminal, child, name))
    }
}

/// What a fork, or joining a namespace, says when it is too late.
fn is_too_late(errno: Errno) -> bool {
    [Errno::ENOMEM, Errno::ENODEV, Errno::ENOENT, Errno::ESRCH].contains(&errno)
}

/// Is its PID 1 gone or on its way out?
fn is_ending(running: &Running) -> bool {
    let stat = proc::Stat::find(running.init.identity.pid);
    proc::has_ended(&running.pidfd) || stat.is_none_or(|stat| stat.exiting)
}

/// The user namespace of a subhost. Our child enters it, we do not: there is no way back.
struct OwnIds {
    base: u32,
    userns: OwnedFd,
}

impl OwnIds {
    fn open(running: &Running, base: u32) -> Result<Self> {
        let userns = userns::open(running.init.identity.pid)?;
        // It was still this process.
        match proc::has_ended(&running.pidfd) {
            true => Err(Error::sys("join the user namespace", Errno::ENOENT)),
            false => Ok(Self { base, userns }),
        }
    }
}

/// The namespaces that the command joins by itself. We join only that of mounts, for the subhost's files,
/// and that of processes, which our children are to be in.
#[derive(Clone, Copy)]
pub(super) struct Split {
    /// We are in a user namespace, from which nobody can return to those of the host.
    pub in_world: bool,
    childs: CloneFlags,
}

impl Split {
    const OURS: CloneFlags = CloneFlags::CLONE_NEWNS.union(CloneFlags::CLONE_NEWPID);

    pub fn new(running: &Running) -> Self {
        let in_world = proc::is_in_user_namespace();
        let of = |pid| Namespace::Net.inode_of(pid);
        let us = || rustix::thread::gettid().as_raw_nonzero().get();
        let is_hosts = || of(running.init.identity.pid) == of(us());
        let network = match in_world && is_hosts() {
            true => CloneFlags::empty(),
            false => CloneFlags::CLONE_NEWNET,
        };
        // Once it is in the cgroup namespace, the kernel may let nobody in from outside of it
        // (nsdelegate): the child is in its cgroup before.
        let others =
            CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWCGROUP;
        Self {
            in_world,
            childs: others | network,
        }
    }
}

/// The namespaces that we came from, and our root in them: joining a mount namespace leaves a
/// chroot.
pub(super) struct Home {
    namespaces: Vec<OwnedFd>,
    root: Option<OwnedFd>,
}

impl Home {
    /// Of a thread that goes on there. In a user's world its children's cannot be returned to, and stays as it
    /// is.
    pub fn new(in_world: bool) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let kinds: &[Namespace] = match in_world {
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

    /// Of a thread that ends there: only out of the subhost's mounts, at once and not when the kernel has done
    /// with the thread, which is after others have seen its end.
    pub fn last() -> Result<Self> {
        Ok(Self {
            namespaces: open(&[Namespace::Mnt])?,
            root: None,
        })
    }

    fn go(self) -> Result<()> {
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

/// Joins what we have to of a subhost. Our children are in its pid namespace; we ourselves are not, and
/// cannot be seen from inside. False if it has just ended.
fn become_member(running: &Running) -> Result<bool> {
    match setns(&running.pidfd, Split::OURS) {
        Err(Errno::ESRCH) => Ok(false),
        other => other.doing(|| "join the namespaces").map(|()| true),
    }
}
