//! A snapshot of the host: the mount tables, the processes, the links, and the state of each subhost in
//! /run/subhost. It changes nothing. It may be outdated when it is read, so each judgement is made twice, and
//! once more under the lock before a repair.

use super::Held;
use crate::base::error::{Error, Exit, Result};
use crate::base::name::Name;
use crate::base::paths::RUN;
use crate::config::{self, Config};
use crate::kernel::holders;
use crate::kernel::locks::Locks;
use crate::kernel::mountinfo::{Mount, Table};
use crate::net::{Link, Network, Statistics};
use crate::plan::{Part, Plan, Step};
use crate::state::{self, Group, Init, State};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A process of the host.
pub(super) struct Process {
    pub pid: i32,
    /// The command name, safe to print.
    pub command: String,
    /// The inode of its mount namespace.
    pub mnt: u64,
    /// The inode of its network namespace.
    pub net: u64,
}

/// A directory, by its file system and its path there. It is the same in all mount namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The device number of the file system, `MAJOR:MINOR`.
    pub device: String,
    /// The path from the root of the file system.
    pub path: PathBuf,
}

impl Place {
    /// Finds the place of `path` in the mount table of one mount namespace.
    pub fn find(table: &Table, path: &Path) -> Option<Self> {
        let mount = table.find_containing(path)?;
        let below = path.strip_prefix(&mount.at).ok()?;
        Some(Self {
            device: mount.device.clone(),
            path: mount.root.join(below).components().collect(),
        })
    }

    /// Returns the path of the mount's root relative to this place; none if the mount shows no file below the
    /// place.
    pub fn relative_root<'a>(&self, mount: &'a Mount) -> Option<&'a Path> {
        let same = mount.device == self.device;
        same.then(|| mount.root.strip_prefix(&self.path).ok())
            .flatten()
    }
}

/// The state of a subhost in /run/subhost.
#[derive(Default)]
pub(super) struct Owner {
    /// The frozen plans.
    pub plans: BTreeMap<Part, Arc<Plan>>,
    /// The record of PID 1, which may have ended.
    pub init: Option<Init>,
    /// The record of the cgroups.
    pub cgroups: Group,
    /// PID 1 runs.
    pub running: bool,
    /// The errors of plans and records that cannot be read. With one, it is unknown what is up.
    pub damaged: Vec<Error>,
    /// The files of plans of an earlier boot of the host.
    pub stale: Vec<PathBuf>,
    /// The command that holds the lock, in words.
    pub work: Option<String>,
}

impl Owner {
    fn read(name: &Name) -> Self {
        let mut owner = Self::default();
        let state = State::new(name);
        for part in Part::ALL {
            let file = state.dir().join(part.file());
            match state.plan(part) {
                Ok(Some(plan)) => drop(owner.plans.insert(part, plan)),
                // A live plan counts only with the PID 1 that it names.
                Ok(None) if part == Part::Live || file.symlink_metadata().is_err() => {}
                // The state ignores a plan of an earlier boot as well as a file that is no plan.
                Ok(None) if is_plan(&file) => owner.stale.push(file),
                Ok(None) => owner.damaged.push(
                    Error::new(Exit::Invalid, format!("{} is not a plan", file.display()))
                        .hint("take down by hand what is up, then remove the file"),
                ),
                Err(error) => owner.damaged.push(error),
            }
        }
        match state.running() {
            Ok(running) => owner.running = running.is_some(),
            Err(error) => owner.damaged.push(error),
        }
        owner.init = state.init().ok().flatten();
        match state.cgroups() {
            Ok(cgroups) => owner.cgroups = cgroups,
            Err(error) => owner.damaged.push(error),
        }
        owner
    }

    /// Tells whether root, network or processes are up.
    pub fn is_up(&self) -> bool {
        !self.plans.is_empty() || self.running
    }

    /// Tells whether the subhost can be judged: no command works on it, and its state can be read.
    pub fn is_known(&self) -> bool {
        self.work.is_none() && self.damaged.is_empty()
    }

    /// Tells whether the subhost is certainly down.
    pub fn is_down(&self) -> bool {
        self.is_known() && !self.is_up()
    }

