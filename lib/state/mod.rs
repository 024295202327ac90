//! What a subhost's commands leave for one another in /run/subhost: the lock, the frozen plans,
//! who is its PID 1, how the last run ended, and which layers are in use. The only reader and
//! writer of that directory; gone at reboot, as is all that it speaks of.

mod claims;
mod deferred;
mod files;
mod lock;

use crate::cgroup::Group;
use crate::config::{Name, Stop};
use crate::confine::Rights;
use crate::dirs;
use crate::error::{Doing, Error, Exit, Result, shown};
use crate::lsm::Label;
use crate::plan::{Half, Plan};
use crate::proc::{self, Identity};
pub(crate) use claims::CLAIMS;
use files::told;
pub use lock::Lock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where state lives.
pub const RUN: &str = "/run/subhost";
/// Here if it was we who made /run/netns a mount of its own.
const SHARED: &str = "/run/subhost/.netns";

/// The state of one subhost.
#[derive(Debug, Clone)]
pub struct State {
    name: Name,
    dir: PathBuf,
    known: Arc<Mutex<Known>>,
}

/// What has been read or written since we took the lock: until we let go of it nobody else changes it,
/// so it need not be read again. Or since a [`State::look`], which is to be of one moment.
#[derive(Debug, Default)]
struct Known {
    keeps: bool,
    /// Of those who only look: has it been booted since something of it is up?
    booted: Option<bool>,
    /// Of root and network.
    plans: [Option<Option<Arc<Plan>>>; 2],
    init: Option<Option<Init>>,
}

/// Who booted a subhost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booter {
    /// The tool.
    pub tool: String,
    /// Its pid, if the boot ends with it.
    pub pid: Option<i32>,
    /// Its terminal.
    pub tty: Option<String>,
}

/// PID 1 of a booted subhost, and what ending it and joining it need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Id of the boot of the host.
    pub boot: String,
    /// $SUBHOST.
    pub tree: PathBuf,
    /// The process.
    pub identity: Identity,
    /// Who booted it.
    pub by: Booter,
    /// When, seconds since the epoch.
    pub since: u64,
    /// The boot is complete: before, it may still be on the host.
    pub up: bool,
    /// A stop has asked it to end.
    pub asked: bool,
    /// It is the tree's own init, not ours.
    pub own: bool,
    /// First id of its user namespace; none: it has none.
    #[serde(default)]
    pub ids: Option<u32>,
    /// How it is asked to end.
    pub stop: Stop,
    /// How long that may take.
    pub stop_timeout: Duration,
    /// What `ENV_*` said.
    pub env: BTreeMap<String, String>,
    /// What those inside may do.
    pub rights: Rights,
    /// What the host's security modules confine what runs inside by.
    pub labels: Vec<Label>,
    /// The process that logs the console of an init in the background.
    pub console: Option<Identity>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When, seconds since the epoch.
    pub when: u64,
    /// Exit status of RUN, INIT or the command that was its init.
    #[serde(default)]
    pub exit: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// The kernel sent that for want of memory; none: nobody has looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<bool>,
}

/// A subhost that runs.
#[derive(Debug)]
pub struct Running {
    /// Its record.
    pub init: Init,
    /// Its PID 1.
    pub pidfd: OwnedFd,
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The id of this boot of the host.
///
/// # Errors
/// /proc is not there.
pub fn boot_id() -> Result<&'static str> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let id = proc::text("/proc/sys/kernel/random/boot_id");
    let id = id.doing(|| "read the boot id")?;
    Ok(ID.get_or_init(|| String::from_utf8_lossy(&id).trim().to_owned()))
}

fn plan_name(half: Half) -> &'static str {
    match half {
        Half::Root => "root.plan",
        Half::Net => "net.plan",
    }
}

/// The names of all subhosts that have state. Sorted.
pub fn names() -> Vec<Name> {
    let mut names = Vec::new();
    let _ = dirs::each(Path::new(RUN), |name| {
        names.extend(std::str::from_utf8(name).ok().and_then(Name::checked));
    });
    names.sort();
    names
}

/// Notes that we made /run/netns a shared mount, or took it back.
pub fn mark_shared(made: bool) {
    // Without the note the mount stays, as iproute2's does.
    let _ = match made {
        true => File::create(SHARED).map(drop),
        false => std::fs::remove_file(SHARED),
    };
}

/// Was it we who made /run/netns a shared mount?
pub fn is_marked_shared() -> bool {
    Path::new(SHARED).exists()
}

