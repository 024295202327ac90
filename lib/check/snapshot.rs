//! One look at everything: the mount tables, the processes, the links, and what /run/subhost says
//! of each name. Changes nothing; what it tells may be old when it is read, so judgements are made
//! twice, and once more under the lock before anything is touched.

use super::Held;
use crate::base::error::{Error, Exit, Result};
use crate::base::name::Name;
use crate::base::paths::RUN;
use crate::config::{self, Config};
use crate::kernel::holders;
use crate::kernel::mountinfo::{Mount, Table};
use crate::net::{Link, Network, Statistics};
use crate::plan::{Part, Plan, Step};
use crate::state::{self, Group, Init, State};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A process.
pub(super) struct Process {
    pub pid: i32,
    pub command: String,
    /// Its mount and network namespaces, as inodes.
    pub mnt: u64,
    pub net: u64,
}

/// A directory as a place in a file system: the same wherever that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub device: String,
    pub path: PathBuf,
}

impl Place {
    /// Where `path` lies, by the table of one mount namespace.
    pub fn find(table: &Table, path: &Path) -> Option<Self> {
        let mount = table.holding(path)?;
        let below = path.strip_prefix(&mount.at).ok()?;
        Some(Self {
            device: mount.device.clone(),
            path: mount.root.join(below).components().collect(),
        })
    }

    /// The rest of the mount's path in its file system below this place, if it shows just that.
    pub fn shown_by<'a>(&self, mount: &'a Mount) -> Option<&'a Path> {
        let same = mount.device == self.device;
        same.then(|| mount.root.strip_prefix(&self.path).ok())
            .flatten()
    }
}

/// What /run/subhost says of a name.
#[derive(Default)]
pub(super) struct Owner {
    /// What is frozen, by part.
    pub plans: BTreeMap<Part, Arc<Plan>>,
    pub init: Option<Init>,
    pub cgroups: Group,
    pub running: bool,
    /// Plans and records that cannot be read: what is up is not known.
    pub damaged: Vec<Error>,
    /// Files of plans of an earlier boot of the host.
    pub stale: Vec<PathBuf>,
    /// The command that holds the lock.
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
                // Without a PID 1 that has one, nobody reads it.
                Ok(None) if part == Part::Live || file.symlink_metadata().is_err() => {}
                // The state takes what it cannot read, and what is of an earlier boot, for nothing.
                Ok(None) if is_plan(&file) => owner.stale.push(file),
                Ok(None) => owner.damaged.push(
                    Error::new(Exit::Invalid, format!("{} is no plan", file.display()))
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

    /// Root, network or processes are up.
    pub fn is_up(&self) -> bool {
        !self.plans.is_empty() || self.running
    }

    /// Can it be judged? Not while a command works on it, nor when its state is damaged.
    pub fn is_known(&self) -> bool {
        self.work.is_none() && self.damaged.is_empty()
    }

    /// Does its plan or its process own nothing at all?
    pub fn is_down(&self) -> bool {
        self.is_known() && !self.is_up()
    }

    /// $SUBHOST as what is up has it.
    pub fn tree(&self) -> Option<&Path> {
        let plan = self.plans.values().next();
        plan.map(|plan| plan.tree.as_path())
            .or(self.init.as_ref().map(|init| init.tree.as_path()))
    }

    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.plans.values().flat_map(|plan| &plan.steps)
    }

    /// Is this part of it frozen?
    pub fn has(&self, part: Part) -> bool {
        self.plans.contains_key(&part)
    }
}

/// All of it.
pub(super) struct Snapshot {
    pub tree: PathBuf,
    /// Our mount namespace, its inode, and the tables of all others, with a process in each.
    pub table: Table,
    pub mnt: u64,
    pub others: BTreeMap<u64, (i32, Table)>,
    pub processes: Vec<Process>,
    /// Where $SUBHOST and /run/subhost lie.
    pub place: Option<Place>,
    pub run: Option<Place>,
    /// By name, all that have state.
    pub owners: BTreeMap<Name, Owner>,
    /// The settings of all subhosts of $SUBHOST that have valid ones.
    pub configs: BTreeMap<Name, Config>,
    /// The writable layers that the settings name.
    pub uppers: BTreeMap<PathBuf, Name>,
    /// All names of subhosts: with settings, valid or not, or with state.
    pub names: BTreeSet<Name>,
    pub links: Vec<Link>,
    pub network: Network,
}

