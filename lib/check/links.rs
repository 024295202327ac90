//! Leftover objects of the kernel that have a subhost's name: host ends of cables, named network namespaces,
//! cgroups.

use super::snapshot::Snapshot;
use super::{Debris, Fix, Held, Kind, Reported};
use crate::base::error::shown;
use crate::base::name::Name;
use crate::cgroup::{self, OURS};
use crate::net::{Link, named};
use crate::plan::{Part, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Returns the subhost in the alias of a link, `subhost:NAME:INDEX`.
fn owner_by_alias(link: &Link) -> Option<Name> {
    let (name, index) = link.alias.strip_prefix("subhost:")?.rsplit_once(':')?;
    let is_number = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| Name::new(name).ok()).flatten()
}

/// Finds host ends of cables that no frozen plan of their subhost has.
pub(super) fn links(snapshot: &mut Snapshot, reported: &Reported) -> Vec<Debris> {
    let mut lost: Vec<(Link, Name)> = Vec::new();
    for link in &snapshot.links {
        let Some(name) = owner_by_alias(link) else {
            continue;
        };
        let owner = snapshot.owner(&name);
        let has = |step: &Step| match step {
            Step::Cable(step) => step.alias == link.alias && step.cable.host == link.name,
            _ => false,
        };
        let is_reported = reported.links.contains(&link.name);
        if owner.is_known() && !is_reported && !owner.steps().any(has) {
            lost.push((link.clone(), name));
        }
    }
    if lost.is_empty() {
        return Vec::new();
    }
    let wanted: BTreeSet<i32> = lost
        .iter()
        .filter_map(|(link, _)| link.peer_netns)
        .collect();
    let peers = find_peers(snapshot, &wanted);
    let found = lost.into_iter().filter_map(|(link, name)| {
        let peer = link.peer_netns.and_then(|id| peers.get(&id));
        if peer.is_some_and(|peer| !peer.is_ours) {
            return None;
        }
        // A cable of a running subhost that was renamed is in use: `roots::changed_while_running` reports it.
        let owner = snapshot.owner(&name);
        let pid_1 = owner.init.as_ref().filter(|_| owner.running);
        let is_pid_1 = |held: &Held| pid_1.is_some_and(|init| init.identity.pid == held.pid);
        if peer.is_some_and(|peer| peer.held.iter().any(is_pid_1)) {
            return None;
        }
        let why = match peer.and_then(|peer| peer.mount.as_ref()) {
            Some(mount) => {
                format!("no plan of its subhost has it; its inner end is in {mount}")
            }
            None => "no plan of its subhost has it".into(),
        };
        let holders = peer.map_or(Vec::new(), |peer| peer.held.clone());
        let object = format!("{} ({})", shown(&link.name), shown(&link.alias));
        Some(
            Debris::new(Kind::Link, Some(&name), object, why)
                .held(holders)
                .fix(Fix::Link(link.index, link.alias.clone()), "deletes it"),
        )
    });
    found.collect()
}

/// A network namespace that holds inner ends of cables.
#[derive(Default)]
struct Peer {
    /// The processes in the namespace.
    held: Vec<Held>,
    /// A place where the namespace is mounted, in words.
    mount: Option<String>,
    /// A process in the namespace, or a mount of it, is in a mount namespace that sees our /run/subhost.
    /// Otherwise the network namespace belongs to a container that shares ours and has subhosts of its own.
    is_ours: bool,
}

/// A file by which a network namespace can be opened.
struct NetnsFile {
    path: PathBuf,
    /// The mount point, in words; none for /proc/PID/ns/net.
    mount: Option<String>,
    /// The file is in a mount namespace that sees our /run/subhost.
    is_ours: bool,
}

/// Finds the network namespaces with the ids `wanted` (`ip netns list-id`), among those of all processes and
/// all nsfs mounts.
fn find_peers(snapshot: &mut Snapshot, wanted: &BTreeSet<i32>) -> BTreeMap<i32, Peer> {
    let mut found: BTreeMap<i32, Peer> = BTreeMap::new();
    for (inode, files) in netns_files_by_inode(snapshot) {
        let mut opened = files.iter().filter_map(|file| open(&file.path));
        let Some(id) = opened.find_map(|file| snapshot.network.namespace_id(&file)) else {
            continue;
        };
        if wanted.contains(&id) {
            let peer = found.entry(id).or_default();
            peer.held = snapshot.held_by(|process| process.net == inode);
            peer.mount = files.iter().rev().find_map(|file| file.mount.clone());
            peer.is_ours = files.iter().any(|file| file.is_ours);
        }
    }
    found
}