impl State {
    /// Of the subhost `name`; touches nothing.
    pub fn of(name: &Name) -> Self {
        Self {
            name: name.clone(),
            dir: Path::new(RUN).join(name.as_str()),
            known: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is read is kept or not; what was known before counts no more.
    fn begin(&self, keeps: bool) {
        *self.known() = Known {
            keeps,
            ..Known::default()
        };
    }

    /// For those who only look: from now on nothing is read twice, and PID 1 is looked for only where it has been
    /// given the file for the end of its run, before it was recorded. What is not there costs the kernel more than
    /// what is: a tmpfs does not remember it.
    pub fn look(&self) {
        self.begin(true);
        let access = rustix::fs::access(self.last_file(), rustix::fs::Access::EXISTS);
        self.known().booted = Some(access != Err(rustix::io::Errno::NOENT));
    }

    /// Is it known that it has not been booted?
    fn is_not_booted(&self) -> bool {
        self.known().booted == Some(false)
    }

    fn last_file(&self) -> PathBuf {
        self.dir.join("last")
    }

    /// A file of ours by name.
    fn read(&self, name: &str) -> Result<Option<String>> {
        files::read(&self.dir.join(name))
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn plan_file(&self, half: Half) -> PathBuf {
        self.dir.join(plan_name(half))
    }

    /// The frozen plan of one half; none if it is not up, or was in an earlier boot of the host.
    ///
    /// # Errors
    /// The file is damaged or of another version.
    pub fn plan(&self, half: Half) -> Result<Option<Arc<Plan>>> {
        if let Some(plan) = &self.known().plans[half as usize] {
            return Ok(plan.clone());
        }
        let plan = self.read_plan(half)?.map(Arc::new);
        self.keep_plan(half, plan.as_ref());
        Ok(plan)
    }

    fn keep_plan(&self, half: Half, plan: Option<&Arc<Plan>>) {
        let mut known = self.known();
        if known.keeps {
            known.plans[half as usize] = Some(plan.cloned());
        }
    }

    fn read_plan(&self, half: Half) -> Result<Option<Plan>> {
        let Some(text) = self.read(plan_name(half))? else {
            return Ok(None);
        };
        let plan = Plan::from_text(&text).map_err(|mut e| {
            e.what = format!("{}: {}", self.plan_file(half).display(), e.what);
            e.hint("take down by hand what is up, then remove the file")
        })?;
        Ok((plan.boot == boot_id()?).then_some(plan))
    }

    /// Freezes a plan before it is made.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn freeze(&self, plan: &Plan) -> Result<()> {
        self.known().plans[plan.half as usize] = None;
        self.write(&self.plan_file(plan.half), plan.to_text()?.as_bytes())?;
        self.keep_plan(plan.half, Some(&Arc::new(plan.clone())));
        Ok(())
    }

    /// Forgets a plan: nothing of it is up any more.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn thaw(&self, half: Half) -> Result<()> {
        let file = self.plan_file(half);
        self.known().plans[half as usize] = None;
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).doing(|| format!("remove {}", file.display()));
            }
            _ => {}
        }
        self.keep_plan(half, None);
        Ok(())
    }

    /// Writes a file of the state in whole or not at all.
    fn write(&self, file: &Path, text: &[u8]) -> Result<()> {
        let new = file.with_extension("new");
        let doing = || format!("write {}", file.display());
        let written = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut open| open.write_all(text));
        if let Err(e) = written {
            let _ = std::fs::remove_file(&new);
            return Err(e).doing(doing);
        }
        std::fs::rename(&new, file).doing(doing).inspect_err(|_| {
            let _ = std::fs::remove_file(&new);
        })
    }

    /// A text that PID 1 binds over a file of the tree; gives its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.dir.join(name);
        let open = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&file);
        open.and_then(|mut open| open.write_all(text.as_bytes()))
            .doing(|| format!("write {}", file.display()))?;
        Ok(file)
    }

    /// Records PID 1.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&self, init: &Init) -> Result<()> {
        let text = serde_json::to_string(init)
            .map_err(|e| Error::new(Exit::Failed, format!("cannot record PID 1: {e}")))?;
        self.known().init = None;
        self.write(&self.dir.join("init"), text.as_bytes())?;
        self.keep_init(Some(init));
        Ok(())
    }

    fn keep_init(&self, init: Option<&Init>) {
        let mut known = self.known();
        if known.keeps {
            known.init = Some(init.cloned());
        }
    }

    /// The record of PID 1, whether it lives or not.
    ///
    /// # Errors
    /// It is there and cannot be read: whether something runs is then not known.
    pub fn init(&self) -> Result<Option<Init>> {
        if let Some(init) = &self.known().init {
            return Ok(init.clone());
        }
        if self.is_not_booted() {
            return Ok(None);
        }
        let init = self.read_init()?;
        self.keep_init(init.as_ref());
        Ok(init)
    }

    fn read_init(&self) -> Result<Option<Init>> {
        let damaged = |why: String| {
            Error::new(
                Exit::Invalid,
                format!("{} cannot be read: {why}", self.dir.join("init").display()),
            )
            .hint("see with ps whether its subhost-init lives, end it, then remove the file")
        };
        let Some(text) = self.read("init")? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| damaged(e.to_string()))
    }

    /// The record of PID 1 and a pidfd of it, if it lives.
    ///
    /// # Errors
    /// As [`State::init`].
    pub fn running(&self) -> Result<Option<Running>> {
        let Some(init) = self.init()? else {
            return Ok(None);
        };
        if init.boot != boot_id()? {
            return Ok(None);
        }
        let pid = init.identity.pid;
        let alive = init.identity.alive();
        let alive = alive.doing(|| format!("tell whether PID 1 (pid {pid}) lives"))?;
        Ok(alive.map(|pidfd| Running { init, pidfd }))
    }

    /// Records its cgroups, before they are made.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record_cgroups(&self, group: &Group) -> Result<()> {
        if group.is_empty() {
            self.forget_cgroups();
            return Ok(());
        }
        let text = serde_json::to_string(group)
            .map_err(|e| Error::new(Exit::Failed, format!("cannot record cgroups: {e}")))?;
        self.write(&self.cgroup_file(), text.as_bytes())
    }

    /// The record of its cgroups; empty if there is none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn cgroups(&self) -> Result<Group> {
        let Some(text) = self.read("cgroup")? else {
            return Ok(Group::default());
        };
        serde_json::from_str(&text).map_err(|e| {
            let what = format!("{} cannot be read: {e}", self.cgroup_file().display());
            Error::new(Exit::Invalid, what)
                .hint("remove its cgroups by hand (subhost-check finds them), then the file")
        })
    }

    /// Ends what is left in its cgroups, removes and forgets them.
    ///
    /// # Errors
    /// What does not end. They are not forgotten then.
    pub fn remove_cgroups(&self) -> Result<()> {
        let group = self.cgroups()?;
        if !group.is_empty() {
            // The count goes with it.
            if let Some(last) = self.last().filter(|last| last.out_of_memory == Some(true)) {
                self.record_last(&last);
            }
            group.remove()?;
            self.forget_cgroups();
        }
        Ok(())
    }

    /// Forgets its cgroups.
    pub fn forget_cgroups(&self) {
        // What stays is the record of what is gone.
        let _ = std::fs::remove_file(self.cgroup_file());
    }

    fn cgroup_file(&self) -> PathBuf {
        self.dir.join("cgroup")
    }

    /// Records the helper of the network.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record_helper(&self, helper: &Identity) -> Result<()> {
        let text = serde_json::to_string(&(boot_id()?, helper))
            .map_err(|e| Error::new(Exit::Failed, format!("cannot record the helper: {e}")))?;
        self.write(&self.dir.join("helper"), text.as_bytes())
    }

    /// The helper of the network, whether it lives or not.
    ///
    /// # Errors
    /// The record is there and cannot be read.
    pub fn helper(&self) -> Result<Option<Identity>> {
        let file = self.dir.join("helper");
        let Some(text) = self.read("helper")? else {
            return Ok(None);
        };
        let damaged = |e| {
            let what = format!("{} cannot be read: {e}", file.display());
            Error::new(Exit::Invalid, what).hint("end pasta or slirp4netns, then remove the file")
        };
        let (boot, helper): (String, Identity) = serde_json::from_str(&text).map_err(damaged)?;
        Ok((boot == boot_id()?).then_some(helper))
    }

    /// Forgets the helper.
    pub fn forget_helper(&self) {
        // What stays is the record of a dead process.
        let _ = std::fs::remove_file(self.dir.join("helper"));
    }

    /// Forgets PID 1.
    pub fn forget(&self) {
        self.known().init = None;
        // What stays is the record of a dead process.
        if std::fs::remove_file(self.dir.join("init")).is_ok() {
            self.keep_init(None);
        }
    }

    /// Records how a run ended that could not say so itself.
    pub fn record_last(&self, last: &Last) {
        if let Ok(text) = serde_json::to_string(last) {
            // For the administrator's eyes only: nothing depends on it.
            let _ = self.write(&self.last_file(), text.as_bytes());
        }
    }

    /// How the last run ended.
    pub fn last(&self) -> Option<Last> {
        if self.is_not_booted() {
            return None;
        }
        let mut last: Last = serde_json::from_str(&self.read("last").ok()??).ok()?;
        let killed = last.signal == Some(nix::libc::SIGKILL);
        let of_now = || matches!(self.init(), Ok(Some(init)) if init.since <= last.when);
        if killed && last.out_of_memory.is_none() && of_now() {
            // The cgroup that it was in, with its counts, is there until the next start or stop.
            let kills = self.cgroups().unwrap_or_default().usage().oom_kills;
            last.out_of_memory = kills.map(|kills| kills > 0);
        }
        Some(last)
    }

    /// The file that PID 1 writes by descriptor: the end of the run.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn for_init(&self) -> Result<File> {
        let path = self.last_file();
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .doing(|| format!("open {}", path.display()))
    }
}

/// The terminal that a process has open as its standard input, output or error.
pub fn tty_of(pid: i32) -> Option<String> {
    (0..3).find_map(|fd| {
        let path = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let terminal = path.starts_with("/dev/pts") || path.starts_with("/dev/tty");
        terminal.then(|| shown(path))
    })
}
