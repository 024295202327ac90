//! Processes of the host that keep a mount or a namespace busy, found in /proc and described for the
//! administrator. This file does not end them; `--kill-holders` does.

use crate::base::error::shown;
use crate::kernel::mountinfo::{Mount, Table};
use crate::kernel::proc::{self, Namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A process that holds a mount or a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The pid.
    pub pid: i32,
    /// The command name, safe to print.
    pub command: String,
    /// The kind of hold, as in `an open file`.
    pub how: String,
}

/// Returns all pids of the host.
pub fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Returns the command name of a process (/proc/PID/comm), safe to print; empty if it is gone.
pub fn command(pid: i32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    shown(String::from_utf8_lossy(&name).trim_end())
}

/// Finds the processes of our mount namespace whose working directory, root, executable, open or mapped file
/// is at or below `at`. Other mount namespaces have copies of the mount, which do not keep ours busy.
pub fn find_on_mount(at: &Path) -> Vec<Holder> {
    let us = std::fs::read_link("/proc/self/ns/mnt").ok();
    pids()
        .filter_map(|pid| {
            let dir = PathBuf::from(format!("/proc/{pid}"));
            let same = std::fs::read_link(dir.join("ns/mnt")).ok() == us;
            let how = same.then(|| find_path_in(&dir, at)).flatten()?;
            Some(Holder {
                pid,
                command: command(pid),
                how: how.to_owned(),
            })
        })
        .collect()
}

fn find_path_in(dir: &Path, at: &Path) -> Option<&'static str> {
    let lies_in = |link: PathBuf| std::fs::read_link(link).is_ok_and(|path| path.starts_with(at));
    for (link, how) in [
        ("cwd", "its directory"),
        ("root", "its root"),
        ("exe", "its program"),
    ] {
        if lies_in(dir.join(link)) {
            return Some(how);
        }
    }
    for (links, how) in [("fd", "an open file"), ("map_files", "a mapped file")] {
        let entries = std::fs::read_dir(dir.join(links)).into_iter().flatten();
        if entries
            .filter_map(Result::ok)
            .any(|entry| lies_in(entry.path()))
        {
            return Some(how);
        }
    }
    None
}

/// Returns the children of kthreadd, which is pid 2 in the first pid namespace: threads of the kernel, which
/// are only in the first namespaces. Empty without CONFIG_PROC_CHILDREN.
fn kernel_threads() -> BTreeSet<i32> {
    let is_kthreadd = proc::Stat::find(2).is_some_and(|stat| stat.is_kernel_thread);
    let children = match is_kthreadd {
        true => std::fs::read_to_string("/proc/2/task/2/children").unwrap_or_default(),
        false => String::new(),
    };
    let pids = children.split_ascii_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// Finds the processes in the network namespace whose nsfs inode is `inode`.
pub fn find_in_netns(inode: u64) -> Vec<Holder> {
    // Reading the link takes half the time of following it.
    let namespace = PathBuf::from(format!("net:[{inode}]"));
    let is_in = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|is| is == namespace)
    };
    let kernel_threads = kernel_threads();
    pids()
        .filter(|pid| !kernel_threads.contains(pid))
        .filter(is_in)
        .map(|pid| Holder {
            pid,
            command: command(pid),
            how: "its network namespace".into(),
        })
        .collect()
}

/// Mounts of some file systems in other mount namespaces: for the nsfs inode of each namespace, the ids and
/// devices of the mounts.
pub type Copies = BTreeMap<u64, Vec<(u64, String)>>;

/// Finds the mounts of file systems, named by `major:minor`, in other mount namespaces. The kernel reuses
/// that number after the last unmount: later only copies that are in an earlier result are the same mounts.
pub fn find_copies(devices: &[&str]) -> Copies {
    let mut found = Copies::new();
    let ours = Namespace::Mnt.inode_of(nix::unistd::gettid().as_raw());
    for pid in pids().filter(|_| !devices.is_empty()) {
        if let Some(id) = Namespace::Mnt.inode_of(pid).filter(|id| Some(*id) != ours) {
            found.entry(id).or_insert_with(|| {
                let table = read_table(pid);
                let mounts = table.all().iter();
                mounts
                    .filter(|mount| devices.contains(&mount.device.as_str()))
                    .map(|mount| (mount.id, mount.device.clone()))
                    .collect()
            });
        }
    }
    found.retain(|_, mounts| !mounts.is_empty());
    found
}

/// Finds the processes in those mount namespaces that still have one of the copies.
pub fn find_with_copies(copies: &Copies) -> Vec<Holder> {
    let mut still_there: BTreeMap<u64, bool> = BTreeMap::new();
    let mut found = Vec::new();
    for pid in pids().filter(|_| !copies.is_empty()) {
        let Some((id, mounts)) = Namespace::Mnt
            .inode_of(pid)
            .and_then(|id| Some((id, copies.get(&id)?)))
        else {
            continue;
        };
        let has_copy = || {
            let table = read_table(pid);
            let key = |mount: &Mount| (mount.id, mount.device.clone());
            table.all().iter().any(|mount| mounts.contains(&key(mount)))
        };
        if *still_there.entry(id).or_insert_with(has_copy) {
            found.push(Holder {
                pid,
                command: command(pid),
                how: format!("its mount namespace {id}"),
            });
        }
    }
    found
}

fn read_table(pid: i32) -> Table {
    Table::parse(&std::fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default())
}

/// Describes the holders for the hint of a message.
pub fn describe(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "no process of the host that can be seen holds it: perhaps a mount namespace, a loop \
                device or a file system on it"
            .into();
    }
    let shown: Vec<String> = holders
        .iter()
        .take(8)
        .map(|holder| {
            format!(
                "held by pid {} ({}), {}",
                holder.pid, holder.command, holder.how
            )
        })
        .collect();
    let more = match holders.len().saturating_sub(8) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}; --kill-holders ends them", shown.join("; "))
}

/// Returns the pids of this process and its ancestors, which must not be killed.
pub fn ancestors() -> Vec<i32> {
    let mut chain = vec![nix::unistd::getpid().as_raw()];
    while let Some(&pid) = chain.last() {
        match parent(pid) {
            Some(parent) if parent > 0 && !chain.contains(&parent) => chain.push(parent),
            _ => break,
        }
    }
    chain
}

fn parent(pid: i32) -> Option<i32> {
    crate::kernel::proc::Stat::find(pid).map(|stat| stat.parent)
}
