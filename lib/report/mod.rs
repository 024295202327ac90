//! What is to be told about subhosts: one look at the mount table, the links and the processes,
//! and from it a row for each. Changes nothing, and works while others change things.

use crate::base::error::{Exit, Result};
use crate::base::name::Name;
use crate::base::words::span;
use crate::cgroup::Usage;
use crate::config::weakened;
use crate::kernel::clock;
use crate::kernel::holders::pids;
use crate::kernel::mountinfo::Mounts;
use crate::kernel::proc::{Namespace, Stat};
use crate::net::{Link, Network, Statistics};
use crate::plan::steps::cable::Cable;
use crate::plan::{Part, Plan, Step};
use crate::state::{self, Group, Last};
use crate::subhost::{Status, Subhost};
use serde::Serialize;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clock ticks in a second (`sysconf(_SC_CLK_TCK)`), the same on all architectures of today.
const TICKS: u64 = 100;

/// How long a list waits for a command that is at work.
const SETTLING: Duration = Duration::from_secs(1);

/// One subhost.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// `stopped`, `hibernating`, `running`, `frozen`, `broken`; `invalid` if its config is and nothing
    /// is up.
    pub state: String,
    /// PID 1 on the host.
    pub pid: Option<i32>,
    /// Seconds since it was booted.
    pub uptime: Option<u64>,
    /// Addresses of its cables.
    pub addresses: Vec<String>,
    /// The first of them.
    pub address: Option<String>,
    /// Bytes that its cgroup counts; without the controller, resident bytes of its processes.
    pub memory: Option<u64>,
    /// Seconds of CPU time since it was booted, as its cgroup counts; without one, of its processes and
    /// those that they have waited for.
    pub cpu: Option<f64>,
    /// Number of its processes.
    pub processes: Option<u64>,
    /// `overlay`, `rbind` or `image`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// How the last run ended.
    pub last: Option<Last>,
    /// Is what is up what the settings say? None if nothing is up or they cannot be read.
    pub changed: Option<bool>,
    /// What is wrong with it, if `broken` or `invalid`.
    pub problem: Option<String>,
    /// Its cables: host end, received and sent bytes as the inside sees them.
    pub links: Vec<Traffic>,
    /// Where its root is.
    pub root: Option<PathBuf>,
    /// What is mounted for it, in order.
    pub mounts: Vec<PathBuf>,
    /// First and last of the host's ids that are its own, where what is up has a user namespace.
    pub ids: Option<(u32, u32)>,
    /// Who booted it, if the boot ends with that.
    pub booted_by: Option<String>,
    /// What its settings weaken against the defaults.
    pub weakened: Vec<String>,
    /// The limits that hold, by key.
    pub limits: BTreeMap<String, String>,
    /// What its cgroups count, of this run or the last one until it is stopped.
    pub usage: Usage,
}

/// A cable and what went through it, bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Traffic {
    /// Host end.
    pub link: String,
    /// Sent by the inside.
    pub tx: u64,
    /// Received by the inside.
    pub rx: u64,
}

/// Sums over the processes of one pid namespace.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    memory: u64,
    cpu: u64,
    processes: u64,
}

/// How much of a row is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Without what the others add.
    Usual,
    /// With the number of processes and their CPU time.
    Counted,
    /// All: with what takes the settings to tell where something is up, what went through cables, and
    /// limits and what is counted against them.
    Whole,
}

/// For fewer than so many there is no further thread.
const SIDE_BY_SIDE: usize = 64;
/// So many a thread takes at a time.
const AT_ONCE: usize = 4;

/// All rows: of `names`, or of every subhost of `tree` that has a config or is up.
///
/// # Errors
/// The kernel could not be asked, or $SUBHOST cannot be read.
pub fn rows(tree: &Path, names: Option<&[Name]>, look: Look) -> Result<Vec<Row>> {
    let all = match names {
        Some(names) => names.to_vec(),
        None => crate::config::names_and(tree, state::names())?,
    };
    let links = match look {
        Look::Whole => Network::new().host_links(Statistics::Included)?,
        Look::Usual | Look::Counted => BTreeMap::new(),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(all.len().div_ceil(SIDE_BY_SIDE));
    // Each takes the next few until there are none: some take longer than others.
    let next = AtomicUsize::new(0);
    let work = || {
        let (table, mut network) = (Mounts::later(), Network::new());
        let mut one = |name: &Name| {
            let subhost = Subhost::new(tree, name, &[]);
            subhost.state().look();
            let is_one = names.is_some() || is_of_this_tree(&subhost);
            is_one.then(|| row(&subhost, &table, &mut network, &links, look))
        };
        let mut mine = Vec::new();
        loop {
            let begin = next.fetch_add(AT_ONCE, Ordering::Relaxed);
            let Some(rest) = all.get(begin..).filter(|rest| !rest.is_empty()) else {
                return mine;
            };
            let some = rest.iter().take(AT_ONCE);
            mine.push((begin, some.filter_map(&mut one).collect::<Vec<Row>>()));
        }
    };
    let here = nix::sched::sched_getcpu().ok();
    let elsewhere = || {
        leave(here);
        // Open files of its own: with a common table the kernel takes locks for each use of one. Else it is slower.
        let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES);
        work()
    };
    let mut parts = std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, elsewhere);
        // Where there can be no thread it is done here.
        let others: Vec<_> = (1..threads).map_while(|i| spawn(i).ok()).collect();
        let mut parts = work();
        for other in others {
            match other.join() {
                Ok(more) => parts.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        parts
    });
    parts.sort_by_key(|(begin, _)| *begin);
    let mut rows = Vec::with_capacity(all.len());
    parts.iter_mut().for_each(|(_, some)| rows.append(some));
    usage(&mut rows, look);
    Ok(rows)
}

