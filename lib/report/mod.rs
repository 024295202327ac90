//! Reports: a row for each subhost, from the mount table, the links and the processes. This room changes
//! nothing, and needs no lock: commands may work on the subhosts meanwhile.

use crate::base::error::{Exit, Result};
use crate::base::name::Name;
use crate::base::words::span;
use crate::cgroup::{Counts, Usage};
use crate::config::{Config, weakened};
use crate::kernel::clock;
use crate::kernel::holders::pids;
use crate::kernel::mountinfo::Mounts;
use crate::kernel::proc::{Namespace, Stat};
use crate::net::{Link, Network, Statistics};
use crate::plan::steps::cable::Cable;
use crate::plan::{Part, Plan, Step};
use crate::state::{self, Group, Init, Last};
use crate::subhost::{Status, Subhost};
use serde::Serialize;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clock ticks per second (`sysconf(_SC_CLK_TCK)`); 100 on all architectures that Linux supports today.
const TICKS: u64 = 100;

/// The time that a list waits for a command to finish its work on a subhost.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The report on one subhost.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// The name of the subhost.
    pub name: String,
    /// The state: `stopped`, `hibernating`, `running`, `frozen`, `broken`, or `invalid`.
    pub state: String,
    /// The pid of its PID 1 on the host.
    pub pid: Option<i32>,
    /// The time since its boot, in seconds.
    pub uptime: Option<u64>,
    /// The addresses of its cables.
    pub addresses: Vec<String>,
    /// The first of these addresses.
    pub address: Option<String>,
    /// The memory that its cgroup counts; without the controller, the resident memory of its processes. In
    /// bytes.
    pub memory: Option<u64>,
    /// The CPU time since its boot that its cgroup counts, in seconds; without one, the time of its processes
    /// and of the children that they have waited for.
    pub cpu: Option<f64>,
    /// The number of its processes.
    pub processes: Option<u64>,
    /// The kind of its root: `overlay`, `rbind` or `image`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The end of its last run.
    pub last: Option<Last>,
    /// The settings differ from what is up; none if nothing is up, or the settings cannot be read.
    pub changed: Option<bool>,
    /// The reason of the states `broken` and `invalid`, or what is missing of a subhost that runs.
    pub problem: Option<String>,
    /// The traffic of its cables.
    pub links: Vec<Traffic>,
    /// The mount point of its root.
    pub root: Option<PathBuf>,
    /// The mount points of its mounts, in the order of mounting.
    pub mounts: Vec<PathBuf>,
    /// The first and the last host id of its user namespace; none without a user namespace.
    pub ids: Option<(u32, u32)>,
    /// The command with whose end the subhost ends; none if it runs in the background.
    pub booted_by: Option<String>,
    /// The settings that are weaker than the defaults.
    pub weakened: Vec<String>,
    /// The limits in force, by key.
    pub limits: BTreeMap<String, String>,
    /// The counters of its cgroups. Those of the last run remain until it is stopped.
    pub usage: Usage,
}

/// The traffic of a cable, in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Traffic {
    /// The name of the host end.
    pub link: String,
    /// The bytes that the subhost has sent.
    pub tx: u64,
    /// The bytes that the subhost has received.
    pub rx: u64,
}

/// Sums over the processes of one pid namespace.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    /// The resident memory, in bytes.
    memory: u64,
    /// The CPU time, in clock ticks.
    cpu: u64,
    processes: u64,
}

/// How much of a row is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// The fields that are cheap to fill in.
    Usual,
    /// These, and the number of processes and their CPU time.
    Counted,
    /// All fields. It reads the settings of subhosts that are up, link statistics, and all cgroup counters.
    Whole,
}

/// The number of subhosts for each further thread.
const SUBHOSTS_PER_THREAD: usize = 64;
/// The number of subhosts that a thread takes at a time.
const CHUNK: usize = 4;