/// Returns the files of all network namespaces, by inode.
fn netns_files_by_inode(snapshot: &Snapshot) -> BTreeMap<u64, Vec<NetnsFile>> {
    let mut files: BTreeMap<u64, Vec<NetnsFile>> = BTreeMap::new();
    let mut ours: BTreeSet<u64> = BTreeSet::from([snapshot.mnt]);
    for (mnt, (_, table)) in &snapshot.others {
        if snapshot.is_ours(table).is_some() {
            ours.insert(*mnt);
        }
    }
    for process in &snapshot.processes {
        files.entry(process.net).or_default().push(NetnsFile {
            path: PathBuf::from(format!("/proc/{}/ns/net", process.pid)),
            mount: None,
            is_ours: ours.contains(&process.mnt),
        });
    }
    let others = snapshot
        .others
        .iter()
        .map(|(mnt, (pid, table))| (*mnt, *pid, table));
    for (mnt, pid, table) in others.chain([(snapshot.mnt, 0, &snapshot.table)]) {
        for mount in table.all().iter().filter(|mount| mount.fstype == "nsfs") {
            let Some(inode) = inode(&mount.root) else {
                continue;
            };
            let at = mount.at.strip_prefix("/").unwrap_or(&mount.at);
            let (root, place) = match pid {
                0 => (PathBuf::from("/"), shown(&mount.at)),
                _ => (
                    PathBuf::from(format!("/proc/{pid}/root")),
                    format!("{} of mount namespace {mnt}", shown(&mount.at)),
                ),
            };
            files.entry(inode).or_default().push(NetnsFile {
                path: root.join(at),
                mount: Some(place),
                is_ours: ours.contains(&mnt),
            });
        }
    }
    files
}

/// Opens a file. It does not block on a FIFO or device that another mount namespace may have at the path by
/// now.
fn open(file: &Path) -> Option<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    File::options()
        .read(true)
        .custom_flags(flags)
        .open(file)
        .ok()
}

/// Parses the inode of a network namespace from the root of its mount, `net:[4026531840]`.
fn inode(root: &Path) -> Option<u64> {
    let text = root.to_str()?.strip_prefix("net:[")?;
    text.strip_suffix(']')?.parse().ok()
}