/// Takes this thread away from a processor. The kernel may begin a thread where its maker runs, and looks for a
/// better place after some milliseconds: half of what all of this takes.
fn leave(processor: Option<usize>) {
    let us = nix::unistd::Pid::from_raw(0);
    if let (Some(processor), Ok(mut others)) = (processor, nix::sched::sched_getaffinity(us)) {
        // Where there is no other, it stays.
        let _ = others
            .unset(processor)
            .and_then(|()| nix::sched::sched_setaffinity(us, &others));
    }
}

/// State of another $SUBHOST's subhost is no row of ours, unless it was asked for.
fn is_of_this_tree(subhost: &Subhost) -> bool {
    let is_foreign = |part| matches!(subhost.frozen(part), Err(e) if e.exit == Exit::Invalid);
    let foreign = Part::SETTLED.into_iter().any(is_foreign);
    !foreign || subhost.has_config()
}

fn row(
    subhost: &Subhost,
    table: &Mounts,
    network: &mut Network,
    links: &BTreeMap<String, Link>,
    look: Look,
) -> Row {
    let whole = look == Look::Whole;
    let read = OnceCell::new();
    let config = || read.get_or_init(|| subhost.config());
    let running = subhost.running();
    let group = match whole || matches!(running, Ok(Some(_))) {
        true => subhost.state().cgroups(),
        false => Ok(Group::default()),
    };
    let status = match (&running, &group) {
        (Ok(Some(_)), Ok(group)) => Ok(Status::running(group)),
        _ => settled(subhost, table, network),
    };
    let group = group.unwrap_or_default();
    let (status, problem) = match status {
        Ok(Status::Stopped) => match config() {
            Err(error) if error.exit == Exit::Invalid => ("invalid", Some(error.to_string())),
            _ => ("stopped", None),
        },
        Ok(Status::Broken(what)) => ("broken", Some(what)),
        Ok(other) => (other.as_str(), None),
        Err(error) => ("invalid", Some(error.to_string())),
    };
    let frozen = |part| subhost.frozen(part).ok().flatten();
    let (root, net) = (frozen(Part::Root), frozen(Part::Net));
    let running = running.ok().flatten();
    let init = running.as_ref().map(|running| &running.init);
    let any_up = root.is_some() || net.is_some();
    let addresses = match &net {
        Some(plan) => addresses(&plan.steps),
        None => match config() {
            Ok(config) => addresses(&crate::plan::net_steps(config, None)),
            Err(_) => Vec::new(),
        },
    };
    let mut row = Row {
        name: subhost.name().to_string(),
        state: status.to_owned(),
        pid: init.map(|init| init.identity.pid),
        uptime: init.map(|init| clock::now().saturating_sub(init.since)),
        address: addresses.first().cloned(),
        addresses,
        memory: None,
        cpu: None,
        processes: None,
        kind: match &root {
            Some(plan) => Some(plan.kind.clone()),
            None => config()
                .as_ref()
                .ok()
                .map(|config| config.kind().to_owned()),
        },
        last: subhost.state().last(),
        changed: match any_up && whole {
            true => subhost.changed().ok().map(|parts| !parts.is_empty()),
            false => None,
        },
        problem,
        links: net.iter().flat_map(|plan| traffic(plan, links)).collect(),
        root: root.as_ref().map(|plan| plan.live.clone()),
        mounts: root.iter().flat_map(|plan| mounts(plan)).collect(),
        ids: root
            .as_ref()
            .or(net.as_ref())
            .and_then(|plan| plan.ids)
            .map(|base| (base, base + (crate::kernel::userns::COUNT - 1))),
        usage: match (whole, init) {
            (true, _) => group.usage(),
            (false, Some(_)) => group.used(look == Look::Counted),
            (false, None) => Usage::default(),
        },
        limits: match init.is_some() && whole {
            true => group.settings.clone(),
            false => BTreeMap::new(),
        },
        booted_by: init.and_then(|init| {
            let pid = init.by.pid?;
            let tty = init
                .by
                .tty
                .as_deref()
                .map_or(String::new(), |tty| format!(" on {tty}"));
            Some(format!("{} pid {pid}{tty}", init.by.tool))
        }),
        weakened: match whole {
            true => config().as_ref().map(weakened).unwrap_or_default(),
            false => Vec::new(),
        },
    };
    if running.is_some() {
        row.memory = row.usage.memory;
        if (look > Look::Usual || row.memory.is_none())
            && let Some(members) = group.members()
        {
            let mut sum = Sum::default();
            members.into_iter().for_each(|pid| sum.add(pid));
            row.used(sum);
        }
    }
    row
}