/// Returns the rows of `names`, or of all subhosts of `tree` that have a config or are up.
///
/// # Errors
/// A failed request to the kernel, or $SUBHOST cannot be read.
pub fn rows(tree: &Path, names: Option<&[Name]>, look: Look) -> Result<Vec<Row>> {
    let all = match names {
        Some(names) => names.to_vec(),
        None => crate::config::names_with(tree, state::names())?,
    };
    let links = match look {
        Look::Whole => Network::new().host_links(Statistics::Included)?,
        Look::Usual | Look::Counted => BTreeMap::new(),
    };
    let queue = Queue {
        tree,
        names: &all,
        is_explicit: names.is_some(),
        links: &links,
        look,
        next: AtomicUsize::new(0),
    };
    let mut rows = queue.work_off();
    fill_in_processes(&mut rows, look);
    Ok(rows)
}

/// The subhosts to report on, and the threads' common position among them. Each thread takes a few names at a
/// time, since some rows take longer than others.
struct Queue<'a> {
    tree: &'a Path,
    names: &'a [Name],
    /// The user has given the names.
    is_explicit: bool,
    links: &'a BTreeMap<String, Link>,
    look: Look,
    next: AtomicUsize,
}

impl Queue<'_> {
    /// Makes all rows, in the order of the names, by several threads if there are many.
    fn work_off(&self) -> Vec<Row> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(self.names.len().div_ceil(SUBHOSTS_PER_THREAD));
        let processor = nix::sched::sched_getcpu().ok();
        let work_elsewhere = || {
            leave_processor(processor);
            // With a shared table of open files the kernel takes a lock for each use of a file. A failure
            // only costs time.
            let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES);
            self.take_chunks()
        };
        let mut chunks = std::thread::scope(|scope| {
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work_elsewhere);
            // If no thread can be made, this thread makes all rows.
            let others: Vec<_> = (1..threads).map_while(|i| spawn(i).ok()).collect();
            let mut chunks = self.take_chunks();
            for other in others {
                match other.join() {
                    Ok(more) => chunks.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            chunks
        });
        chunks.sort_by_key(|(begin, _)| *begin);
        chunks.into_iter().flat_map(|(_, rows)| rows).collect()
    }

    /// Makes rows until no names are left. Each chunk has the index of its first name.
    fn take_chunks(&self) -> Vec<(usize, Vec<Row>)> {
        let mut observer = Observer {
            mounts: Mounts::later(),
            network: Network::new(),
            links: self.links,
            look: self.look,
        };
        let mut row = |name: &Name| {
            let subhost = Subhost::new(self.tree, name, &[]).at_this_moment();
            let is_included = self.is_explicit || belongs_to_tree(&subhost);
            is_included.then(|| observer.row(&subhost))
        };
        let mut chunks = Vec::new();
        loop {
            let begin = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(rest) = self.names.get(begin..).filter(|rest| !rest.is_empty()) else {
                return chunks;
            };
            let names = rest.iter().take(CHUNK);
            chunks.push((begin, names.filter_map(&mut row).collect()));
        }
    }
}

/// Keeps this thread off a processor, if there is another. The kernel may start a thread on the processor of
/// its maker, and migrates it only after some milliseconds, half of the time that a list takes.
fn leave_processor(processor: Option<usize>) {
    let us = nix::unistd::Pid::from_raw(0);
    if let (Some(processor), Ok(mut others)) = (processor, nix::sched::sched_getaffinity(us)) {
        let _ = others
            .unset(processor)
            .and_then(|()| nix::sched::sched_setaffinity(us, &others));
    }
}

/// Tells whether a subhost belongs to this $SUBHOST: it has a config there, or its state does not name
/// another $SUBHOST.
fn belongs_to_tree(subhost: &Subhost) -> bool {
    let is_foreign = |part| matches!(subhost.frozen(part), Err(e) if e.exit == Exit::Invalid);
    let foreign = Part::FROM_CONFIG.into_iter().any(is_foreign);
    !foreign || subhost.has_config()
}

/// The config of a subhost, read at the first use.
struct Settings<'a> {
    subhost: &'a Subhost,
    config: OnceCell<Result<Config>>,
}

impl Settings<'_> {
    fn read(&self) -> &Result<Config> {
        self.config.get_or_init(|| self.subhost.config())
    }
}