impl Snapshot {
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
        snapshot.see_processes();
        snapshot.see_work();
        Ok(snapshot)
    }

    /// The one pass over /proc.
    fn see_processes(&mut self) {
        for pid in holders::pids() {
            let of = |kind| namespace(&pid.to_string(), kind);
            let (Some(mnt), Some(net)) = (of("mnt"), of("net")) else {
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

    /// Which subhosts are being worked on. Read from the kernel's list of locks, as trying one,
    /// be it for a moment, would be in the way of those who want it.
    fn see_work(&mut self) {
        let Some(locks) = std::fs::read_to_string("/proc/locks").ok() else {
            return;
        };
        let held: BTreeMap<(u64, u64, u64), i32> = locks.lines().filter_map(lock).collect();
        for (name, owner) in &mut self.owners {
            let Ok(meta) = std::fs::metadata(State::new(name).dir().join("lock")) else {
                continue;
            };
            let (major, minor) = (nix::libc::major(meta.dev()), nix::libc::minor(meta.dev()));
            let key = (u64::from(major), u64::from(minor), meta.ino());
            if let Some(pid) = held.get(&key)
                && *pid != std::process::id() as i32
            {
                owner.work = Some(format!("pid {pid} ({})", holders::command(*pid)));
            }
        }
    }

    /// A command has begun or gone on since: what was seen of that name is no judgement.
    pub fn see_work_again(&mut self) {
        let before: BTreeSet<Name> = self.owners.keys().cloned().collect();
        for name in state::names() {
            if !before.contains(&name) {
                self.owners.insert(name.clone(), Owner::default());
            }
        }
        self.see_work();
    }

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

    /// The subhost in whose directory in $SUBHOST the path lies.
    pub fn name_of(&self, path: &Path) -> Option<Name> {
        let below = path.strip_prefix(&self.tree).ok()?;
        Name::new(below.components().next()?.as_os_str().to_str()?).ok()
    }

    /// Could the processes with this mount table be of our subhosts? Only those whose state is in
    /// our /run/subhost: that is what they see there, or what they have files of bound from there
    /// (PID 1 binds the host name and more), and then the name is known. $SUBHOST is no sign:
    /// another container may have the same one, and its own /run.
    pub fn is_ours(&self, table: &Table) -> Option<Option<Name>> {
        let run = self.run.as_ref()?;
        let named = table.all().iter().find_map(|mount| {
            let first = run.shown_by(mount)?.components().next()?;
            Name::new(first.as_os_str().to_str()?).ok()
        });
        match named {
            Some(name) => Some(Some(name)),
            None => (Place::find(table, Path::new(RUN)).as_ref() == Some(run)).then_some(None),
        }
    }

    pub fn table_of(&self, mnt: u64) -> Option<&Table> {
        match mnt == self.mnt {
            true => Some(&self.table),
            false => self.others.get(&mnt).map(|(_, table)| table),
        }
    }

    /// The processes that fulfil a condition, as holders.
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

/// Inode of a namespace of a process.
fn namespace(pid: &str, kind: &str) -> Option<u64> {
    // The link's text has it: following it costs more.
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    let text = link.to_str()?;
    text[text.find('[')? + 1..]
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// A line of `/proc/locks` (`proc_locks(5)`): device and inode of an exclusive flock and who has it.
fn lock(line: &str) -> Option<((u64, u64, u64), i32)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", pid, file, ..] = words[..] else {
        return None; // Those that wait have an arrow there.
    };
    let mut parts = file.split(':');
    let mut hex = || u64::from_str_radix(parts.next()?, 16).ok();
    let device = (hex()?, hex()?);
    let inode = parts.next()?.parse().ok()?;
    Some(((device.0, device.1, inode), pid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_the_kernels_list() {
        let line = "1: FLOCK  ADVISORY  WRITE 1234 00:1b:5678 0 EOF";
        assert_eq!(lock(line), Some(((0, 0x1b, 5678), 1234)));
        assert_eq!(
            lock("1: -> FLOCK  ADVISORY  WRITE 9 00:1b:5678 0 EOF"),
            None
        );
        assert_eq!(lock("2: POSIX  ADVISORY  WRITE 9 00:1b:5678 0 EOF"), None);
        assert_eq!(lock(""), None);
    }

    #[test]
    fn places_are_the_same_in_all_tables() {
        let host = Table::parse(b"1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /run rw - tmpfs t rw");
        let run = Place::find(&host, Path::new("/run/subhost")).unwrap();
        assert_eq!(run.path, Path::new("/subhost"));
        let inside = Table::parse(b"9 1 0:5 /subhost/w/hosts /etc/hosts rw - tmpfs t rw");
        let rest = run.shown_by(&inside.all()[0]);
        assert_eq!(rest, Some(Path::new("w/hosts")));
        let other = Table::parse(b"9 1 0:6 /subhost/w/hosts /etc/hosts rw - tmpfs t rw");
        assert_eq!(run.shown_by(&other.all()[0]), None);
    }
}
