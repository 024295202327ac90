//! Who keeps a mount or a namespace busy: processes of the host, found in /proc, named for the
//! administrator. Looks only; ending them is for `--kill-holders`.

use crate::base::error::shown;
use crate::kernel::mountinfo::{Mount, Table};
use crate::kernel::proc::{self, Namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A process that holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its pid.
    pub pid: i32,
    /// Its command name, made fit to print.
    pub command: String,
    /// How it holds it.
    pub how: String,
}

/// All pids of the host.
pub fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The command name of a process as the kernel keeps it.
pub fn command(pid: i32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    shown(String::from_utf8_lossy(&name).trim_end())
}

/// Processes of our mount namespace with their working directory, root, executable or an open or
/// mapped file at or below `at`. What other mount namespaces hold are copies: they keep no mount
/// of ours busy.
pub fn of_mount(at: &Path) -> Vec<Holder> {
    let us = std::fs::read_link("/proc/self/ns/mnt").ok();
    pids()
        .filter_map(|pid| {
            let dir = PathBuf::from(format!("/proc/{pid}"));
            let same = std::fs::read_link(dir.join("ns/mnt")).ok() == us;
            let how = same.then(|| held_path(&dir, at)).flatten()?;
            Some(Holder {
                pid,
                command: command(pid),
                how: how.to_owned(),
            })
        })
        .collect()
}

fn held_path(dir: &Path, at: &Path) -> Option<&'static str> {
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

/// The kernel's threads, which are in no namespace but the first; as far as the kernel tells them by the
/// children of kthreadd, which is its pid 2 where pids are those of the host.
fn kernel_threads() -> BTreeSet<i32> {
    let is_kernels = proc::Stat::find(2).is_some_and(|stat| stat.kernel);
    let children = match is_kernels {
        true => std::fs::read_to_string("/proc/2/task/2/children").unwrap_or_default(),
        false => String::new(),
    };
    let pids = children.split_ascii_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// Processes in the network namespace whose nsfs inode is `inode`.
pub fn of_netns(inode: u64) -> Vec<Holder> {
    // The link's text, which costs half of following it.
    let namespace = PathBuf::from(format!("net:[{inode}]"));
    let is_in = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|is| is == namespace)
    };
    let kernel = kernel_threads();
    pids()
        .filter(|pid| !kernel.contains(pid))
        .filter(is_in)
        .map(|pid| Holder {
            pid,
            command: command(pid),
            how: "its network namespace".into(),
        })
        .collect()
}

/// Mounts of one of some file systems in other mount namespaces: for each namespace, as nsfs inode,
/// their ids and devices.
pub type Copies = BTreeMap<u64, Vec<(u64, String)>>;

/// The copies of file systems named by `major:minor`. The kernel gives that number anew when the last
/// mount is gone: only copies that were there before, by their ids, are still the same afterwards.
pub fn copies(devices: &[&str]) -> Copies {
    let mut found = Copies::new();
    let ours = Namespace::Mnt.inode_of(nix::unistd::gettid().as_raw());
    for pid in pids().filter(|_| !devices.is_empty()) {
        if let Some(id) = Namespace::Mnt.inode_of(pid).filter(|id| Some(*id) != ours) {
            found.entry(id).or_insert_with(|| {
                let table = table(pid);
                let of = table.all().iter();
                of.filter(|mount| devices.contains(&mount.device.as_str()))
                    .map(|mount| (mount.id, mount.device.clone()))
                    .collect()
            });
        }
    }
    found.retain(|_, mounts| !mounts.is_empty());
    found
}

/// The processes of those namespaces that still have one of these copies.
pub fn of_copies(copies: &Copies) -> Vec<Holder> {
    let mut still: BTreeMap<u64, bool> = BTreeMap::new();
    let mut found = Vec::new();
    for pid in pids().filter(|_| !copies.is_empty()) {
        let Some((id, mounts)) = Namespace::Mnt
            .inode_of(pid)
            .and_then(|id| Some((id, copies.get(&id)?)))
        else {
            continue;
        };
        let has = || {
            let table = table(pid);
            let of = |mount: &Mount| (mount.id, mount.device.clone());
            table.all().iter().any(|mount| mounts.contains(&of(mount)))
        };
        if *still.entry(id).or_insert_with(has) {
            found.push(Holder {
                pid,
                command: command(pid),
                how: format!("its mount namespace {id}"),
            });
        }
    }
    found
}

fn table(pid: i32) -> Table {
    Table::parse(&std::fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default())
}

/// The holders as the hint of a message.
pub fn describe(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "no process of the host that can be seen holds it: perhaps a mount namespace, a loop \
                device or a file system on it"
            .into();
    }
    let told: Vec<String> = holders
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
    format!("{}{more}; --kill-holders ends them", told.join("; "))
}

/// We and the processes that we come from: never to be killed.
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
