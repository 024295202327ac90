//! Leftover mounts, in our mount namespace and in others, and loop devices without a mount.

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

/// A loop device whose backing file belongs to this $SUBHOST.
pub(super) struct Loop {
    /// The device file, `/dev/loopN`.
    device: PathBuf,
    /// The device number as the mount table shows it, `7:N`.
    number: String,
    /// The backing file.
    file: PathBuf,
    /// The subhost whose image the file is; none for a layer, or if the subhost is unknown.
    name: Option<Name>,
    /// The device detaches itself after the last close.
    autoclear: bool,
}

/// Finds the loop devices of this $SUBHOST. It compares device and inode of the backing file: the path in
/// /sys/block is that of the mount namespace that attached it, and another container may have a different
/// file at the same path.
pub(super) fn loops(snapshot: &Snapshot) -> Vec<Loop> {
    let mut files: BTreeMap<&Path, Option<&Name>> = BTreeMap::new();
    for config in snapshot.configs.values() {
        files.extend(image_layers(config).map(|file| (file, None)));
        let image = config.root.image.iter();
        files.extend(image.map(|image| (image.file.as_path(), Some(&config.name))));
    }
    let identify = |(device, file): (PathBuf, PathBuf)| {
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
    loops::all_attached()
        .into_iter()
        .filter_map(identify)
        .collect()
}

/// Returns the image files among the layers of a config.
fn image_layers(config: &Config) -> impl Iterator<Item = &Path> {
    config.root.lowers.iter().filter_map(|layer| match layer {
        Layer::Image(file) => Some(file.as_path()),
        Layer::Directory(_) => None,
    })
}

impl Loop {
    /// Tells whether the mount is on this device.
    fn serves(&self, mount: &Mount) -> bool {
        mount.device == self.number || Path::new(&mount.source) == self.device
    }
}

/// Guesses from the properties of a mount the subhost that it belongs to, and whether only our tools would
/// make such a mount; none if it belongs to no subhost.
fn guess_owner(snapshot: &Snapshot, loops: &[Loop], mount: &Mount) -> Option<(Name, bool)> {
    let at = mount.at.as_path();
    if let Some(name) = snapshot.name_of(at)
        && let own = snapshot.tree.join(name.as_str())
        && ["live", "mnt", "work"]
            .iter()
            .any(|dir| own.join(dir) == at)
    {
        let is_ours = is_made_like_ours(snapshot, loops, mount, &name);
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
    writable_owner(snapshot, loops, mount).map(|name| (name, true))
}

/// Returns the subhost whose upper or image is mounted.
fn writable_owner(snapshot: &Snapshot, loops: &[Loop], mount: &Mount) -> Option<Name> {
    if mount.fstype == "overlay" {
        let (_, upper, _) = mount.overlay_layers();
        let upper = upper?;
        if let Some(name) = snapshot.uppers.get(&upper) {
            return Some(name.clone());
        }
        // A subhost without valid settings is recognised by the usual path of its upper. Any other directory
        // in $SUBHOST may be a layer that somebody is building.
        let name = snapshot.name_of(&upper)?;
        let own = snapshot.tree.join(name.as_str());
        let usual = ["root", "mnt/root", "work/upper"];
        let is_usual = usual.iter().any(|dir| own.join(dir) == upper);
        return (is_usual || snapshot.names.contains(&name)).then_some(name);
    }
    let device = loops.iter().find(|device| device.serves(mount))?;
    device.name.clone()
}

/// Tells whether a mount on `live`, `mnt` or `work` looks like one that the tools make for the subhost.
fn is_made_like_ours(snapshot: &Snapshot, loops: &[Loop], mount: &Mount, name: &Name) -> bool {
    let own = snapshot.tree.join(name.as_str());
    match mount.fstype.as_str() {
        "overlay" => {
            let (lowers, upper, _) = mount.overlay_layers();
            lowers
                .iter()
                .chain(&upper)
                .any(|layer| layer.starts_with(&own))
                || writable_owner(snapshot, loops, mount).is_some()
        }
        "tmpfs" if mount.source == SOURCE => true,
        _ => writable_owner(snapshot, loops, mount).is_some() || is_rbind_of(snapshot, mount, name),
    }
}

/// Tells whether the mount is a bind mount of the subhost's directory `root`.
fn is_rbind_of(snapshot: &Snapshot, mount: &Mount, name: &Name) -> bool {
    let root = match snapshot.configs.get(name) {
        Some(config) => config.root.upper.clone(),
        None => snapshot.tree.join(name.as_str()).join("root"),
    };
    let place = Place::find(&snapshot.table, &root);
    place.is_some_and(|place| place.device == mount.device && place.path == mount.root)
}

/// Finds leftover mounts in our mount namespace.
pub(super) fn mounts(snapshot: &Snapshot, loops: &[Loop], reported: &Reported) -> Vec<Debris> {
    let planned: BTreeSet<&Path> = snapshot
        .owners
        .values()
        .flat_map(|owner| owner.steps())
        .filter_map(Step::mount_point)
        .collect();
    // A mount below a planned one was made by a recursive bind, or by the subhost.
    let is_accounted = |mount: &Mount| {
        let mut dirs = mount.at.ancestors();
        dirs.any(|dir| planned.contains(dir) || reported.places.contains(dir))
    };
    let mut found = Vec::new();
    let all = snapshot.table.all().iter();
    for mount in all.filter(|mount| !is_accounted(mount)) {
        let Some((name, is_ours)) = guess_owner(snapshot, loops, mount) else {
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

/// Finds mounts of a subhost's root in other mount namespaces that have outlived the subhost. They keep its
/// layer or image in use. A mount that is in our namespace as well is none of them: a namespace with slave
/// propagation, as a service has, receives all of our mounts.
pub(super) fn copies(snapshot: &Snapshot, loops: &[Loop]) -> Vec<Debris> {
    let here: BTreeSet<(&str, &Path)> = snapshot
        .table
        .all()
        .iter()
        .map(|mount| (mount.device.as_str(), mount.root.as_path()))
        .collect();
    let mut found = Vec::new();
    for (namespace, (pid, table)) in &snapshot.others {
        for (mount, name) in root_mounts(snapshot, loops, table) {
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

/// Returns the processes whose root directory is a subhost's root, by subhost. It leaves out the mount
/// namespaces of the leftover PID 1 processes in `doomed`, since their processes end with them.
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
        // The root of the namespace is the mount that we have on `live`, or it looks like a subhost's root.
        let roots = table.all().iter().filter(is_root);
        let mut names: BTreeSet<Name> = roots
            .filter_map(|mount| Some((*here.get(&key(mount))?).clone()))
            .collect();
        let copies = root_mounts(snapshot, loops, table).into_iter();
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

/// Returns the mounts of another mount namespace that show a subhost's root, with the subhost. A path
/// identifies a subhost only in a namespace that sees this $SUBHOST, or that has files of our /run/subhost,
/// as that of a subhost has.
fn root_mounts<'a>(
    snapshot: &Snapshot,
    loops: &[Loop],
    table: &'a Table,
) -> Vec<(&'a Mount, Name)> {
    let ours = snapshot.is_ours(table);
    let sees_tree =
        || Place::find(table, &snapshot.tree).is_some_and(|place| snapshot.place == Some(place));
    let is_seen = ours.is_some() || sees_tree();
    let identify = |mount: &'a Mount| {
        let device = loops.iter().find(|device| device.serves(mount));
        if let Some(device) = device {
            return Some((mount, device.name.clone()?));
        }
        if !is_seen {
            return None;
        }
        if let Some(name) = writable_owner(snapshot, loops, mount) {
            return Some((mount, name));
        }
        // The mount may be a bind mount, on `live` or as the root of a subhost's mount namespace.
        let name = match mount.at == Path::new("/") {
            true => ours.clone().flatten()?,
            false => {
                let name = snapshot.name_of(&mount.at)?;
                let live = snapshot.tree.join(name.as_str()).join("live");
                (live == mount.at).then_some(name)?
            }
        };
        is_rbind_of(snapshot, mount, &name).then_some((mount, name))
    };
    table.all().iter().filter_map(identify).collect()
}

/// Finds loop devices without a mount in any mount namespace.
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
        // Any subhost whose plan has the file as a layer may be about to mount the device.
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

/// Returns the processes that have a device open.
fn openers(snapshot: &Snapshot, device: &Path) -> Vec<Held> {
    snapshot.held_by(|process| {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", process.pid));
        fds.into_iter()
            .flatten()
            .filter_map(Result::ok)
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == device))
    })
}
