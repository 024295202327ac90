//! What bears a subhost's name in the kernel: host ends of cables, named network namespaces,
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

/// The subhost that an alias `subhost:NAME:i` is of.
fn alias_of(link: &Link) -> Option<Name> {
    let (name, index) = link.alias.strip_prefix("subhost:")?.rsplit_once(':')?;
    let is_number = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| Name::new(name).ok()).flatten()
}

/// Host ends that bear our alias, and that no frozen plan of their subhost has.
pub(super) fn links(snapshot: &mut Snapshot, reported: &Reported) -> Vec<Debris> {
    let mut lost: Vec<(Link, Name)> = Vec::new();
    for link in &snapshot.links {
        let Some(name) = alias_of(link) else { continue };
        let owner = snapshot.owner(&name);
        let has = |step: &Step| match step {
            Step::Cable(step) => step.alias == link.alias && step.cable.host == link.name,
            _ => false,
        };
        let is_told = reported.links.contains(&link.name);
        if owner.is_known() && !is_told && !owner.steps().any(has) {
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
    let peers = peers(snapshot, &wanted);
    let found = lost.into_iter().filter_map(|(link, name)| {
        let peer = link.peer_netns.and_then(|id| peers.get(&id));
        if peer.is_some_and(|peer| !peer.is_ours) {
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

/// A namespace in which inner ends are.
#[derive(Default)]
struct Peer {
    /// The processes in it.
    held: Vec<Held>,
    /// Where it is mounted, in words.
    mount: Option<String>,
    /// Something that holds it sees our /run/subhost. One that only others hold is of a container
    /// with subhosts of its own, in our network namespace.
    is_ours: bool,
}

/// The namespaces that ours knows by the numbers `wanted`: looked for among those of all processes,
/// and those that are mounted somewhere.
fn peers(snapshot: &mut Snapshot, wanted: &BTreeSet<i32>) -> BTreeMap<i32, Peer> {
    let mut found: BTreeMap<i32, Peer> = BTreeMap::new();
    let mut places: BTreeMap<u64, Vec<(PathBuf, Option<String>, bool)>> = BTreeMap::new();
    let mut sees: BTreeMap<u64, bool> = BTreeMap::new();
    sees.insert(snapshot.mnt, true);
    for (mnt, (_, table)) in &snapshot.others {
        sees.insert(*mnt, snapshot.is_ours(table).is_some());
    }
    for process in &snapshot.processes {
        let file = PathBuf::from(format!("/proc/{}/ns/net", process.pid));
        let is_ours = sees.get(&process.mnt).copied().unwrap_or(false);
        places
            .entry(process.net)
            .or_default()
            .push((file, None, is_ours));
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
            let (root, reported) = match pid {
                0 => (PathBuf::from("/"), shown(&mount.at)),
                _ => (
                    PathBuf::from(format!("/proc/{pid}/root")),
                    format!("{} of mount namespace {mnt}", shown(&mount.at)),
                ),
            };
            let is_ours = sees.get(&mnt).copied().unwrap_or(false);
            places
                .entry(inode)
                .or_default()
                .push((root.join(at), Some(reported), is_ours));
        }
    }
    for (inode, places) in places {
        let mut files = places.iter().filter_map(|(file, ..)| open(file));
        let Some(id) = files.find_map(|file| snapshot.network.namespace_id(&file)) else {
            continue;
        };
        if wanted.contains(&id) {
            let peer = found.entry(id).or_default();
            peer.held = snapshot.held_by(|process| process.net == inode);
            peer.mount = places
                .iter()
                .rev()
                .find_map(|(_, reported, _)| reported.clone());
            peer.is_ours = places.iter().any(|(.., is_ours)| *is_ours);
        }
    }
    found
}

/// What another mount namespace has there by now must not make us wait.
fn open(file: &Path) -> Option<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    File::options()
        .read(true)
        .custom_flags(flags)
        .open(file)
        .ok()
}

/// The inode of a network namespace, from the root of its mount: `net:[4026531840]`.
fn inode(root: &Path) -> Option<u64> {
    let text = root.to_str()?.strip_prefix("net:[")?;
    text.strip_suffix(']')?.parse().ok()
}

fn namespaces() -> Vec<String> {
    let entries = std::fs::read_dir(crate::base::paths::NETNS)
        .into_iter()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Files in /run/netns under names of subhosts that became no namespace, and namespaces there with
/// our cables in them that no plan has.
pub(super) fn netns_files(snapshot: &Snapshot, reported: &Reported) -> Vec<Debris> {
    let mut found = Vec::new();
    let aliases: BTreeSet<Name> = snapshot.links.iter().filter_map(alias_of).collect();
    for file in namespaces() {
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

/// Cgroups `subhost/NAME` and `subhost.NAME`, in whatever hierarchy, of subhosts that do not run.
/// `others` are the processes 1 that nobody knows: what lives in their mount namespaces ends with them.
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
        let is_seen = snapshot
            .table
            .at(&mount.at)
            .is_some_and(|seen| seen.id == mount.id);
        if is_cgroup && is_seen && seen.insert((mount.device.clone(), mount.root.clone())) {
            walk(snapshot, &mount.at, &ending, &mut found);
        }
    }
    found
}

fn walk(snapshot: &Snapshot, dir: &Path, ending: &BTreeSet<u64>, found: &mut Vec<Debris>) {
    let is_parent = dir.file_name() == Some(OURS.as_ref());
    for path in directories(dir) {
        let file = path.file_name().and_then(|file| file.to_str());
        let name = file.and_then(|file| match is_parent {
            true => Name::new(file).ok(),
            false => Name::new(file.strip_prefix(OURS)?.strip_prefix('.')?).ok(),
        });
        match name {
            Some(name) => found.extend(cgroup(snapshot, &name, &path, ending)),
            None => walk(snapshot, &path, ending, found),
        }
    }
    if is_parent && directories(dir).is_empty() && cgroup::members(dir).is_empty() {
        let why = "what holds our cgroups, and holds none";
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

fn cgroup(snapshot: &Snapshot, name: &Name, dir: &Path, ending: &BTreeSet<u64>) -> Option<Debris> {
    let access = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK);
    if access == Err(rustix::io::Errno::ACCESS) {
        return None; // Root's, and not a user's to judge.
    }
    let owner = snapshot.owner(name);
    let members: BTreeSet<i32> = cgroup::members(dir).into_iter().collect();
    let is_recorded = owner.cgroups.dirs.iter().any(|own| own.path == dir);
    // The next start or the stop of a hibernating one removes what its record names.
    let is_owned = is_recorded && (owner.running || (owner.is_up() && members.is_empty()));
    if !owner.is_known() || is_owned {
        return None;
    }
    let held = snapshot.held_by(|process| members.contains(&process.pid));
    // Of a container with subhosts of its own.
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
    fn aliases_of_ours() {
        let of = |alias: &str| {
            alias_of(&Link {
                alias: alias.into(),
                ..Link::default()
            })
            .map(|name| name.to_string())
        };
        assert_eq!(of("subhost:web.a-b_c:12").as_deref(), Some("web.a-b_c"));
        for other in [
            "",
            "subhost:web",
            "subhost:web:",
            "subhost:web:x",
            "subhost::0",
            "web:0",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