/// Its status; part built by a command that is at work on it, it is looked at again.
fn settled(subhost: &Subhost, table: &Mounts, network: &mut Network) -> Result<Status> {
    let mut status = subhost.status_with(table, network);
    let end = Instant::now() + SETTLING;
    while let Ok(Status::Broken(_)) = status {
        let at_work = subhost.state().lock_holder();
        subhost.state().look();
        // All anew, the links too.
        status = subhost.status_with(&Mounts::later(), &mut Network::new());
        match at_work {
            None => return status,
            Some(who) if Instant::now() > end => {
                return status.map(|status| match status {
                    Status::Broken(_) => Status::Broken(format!("{who} is at work on it")),
                    settled => settled,
                });
            }
            Some(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    status
}

fn cables(steps: &[Step]) -> impl Iterator<Item = &Cable> {
    steps.iter().filter_map(|step| match step {
        Step::Cable(cable) => Some(cable),
        _ => None,
    })
}

fn addresses(steps: &[Step]) -> Vec<String> {
    let all = cables(steps).flat_map(|step| &step.cable.addresses);
    all.map(|cidr| cidr.address.to_string()).collect()
}

fn traffic(plan: &Plan, links: &BTreeMap<String, Link>) -> Vec<Traffic> {
    let of = |Cable { cable, alias, .. }: &Cable| {
        let link = links.get(&cable.host).filter(|link| link.alias == *alias)?;
        // What the host end sends is what the inside receives.
        Some(Traffic {
            link: cable.host.clone(),
            rx: link.bytes.1,
            tx: link.bytes.0,
        })
    };
    cables(&plan.steps).filter_map(of).collect()
}

fn mounts(plan: &Plan) -> Vec<PathBuf> {
    let places = plan.steps.iter().filter_map(Step::mount_point);
    places.map(Path::to_owned).collect()
}

impl Sum {
    fn add(&mut self, pid: i32) {
        if let Some(stat) = Stat::find(pid) {
            self.memory += stat.resident * rustix::param::page_size() as u64;
            self.cpu += stat.cpu;
            self.processes += 1;
        }
    }
}

impl Row {
    /// What its processes use, as far as nothing else tells.
    fn used(&mut self, sum: Sum) {
        self.memory = Some(self.usage.memory.unwrap_or(sum.memory));
        let counted = self.usage.cpu.map(|micros| micros as f64 / 1e6);
        self.cpu = Some(counted.unwrap_or(sum.cpu as f64 / TICKS as f64));
        self.processes = Some(sum.processes);
    }
}

/// Fills in what the processes use where no cgroup tells which they are: one pass over /proc for all
/// rows.
fn usage(rows: &mut [Row], look: Look) {
    let mut by_namespace: BTreeMap<u64, Sum> = BTreeMap::new();
    let mut namespaces = Vec::new();
    for row in rows.iter() {
        // PID 1's own namespace, not the one for its children.
        let is_known = row.processes.is_some() || (look == Look::Usual && row.memory.is_some());
        let unknown = row.pid.filter(|_| !is_known);
        let namespace = unknown.and_then(|pid| Namespace::Pid.inode_of(pid));
        namespaces.push(namespace);
        by_namespace.extend(namespace.map(|namespace| (namespace, Sum::default())));
    }
    if by_namespace.is_empty() {
        return;
    }
    for pid in pids() {
        let namespace = Namespace::Pid.inode_of(pid);
        if let Some(sum) = namespace.and_then(|id| by_namespace.get_mut(&id)) {
            sum.add(pid);
        }
    }
    for (row, namespace) in rows.iter_mut().zip(namespaces) {
        if let Some(sum) = namespace.and_then(|namespace| by_namespace.get(&namespace)) {
            row.used(*sum);
        }
    }
}

/// How a run ended, in words: `exit 7 3m20s ago`.
pub fn last(last: &Last) -> String {
    let ago = span(clock::now().saturating_sub(last.when));
    match (last.exit, last.signal) {
        (Some(exit), _) => format!("exit {exit}, {ago} ago"),
        (None, Some(signal)) if last.out_of_memory == Some(true) => {
            format!("signal {signal}, out of memory, {ago} ago")
        }
        (None, Some(signal)) => format!("signal {signal}, {ago} ago"),
        (None, None) => format!("ended {ago} ago"),
    }
}
