//! Mounts that no frozen plan accounts for, in our mount namespace and in others, and loop devices
//! that serve no mount.

use super::snapshot::{Place, Snapshot};
use super::{Debris, Fix, Held, Kind, Reported};
use crate::base::envfile::quote;
use crate::base::error::shown;
use crate::base::name::Name;
use crate::base::paths::RUN;
use crate::config::{Config, Layer};
use crate::kernel::loops;
use crate::kernel::mountinfo::{Mount, Table};
use crate::plan::Step;
use crate::plan::steps::tmpfs::SOURCE;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A loop device with a subhost's file behind it.
pub(super) struct Loop {
    /// `/dev/loopN`.
    device: PathBuf,
    /// `7:N`, as the mount table has it.
    number: String,
    file: PathBuf,
    /// The subhost whose image it is; none for a layer's, or where it cannot be reported.
    name: Option<Name>,
    autoclear: bool,
}

/// Those of `/sys/block` that belong to this $SUBHOST, known by the file itself: the path there is
/// one of whoever attached it, and another container may have a file of the same path.
pub(super) fn loops(snapshot: &Snapshot) -> Vec<Loop> {
    let mut files: BTreeMap<&Path, Option<&Name>> = BTreeMap::new();
    for config in snapshot.configs.values() {
        files.extend(layers(config).map(|file| (file, None)));
        let image = config.root.image.iter();
        files.extend(image.map(|image| (image.file.as_path(), Some(&config.name))));
    }
    let of = |(device, file): (PathBuf, PathBuf)| {
        let known = files.get(file.as_path());
        if known.is_none() && !file.starts_with(&snapshot.tree) {
            return None;
        }
        let meta = std::fs::metadata(&file).ok()?;
        let opened = std::fs::File::open(&device).ok()?;
        if crate::sys::loop_backing(&opened).ok()? != (meta.dev(), meta.ino()) {
            return None;
        }
        let name = match known {
            Some(name) => name.cloned(),
            None => snapshot.name_of(&file).filter(|name| {
                snapshot.names.contains(name)
                    || file.file_name() == Some(format!("{name}.img").as_ref())
            }),
        };
        let rdev = std::fs::metadata(&device).ok()?.rdev();
        let block = Path::new("/sys/block").join(device.file_name()?);
        let autoclear = std::fs::read_to_string(block.join("loop/autoclear"));
        Some(Loop {
            number: format!("{}:{}", nix::libc::major(rdev), nix::libc::minor(rdev)),
            autoclear: autoclear.is_ok_and(|text| text.trim() == "1"),
            device,
            file,
            name,
        })
    };
    loops::all_attached().into_iter().filter_map(of).collect()
}

fn layers(config: &Config) -> impl Iterator<Item = &Path> {
    config.root.lowers.iter().filter_map(|layer| match layer {
        Layer::Image(file) => Some(file.as_path()),
        Layer::Directory(_) => None,
    })
}

impl Loop {
    fn serves(&self, mount: &Mount) -> bool {
        mount.device == self.number || Path::new(&mount.source) == self.device
    }
}

/// Whose mount it is by sight, and whether it is one that only our tools or their plans would make.
fn by_sight(
    snapshot: &Snapshot,
    loops: &[Loop],
    table: &Table,
    mount: &Mount,
) -> Option<(Name, bool)> {
    let at = mount.at.as_path();
    if let Some(name) = snapshot.name_of(at)
        && let own = snapshot.tree.join(name.as_str())
        && ["live", "mnt", "work"]
            .iter()
            .any(|dir| own.join(dir) == at)
    {
        let is_ours = is_made_like_ours(snapshot, loops, table, mount, &name);
        return (is_ours || snapshot.names.contains(&name)).then_some((name, is_ours));
    }
    if let Ok(below) = at.strip_prefix(RUN)
        && let Some(name) = below
            .iter()
            .next()
            .and_then(|name| Name::new(name.to_str()?).ok())
    {
        return Some((name, true));
    }
    serves(snapshot, loops, mount).map(|name| (name, true))
}

/// The subhost whose writable layer or image is mounted.
fn serves(snapshot: &Snapshot, loops: &[Loop], mount: &Mount) -> Option<Name> {
    if mount.fstype == "overlay" {
        let (_, upper, _) = mount.overlay_layers();
        let upper = upper?;
        if let Some(name) = snapshot.uppers.get(&upper) {
            return Some(name.clone());
        }
        // Of one that has no valid settings any more: where it would have been. ParallelSetup subhosts lie
        // layers, which somebody may be building.
        let name = snapshot.name_of(&upper)?;
        let own = snapshot.tree.join(name.as_str());
        let usual = ["root", "mnt/root", "work/upper"];
        let is_usual = usual.iter().any(|dir| own.join(dir) == upper);
        return (is_usual || snapshot.names.contains(&name)).then_some(name);
    }
    let device = loops.iter().find(|device| device.serves(mount))?;
    device.name.clone()
}