    /// Returns $SUBHOST from a frozen plan, or from the record of PID 1.
    pub fn tree(&self) -> Option<&Path> {
        let plan = self.plans.values().next();
        plan.map(|plan| plan.tree.as_path())
            .or(self.init.as_ref().map(|init| init.tree.as_path()))
    }

    /// Returns the steps of all frozen plans.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.plans.values().flat_map(|plan| &plan.steps)
    }

    /// Tells whether this part has a frozen plan.
    pub fn has(&self, part: Part) -> bool {
        self.plans.contains_key(&part)
    }
}

/// A snapshot of the host.
pub(super) struct Snapshot {
    /// The directory of the subhosts, $SUBHOST.
    pub tree: PathBuf,
    /// The mount table of our mount namespace.
    pub table: Table,
    /// The inode of our mount namespace.
    pub mnt: u64,
    /// The mount tables of all other mount namespaces by inode, with the pid of a process in each.
    pub others: BTreeMap<u64, (i32, Table)>,
    /// All processes.
    pub processes: Vec<Process>,
    /// The place of $SUBHOST.
    pub place: Option<Place>,
    /// The place of /run/subhost.
    pub run: Option<Place>,
    /// The state of each subhost that has some.
    pub owners: BTreeMap<Name, Owner>,
    /// The settings of all subhosts of $SUBHOST whose settings are valid.
    pub configs: BTreeMap<Name, Config>,
    /// The uppers that these settings name.
    pub uppers: BTreeMap<PathBuf, Name>,
    /// The names of all subhosts with a config, valid or not, or with state.
    pub names: BTreeSet<Name>,
    /// The links of the host.
    pub links: Vec<Link>,
    /// The sockets for further requests.
    pub network: Network,
}

impl Snapshot {
    /// Takes a snapshot.
    ///
    /// # Errors
    /// A failed request to the kernel.
    pub fn look(tree: &Path) -> Result<Self> {
        let mut names: BTreeSet<Name> = config::names(tree)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let load = |name: &Name| Some((name.clone(), Config::load(tree, name, &[]).ok()?));
        let configs: BTreeMap<Name, Config> = names.iter().filter_map(load).collect();
        let uppers = configs.values();
        let uppers = uppers.map(|config| (config.root.upper.clone(), config.name.clone()));
        let state = state::names();
        names.extend(state.iter().cloned());
        let mut network = Network::new();
        let links = network.host_links(Statistics::Skipped)?;
        let owners = state.iter().map(|name| (name.clone(), Owner::read(name)));
        let table = Table::read()?;
        let mut snapshot = Self {
            tree: tree.to_owned(),
            place: Place::find(&table, tree),
            run: Place::find(&table, Path::new(RUN)),
            table,
            mnt: namespace("thread-self", "mnt").unwrap_or(0),
            others: BTreeMap::new(),
            processes: Vec::new(),
            owners: owners.collect(),
            uppers: uppers.collect(),
            configs,
            names,
            links: links.into_values().collect(),
            network,
        };
        snapshot.read_processes();
        snapshot.read_lock_holders();
        Ok(snapshot)
    }

    /// Reads processes and their mount tables in one pass over /proc.
    fn read_processes(&mut self) {
        for pid in holders::pids() {
            let inode = |kind| namespace(&pid.to_string(), kind);
            let (Some(mnt), Some(net)) = (inode("mnt"), inode("net")) else {
                continue;
            };
            if mnt != self.mnt
                && !self.others.contains_key(&mnt)
                && let Ok(text) = std::fs::read(format!("/proc/{pid}/mountinfo"))
            {
                self.others.insert(mnt, (pid, Table::parse(&text)));
            }
            let command = holders::command(pid);
            self.processes.push(Process {
                pid,
                command,
                mnt,
                net,
            });
        }
    }

    /// Reads which commands hold the lock of a subhost.
    fn read_lock_holders(&mut self) {
        let Some(locks) = Locks::read() else {
            return;
        };
        for (name, owner) in &mut self.owners {
            let Ok(meta) = std::fs::metadata(State::new(name).dir().join("lock")) else {
                continue;
            };
            if let Some(pid) = locks.holder(&meta)
                && pid != std::process::id() as i32
            {
                owner.work = Some(format!("pid {pid} ({})", holders::command(pid)));
            }
        }
    }