/// Returns the names in /run/netns, sorted.
fn named_namespaces() -> Vec<String> {
    let entries = std::fs::read_dir(crate::base::paths::NETNS)
        .into_iter()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Finds leftovers in /run/netns under the name of a subhost without a frozen network plan: empty files, and
/// network namespaces if the host has cables of the subhost.
pub(super) fn netns_files(snapshot: &Snapshot, reported: &Reported) -> Vec<Debris> {
    let mut found = Vec::new();
    let links = snapshot.links.iter();
    let aliases: BTreeSet<Name> = links.filter_map(owner_by_alias).collect();
    for file in named_namespaces() {
        let Ok(name) = Name::new(&file) else { continue };
        let owner = snapshot.owner(&name);
        let is_named = snapshot.names.contains(&name) || aliases.contains(&name);
        if !is_named
            || !owner.is_known()
            || owner.has(Part::Net)
            || reported.namespaces.contains(&file)
        {
            continue;
        }
        let path = named::path(&file);
        let new = |why: &str| Debris::new(Kind::Netns, Some(&name), shown(&path), why);
        match named::find(&file) {
            Ok(named::Found::Other) if named::is_idle_leftover(&file).unwrap_or(false) => {
                found.push(
                    new("an empty file: whoever made it was killed before the namespace was there")
                        .fix(Fix::Netns(file), "removes it"),
                );
            }
            Ok(named::Found::Namespace(namespace)) if aliases.contains(&name) => {
                let inode = named::inode(&namespace);
                found.push(
                    new("a namespace with cables of the subhost, and no plan of it")
                        .held(snapshot.held_by(|process| process.net == inode))
                        .by_hand(format!("ip netns delete {name}")),
                );
            }
            _ => {}
        }
    }
    found
}

/// Finds cgroups `subhost/NAME` and `subhost.NAME` of subhosts that do not run, in all hierarchies. `others`
/// are the leftovers found before: the processes in the mount namespace of a leftover PID 1 end with it.
pub(super) fn cgroups(snapshot: &Snapshot, others: &[Debris]) -> Vec<Debris> {
    let mut found = Vec::new();
    let unknown = others.iter().filter(|debris| debris.kind == Kind::Process);
    let ending: BTreeSet<u64> = unknown
        .flat_map(|debris| &debris.holders)
        .filter_map(|held| held.mount_namespace)
        .collect();
    let mut seen: BTreeSet<(String, PathBuf)> = BTreeSet::new();
    for mount in snapshot.table.all() {
        let is_cgroup = ["cgroup", "cgroup2"].contains(&mount.fstype.as_str());
        let is_visible = snapshot
            .table
            .at(&mount.at)
            .is_some_and(|top| top.id == mount.id);
        if is_cgroup && is_visible && seen.insert((mount.device.clone(), mount.root.clone())) {
            walk(snapshot, &mount.at, &ending, &mut found);
        }
    }
    found
}

/// Searches a cgroup and those below it.
fn walk(snapshot: &Snapshot, dir: &Path, ending: &BTreeSet<u64>, found: &mut Vec<Debris>) {
    let is_parent = dir.file_name() == Some(OURS.as_ref());
    for path in directories(dir) {
        let file = path.file_name().and_then(|file| file.to_str());
        let name = file.and_then(|file| match is_parent {
            true => Name::new(file).ok(),
            false => Name::new(file.strip_prefix(OURS)?.strip_prefix('.')?).ok(),
        });
        match name {
            Some(name) => found.extend(judge_cgroup(snapshot, &name, &path, ending)),
            None => walk(snapshot, &path, ending, found),
        }
    }
    if is_parent && directories(dir).is_empty() && cgroup::members(dir).is_empty() {
        let why = "the parent of our cgroups, which has none";
        let debris = Debris::new(Kind::Cgroup, None, shown(dir), why);
        if snapshot.owners.values().all(|owner| owner.work.is_none()) {
            found.push(debris.fix(Fix::Cgroup(dir.to_owned()), "removes it"));
        }
    }
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Judges the cgroup of a subhost; none if it is no leftover. `ending` are the mount namespaces of leftover
/// PID 1 processes.
fn judge_cgroup(
    snapshot: &Snapshot,
    name: &Name,
    dir: &Path,
    ending: &BTreeSet<u64>,
) -> Option<Debris> {
    let access = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK);
    if access == Err(rustix::io::Errno::ACCESS) {
        return None; // The cgroup is root's, and the tool runs as an ordinary user.
    }
    let owner = snapshot.owner(name);
    let members: BTreeSet<i32> = cgroup::members(dir).into_iter().collect();
    let is_recorded = owner.cgroups.dirs.iter().any(|own| own.path == dir);
    // The next start or stop of a hibernating subhost removes the cgroups that its record names.
    let is_owned = is_recorded && (owner.running || (owner.is_up() && members.is_empty()));
    if !owner.is_known() || is_owned {
        return None;
    }
    let held = snapshot.held_by(|process| members.contains(&process.pid));
    // Processes that do not see our /run/subhost belong to a container with subhosts of its own.
    let is_ours = |held: &Held| {
        let table = snapshot.table_of(held.mount_namespace.unwrap_or(snapshot.mnt));
        table.is_some_and(|table| snapshot.is_ours(table).is_some())
    };
    if !held.is_empty() && !held.iter().any(is_ours) {
        return None;
    }
    let ends = |held: &Held| {
        held.mount_namespace
            .is_some_and(|mnt| ending.contains(&mnt))
    };
    let is_free = members.is_empty() || (!held.is_empty() && held.iter().all(ends));
    let debris = Debris::new(
        Kind::Cgroup,
        Some(name),
        shown(dir),
        match (owner.running, held.is_empty()) {
            (true, _) => "a cgroup of an earlier run of the subhost",
            (_, true) => "a cgroup of a subhost that does not run",
            (_, false) => "a cgroup of a subhost that does not run, with processes in it",
        },
    )
    .held(held);
    Some(match is_free {
        true => debris.fix(Fix::Cgroup(dir.to_owned()), "removes it"),
        false => debris.by_hand("end the processes, then subhost-check --repair"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_aliases_are_parsed() {
        let owner = |alias: &str| {
            owner_by_alias(&Link {
                alias: alias.into(),
                ..Link::default()
            })
            .map(|name| name.to_string())
        };
        assert_eq!(owner("subhost:web.a-b_c:12").as_deref(), Some("web.a-b_c"));
        for other in [
            "",
            "subhost:web",
            "subhost:web:",
            "subhost:web:x",
            "subhost::0",
            "web:0",
        ] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