fn is_made_like_ours(
    snapshot: &Snapshot,
    loops: &[Loop],
    table: &Table,
    mount: &Mount,
    name: &Name,
) -> bool {
    let own = snapshot.tree.join(name.as_str());
    match mount.fstype.as_str() {
        "overlay" => {
            let (lowers, upper, _) = mount.overlay_layers();
            lowers
                .iter()
                .chain(&upper)
                .any(|layer| layer.starts_with(&own))
                || serves(snapshot, loops, mount).is_some()
        }
        "tmpfs" if mount.source == SOURCE => true,
        _ => serves(snapshot, loops, mount).is_some() || is_root_of(snapshot, table, mount, name),
    }
}

/// Does the mount show the tree `root` of a subhost, as an rbind does?
fn is_root_of(snapshot: &Snapshot, table: &Table, mount: &Mount, name: &Name) -> bool {
    let root = match snapshot.configs.get(name) {
        Some(config) => config.root.upper.clone(),
        None => snapshot.tree.join(name.as_str()).join("root"),
    };
    let place = Place::find(table, &root);
    place.is_some_and(|place| place.device == mount.device && place.path == mount.root)
}

/// Mounts of our mount namespace.
pub(super) fn mounts(snapshot: &Snapshot, loops: &[Loop], reported: &Reported) -> Vec<Debris> {
    let planned: BTreeSet<&Path> = snapshot
        .owners
        .values()
        .flat_map(|owner| owner.steps())
        .filter_map(Step::mount_point)
        .collect();
    // What lies below a root came with it.
    let is_told = |mount: &Mount| {
        let mut dirs = mount.at.ancestors();
        dirs.any(|dir| planned.contains(dir) || reported.places.contains(dir))
    };
    let mut found = Vec::new();
    for mount in snapshot.table.all().iter().filter(|mount| !is_told(mount)) {
        let Some((name, is_ours)) = by_sight(snapshot, loops, &snapshot.table, mount) else {
            continue;
        };
        if !snapshot.owner(&name).is_known() {
            continue;
        }
        let at = shown(&mount.at);
        let object = format!("{at} ({})", mount.describe());
        let debris = match is_ours {
            true => Debris::new(
                Kind::Mount,
                Some(&name),
                object,
                "no plan of its subhost accounts for it, nor is it what the settings would make",
            ),
            false => Debris::new(
                Kind::Mount,
                Some(&name),
                object,
                "not made by the tools, and in the way of what is mounted there",
            )
            .note(),
        };
        let holders = crate::kernel::holders::find_on_mount(&mount.at);
        let holders = holders.into_iter().map(|holder| Held {
            pid: holder.pid,
            command: holder.command,
            mount_namespace: None,
        });
        found.push(
            debris
                .held(holders.collect())
                .by_hand(format!("umount {}", quote(&at))),
        );
    }
    found
}

/// Mounts of subhosts' roots in other mount namespaces that outlived the subhost: its layer or its
/// image stays in use. What our own namespace has as well has not outlived it: namespaces that
/// follow ours, as those of services do, have all of our mounts.
pub(super) fn copies(snapshot: &Snapshot, loops: &[Loop]) -> Vec<Debris> {
    let here: BTreeSet<(&str, &Path)> = snapshot
        .table
        .all()
        .iter()
        .map(|mount| (mount.device.as_str(), mount.root.as_path()))
        .collect();
    let mut found = Vec::new();
    for (namespace, (pid, table)) in &snapshot.others {
        for (mount, name) in copied(snapshot, loops, table) {
            let is_here = here.contains(&(mount.device.as_str(), mount.root.as_path()));
            if !snapshot.owner(&name).is_down() || is_here {
                continue;
            }
            let at = shown(&mount.at);
            let why = match mount.fstype.as_str() {
                "overlay" => "an overlay",
                _ => "a mount",
            };
            found.push(
                Debris::new(
                    Kind::Copy,
                    Some(&name),
                    format!("{at} in mount namespace {namespace}"),
                    format!("{why} of its root outlived it there and keeps it in use"),
                )
                .held(snapshot.held_by(|process| process.mnt == *namespace))
                .by_hand(format!(
                    "end the processes, or nsenter -t {pid} -m umount {}",
                    quote(&at)
                )),
            );
        }
    }
    found
}