/// What the rows of one thread are made from.
struct Observer<'a> {
    mounts: Mounts<'a>,
    network: Network,
    /// The links of the host with their statistics; empty unless the look is `Whole`.
    links: &'a BTreeMap<String, Link>,
    look: Look,
}

impl Observer<'_> {
    fn row(&mut self, subhost: &Subhost) -> Row {
        let is_whole = self.look == Look::Whole;
        let settings = Settings {
            subhost,
            config: OnceCell::new(),
        };
        let running = subhost.running();
        let group = match is_whole || matches!(running, Ok(Some(_))) {
            true => subhost.state().cgroups(),
            false => Ok(Group::default()),
        };
        let settled;
        let (subhost, status) = match (&running, &group) {
            (Ok(Some(_)), Ok(group)) => (subhost, Ok(Status::running(group))),
            _ => {
                let status;
                (settled, status) = self.settled_status(subhost.clone());
                (&settled, status)
            }
        };
        let group = group.unwrap_or_default();
        let (state, problem) = state_and_problem(status, &settings);
        let frozen = |part| subhost.frozen(part).ok().flatten();
        let (root, net) = (frozen(Part::Root), frozen(Part::Net));
        let mut row = Row {
            name: subhost.name().to_string(),
            state: state.to_owned(),
            problem,
            last: subhost.state().last(),
            ..Row::default()
        };
        row.fill_in_root(root.as_deref(), &settings);
        row.fill_in_network(net.as_deref(), &settings, self.links);
        row.ids = root
            .as_ref()
            .or(net.as_ref())
            .and_then(|plan| plan.ids)
            .map(|base| (base, base + (crate::kernel::userns::COUNT - 1)));
        if is_whole {
            if root.is_some() || net.is_some() {
                let changed = subhost.changed().ok();
                row.changed = changed.map(|parts| !parts.is_empty());
            }
            row.weakened = settings.read().as_ref().map(weakened).unwrap_or_default();
            row.usage = group.usage();
        }
        if let Ok(Some(running)) = &running {
            if is_whole {
                self.network.compare_bridges();
            }
            let missing = subhost.missing(running, &self.mounts, &mut self.network);
            let missing = missing.unwrap_or_else(|error| vec![error.to_string()]);
            row.problem = (!missing.is_empty()).then(|| missing.join("; "));
            row.fill_in_init(&running.init);
            self.fill_in_usage(&mut row, &group);
        }
        row
    }

    /// Fills in limits and usage of a running subhost.
    fn fill_in_usage(&self, row: &mut Row, group: &Group) {
        match self.look {
            Look::Whole => row.limits = group.settings.clone(),
            Look::Counted => row.usage = group.brief_usage(Counts::MemoryAndCpu),
            Look::Usual => row.usage = group.brief_usage(Counts::Memory),
        }
        row.memory = row.usage.memory;
        if (self.look > Look::Usual || row.memory.is_none())
            && let Some(members) = group.members()
        {
            let mut sum = Sum::default();
            members.into_iter().for_each(|pid| sum.add(pid));
            row.fill_in_sum(sum);
        }
    }

    /// Returns the status of a subhost, and the subhost as it was then. If it is broken while a command works on it, it
    /// waits for the command, for [`SETTLE_TIMEOUT`] at most.
    fn settled_status(&mut self, mut subhost: Subhost) -> (Subhost, Result<Status>) {
        let mut status = subhost.status_with(&self.mounts, &mut self.network);
        let end = Instant::now() + SETTLE_TIMEOUT;
        while let Ok(Status::Broken(_)) = status {
            let lock_holder = subhost.state().lock_holder();
            subhost = subhost.at_this_moment();
            // The mounts and the links that this thread has read before are outdated.
            status = subhost.status_with(&Mounts::later(), &mut Network::new());
            match lock_holder {
                None => return (subhost, status),
                Some(who) if Instant::now() > end => {
                    let status = status.map(|status| match status {
                        Status::Broken(_) => Status::Broken(format!("{who} is at work on it")),
                        settled => settled,
                    });
                    return (subhost, status);
                }
                Some(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        (subhost, status)
    }
}

/// Returns the word for a status, and what is wrong. A stopped subhost with an invalid config is `invalid`.
fn state_and_problem(
    status: Result<Status>,
    settings: &Settings,
) -> (&'static str, Option<String>) {
    match status {
        Ok(Status::Stopped) => match settings.read() {
            Err(error) if error.exit == Exit::Invalid => ("invalid", Some(error.to_string())),
            _ => ("stopped", None),
        },
        Ok(Status::Broken(what)) => ("broken", Some(what)),
        Ok(other) => (other.as_str(), None),
        Err(error) => ("invalid", Some(error.to_string())),
    }
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
    let traffic = |Cable { cable, alias, .. }: &Cable| {
        let link = links.get(&cable.host).filter(|link| link.alias == *alias)?;
        // The bytes that the host end sends are those that the subhost receives.
        Some(Traffic {
            link: cable.host.clone(),
            rx: link.bytes.1,
            tx: link.bytes.0,
        })
    };
    cables(&plan.steps).filter_map(traffic).collect()
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
    fn fill_in_root(&mut self, plan: Option<&Plan>, settings: &Settings) {
        let Some(plan) = plan else {
            let config = settings.read().as_ref().ok();
            self.kind = config.map(|config| config.kind().to_owned());
            return;
        };
        self.kind = Some(plan.kind.clone());
        self.root = Some(plan.live.clone());
        let mount_points = plan.steps.iter().filter_map(Step::mount_point);
        self.mounts = mount_points.map(Path::to_owned).collect();
    }

    fn fill_in_network(
        &mut self,
        plan: Option<&Plan>,
        settings: &Settings,
        links: &BTreeMap<String, Link>,
    ) {
        self.addresses = match plan {
            Some(plan) => addresses(&plan.steps),
            None => match settings.read() {
                Ok(config) => addresses(&crate::plan::net_steps(config, None)),
                Err(_) => Vec::new(),
            },
        };
        self.address = self.addresses.first().cloned();
        self.links = plan.map_or(Vec::new(), |plan| traffic(plan, links));
    }

    fn fill_in_init(&mut self, init: &Init) {
        self.pid = Some(init.identity.pid);
        self.uptime = Some(clock::now().saturating_sub(init.since));
        self.booted_by = init.by.pid.map(|pid| {
            let tty = init.by.tty.as_deref();
            let tty = tty.map_or(String::new(), |tty| format!(" on {tty}"));
            format!("{} pid {pid}{tty}", init.by.tool)
        });
    }

    /// Fills in the usage of the processes. Memory and CPU time that the cgroup counts take precedence.
    fn fill_in_sum(&mut self, sum: Sum) {
        self.memory = Some(self.usage.memory.unwrap_or(sum.memory));
        let counted = self.usage.cpu.map(|micros| micros as f64 / 1e6);
        self.cpu = Some(counted.unwrap_or(sum.cpu as f64 / TICKS as f64));
        self.processes = Some(sum.processes);
    }
}

/// Fills in the usage of subhosts whose processes no cgroup lists. It reads /proc once for all rows, and
/// tells the processes apart by their pid namespaces.
fn fill_in_processes(rows: &mut [Row], look: Look) {
    let mut by_namespace: BTreeMap<u64, Sum> = BTreeMap::new();
    let mut namespaces = Vec::new();
    for row in rows.iter() {
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
            row.fill_in_sum(*sum);
        }
    }
}

/// Describes the end of a run: `exit 7, 3m20s ago`.
pub fn describe_last(last: &Last) -> String {
    let ago = span(clock::now().saturating_sub(last.when));
    let ended = match (last.exit, last.signal) {
        (Some(exit), _) => format!("exit {exit}, {ago} ago"),
        (None, Some(signal)) if last.out_of_memory == Some(true) => {
            format!("signal {signal}, out of memory, {ago} ago")
        }
        (None, Some(signal)) => format!("signal {signal}, {ago} ago"),
        (None, None) => format!("ended {ago} ago"),
    };
    match last.killed.is_empty() {
        true => ended,
        false => format!(
            "{ended}, killed after STOP_TIMEOUT: {}",
            last.killed.join(", ")
        ),
    }
}