    /// Reads the lock holders once more. A subhost that a command has begun to work on since the snapshot
    /// cannot be judged.
    pub fn update_lock_holders(&mut self) {
        for name in state::names() {
            self.owners.entry(name).or_default();
        }
        self.read_lock_holders();
    }

    /// Returns the state of a subhost, the empty one if it has none.
    pub fn owner(&self, name: &Name) -> &Owner {
        static NOBODY: Owner = Owner {
            plans: BTreeMap::new(),
            init: None,
            cgroups: Group {
                dirs: Vec::new(),
                divided: false,
                settings: BTreeMap::new(),
                root: None,
            },
            running: false,
            damaged: Vec::new(),
            stale: Vec::new(),
            work: None,
        };
        self.owners.get(name).unwrap_or(&NOBODY)
    }

    /// Returns the subhost in whose directory $SUBHOST/NAME the path lies.
    pub fn name_of(&self, path: &Path) -> Option<Name> {
        let below = path.strip_prefix(&self.tree).ok()?;
        Name::new(below.components().next()?.as_os_str().to_str()?).ok()
    }

    /// Tells whether a mount namespace with this table belongs to us: `Some` if it does, with the name of the
    /// subhost if it belongs to one. It belongs to a subhost if files of our /run/subhost/NAME are mounted in
    /// it (PID 1 bind-mounts the host name and more), and to the host if it shows our /run/subhost at that
    /// path. $SUBHOST tells nothing: another container may have the same one, with its own /run.
    pub fn is_ours(&self, table: &Table) -> Option<Option<Name>> {
        let run = self.run.as_ref()?;
        let named = table.all().iter().find_map(|mount| {
            let first = run.relative_root(mount)?.components().next()?;
            Name::new(first.as_os_str().to_str()?).ok()
        });
        match named {
            Some(name) => Some(Some(name)),
            None => (Place::find(table, Path::new(RUN)).as_ref() == Some(run)).then_some(None),
        }
    }

    /// Returns the table of the mount namespace with this inode.
    pub fn table_of(&self, mnt: u64) -> Option<&Table> {
        match mnt == self.mnt {
            true => Some(&self.table),
            false => self.others.get(&mnt).map(|(_, table)| table),
        }
    }

    /// Returns the processes that fulfil a condition, without our own.
    pub fn held_by(&self, holds: impl Fn(&Process) -> bool) -> Vec<Held> {
        let us = std::process::id() as i32;
        self.processes
            .iter()
            .filter(|process| process.pid != us && holds(process))
            .map(|process| Held {
                pid: process.pid,
                command: process.command.clone(),
                mount_namespace: (process.mnt != self.mnt).then_some(process.mnt),
            })
            .collect()
    }
}

fn is_plan(file: &Path) -> bool {
    file.symlink_metadata().is_ok_and(|meta| meta.is_file())
        && std::fs::read_to_string(file).is_ok_and(|text| Plan::from_text(&text).is_ok())
}

/// Returns the inode of a namespace of a process. It parses the text of the link, which is cheaper than a
/// stat(2).
fn namespace(pid: &str, kind: &str) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    let text = link.to_str()?;
    text[text.find('[')? + 1..]
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_the_same_in_all_tables() {
        let host = Table::parse(b"1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /run rw - tmpfs t rw");
        let run = Place::find(&host, Path::new("/run/subhost")).unwrap();
        assert_eq!(run.path, Path::new("/subhost"));
        let inside = Table::parse(b"9 1 0:5 /subhost/w/hosts /etc/hosts rw - tmpfs t rw");
        let rest = run.relative_root(&inside.all()[0]);
        assert_eq!(rest, Some(Path::new("w/hosts")));
        let other = Table::parse(b"9 1 0:6 /subhost/w/hosts /etc/hosts rw - tmpfs t rw");
        assert_eq!(run.relative_root(&other.all()[0]), None);
    }
}