/// The processes that have a subhost's root as theirs, by subhost, but for those in `doomed`.
pub(super) fn residents(
    snapshot: &Snapshot,
    loops: &[Loop],
    doomed: &[Debris],
) -> BTreeMap<Name, Vec<Held>> {
    let doomed: BTreeSet<u64> = doomed
        .iter()
        .filter(|debris| debris.kind == Kind::Process)
        .flat_map(|debris| &debris.holders)
        .filter_map(|held| held.mount_namespace)
        .collect();
    let lives: BTreeMap<&Path, &Name> = snapshot
        .configs
        .values()
        .map(|config| (config.root.live.as_path(), &config.name))
        .collect();
    let key = |mount: &Mount| (mount.device.clone(), mount.root.clone());
    let here: BTreeMap<_, &Name> = snapshot
        .table
        .all()
        .iter()
        .filter_map(|mount| Some((key(mount), *lives.get(mount.at.as_path())?)))
        .collect();
    let is_root = |mount: &&Mount| mount.at == Path::new("/");
    let mut found: BTreeMap<Name, Vec<Held>> = BTreeMap::new();
    for (namespace, (_, table)) in &snapshot.others {
        if doomed.contains(namespace) {
            continue;
        }
        // The very file system that we have on live, or by what it looks like.
        let roots = table.all().iter().filter(is_root);
        let mut names: BTreeSet<Name> = roots
            .filter_map(|mount| Some((*here.get(&key(mount))?).clone()))
            .collect();
        let copies = copied(snapshot, loops, table).into_iter();
        names.extend(
            copies
                .filter(|(mount, _)| is_root(mount))
                .map(|(_, name)| name),
        );
        for name in names {
            let held = snapshot.held_by(|process| process.mnt == *namespace);
            found.entry(name).or_default().extend(held);
        }
    }
    found
}

/// The mounts of another mount namespace that show a subhost's root. A path says something only in
/// a namespace that sees this $SUBHOST, or has files from our /run/subhost, as a subhost's has.
fn copied<'a>(snapshot: &Snapshot, loops: &[Loop], table: &'a Table) -> Vec<(&'a Mount, Name)> {
    let ours = snapshot.is_ours(table);
    let sees_tree =
        || Place::find(table, &snapshot.tree).is_some_and(|place| snapshot.place == Some(place));
    let is_seen = ours.is_some() || sees_tree();
    let of = |mount: &'a Mount| {
        let device = loops.iter().find(|device| device.serves(mount));
        if let Some(device) = device {
            return Some((mount, device.name.clone()?));
        }
        if !is_seen {
            return None;
        }
        if let Some(name) = serves(snapshot, loops, mount) {
            return Some((mount, name));
        }
        // An rbind, on live or as the root of a subhost.
        let name = match mount.at == Path::new("/") {
            true => ours.clone().flatten()?,
            false => {
                let name = snapshot.name_of(&mount.at)?;
                let live = snapshot.tree.join(name.as_str()).join("live");
                (live == mount.at).then_some(name)?
            }
        };
        is_root_of(snapshot, &snapshot.table, mount, &name).then_some((mount, name))
    };
    table.all().iter().filter_map(of).collect()
}

/// Loop devices that serve no mount in any mount namespace.
pub(super) fn idle_loops(snapshot: &Snapshot, loops: &[Loop]) -> Vec<Debris> {
    let tables = || {
        let others = snapshot.others.values().map(|(_, table)| table);
        others.chain([&snapshot.table])
    };
    let mut found = Vec::new();
    for device in loops {
        let is_mounted = tables().any(|table| table.all().iter().any(|m| device.serves(m)));
        let owner = device.name.as_ref().map(|name| snapshot.owner(name));
        if is_mounted || owner.is_some_and(|owner| !owner.is_known()) {
            continue;
        }
        // A layer's: whoever has it in a plan may be about to mount it.
        let uses = |step: &Step| matches!(step, Step::Image(image) if image.file == device.file);
        let is_used = snapshot
            .owners
            .values()
            .any(|owner| owner.work.is_some() && device.name.is_none() || owner.steps().any(uses));
        let holders = openers(snapshot, &device.device);
        let path = shown(&device.device);
        let debris = Debris::new(
            Kind::Loop,
            device.name.as_ref(),
            format!("{path} ({})", shown(&device.file)),
            match device.autoclear {
                true => "attached and mounted nowhere; detaches itself when nobody has it open",
                false => "attached and mounted nowhere; does not detach itself",
            },
        );
        let is_free = holders.is_empty() && !is_used;
        let debris = debris.held(holders);
        found.push(match is_free {
            true => debris.fix(Fix::Loop(device.device.clone()), "detaches it"),
            false if is_used => debris.by_hand(format!("when it is stopped: losetup -d {path}")),
            false => debris.by_hand(format!("when the process is done: losetup -d {path}")),
        });
    }
    found
}

/// Who has a device open.
fn openers(snapshot: &Snapshot, device: &Path) -> Vec<Held> {
    snapshot.held_by(|process| {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", process.pid));
        fds.into_iter()
            .flatten()
            .filter_map(Result::ok)
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == device))
    })
}
