//! Resources of the host: limits of the kernel, free space, and the directories and programs that the tools
//! need.

use super::Ability;
use crate::base::error::shown;
use crate::base::words::bytes;
use crate::kernel::mountinfo::Table;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The mounts that a subhost adds to our mount namespace: image, tmpfs, overlay, named network namespace.
const MOUNTS: u64 = 4;
/// The number of further subhosts below which a limit is noted.
const FEW: u64 = 50;

/// Returns a number of /proc/sys (`proc_sys(5)`); none if there is no such sysctl.
pub(super) fn sysctl(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    text.trim().parse().ok()
}

/// Returns all abilities of this file.
pub(super) fn all(tree: &Path) -> Vec<Ability> {
    let mut all = vec![mounts()];
    all.extend(processes());
    all.extend(terminals());
    all.push(room(
        "room on /run",
        "/run".as_ref(),
        4 << 20,
        "no state can be kept: nothing starts",
    ));
    all.push(room(
        "room for logs",
        Path::new(match crate::kernel::privilege::has_entered() {
            true => crate::base::paths::LOGS,
            false => "/var/log",
        }),
        64 << 20,
        "what consoles say is lost",
    ));
    if tree.is_dir() {
        all.push(room(
            "room on $SUBHOST",
            tree,
            256 << 20,
            "subhosts cannot write to their roots",
        ));
    }
    all.extend(mapped(tree));
    all.push(place(tree));
    all.push(init());
    all
}

fn mounts() -> Ability {
    let now = Table::read().map_or(0, |table| table.all().len() as u64);
    let max = sysctl("fs/mount-max").unwrap_or(100_000);
    let fit = max.saturating_sub(now) / MOUNTS;
    Ability::new(
        "mounts",
        fit >= FEW,
        format!("{now} of {max}: {fit} more subhosts fit"),
    )
    .note()
    .lack(
        "mounting fails with \"No space left on device\"",
        &format!("sysctl -w fs.mount-max={}", max.max(50_000) * 2),
    )
}

fn processes() -> Option<Ability> {
    // The fourth field is RUNNING/ALL, counted in threads (`proc_loadavg(5)`).
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let now: u64 = load
        .split_whitespace()
        .nth(3)?
        .split_once('/')?
        .1
        .parse()
        .ok()?;
    let max = sysctl("kernel/pid_max")?.min(sysctl("kernel/threads-max")?);
    let ability = Ability::new(
        "processes",
        max.saturating_sub(now) >= max / 8,
        format!("{now} of {max}"),
    );
    Some(ability.note().lack(
        "nothing can be started: \"Resource temporarily unavailable\"",
        "sysctl -w kernel.pid_max=4194304 kernel.threads-max=200000",
    ))
}

fn terminals() -> Option<Ability> {
    let (now, max) = (sysctl("kernel/pty/nr")?, sysctl("kernel/pty/max")?);
    let ability = Ability::new(
        "terminals",
        max.saturating_sub(now) >= FEW,
        format!("{now} of {max}"),
    );
    Some(ability.note().lack(
        "enter gets no terminal",
        &format!("sysctl -w kernel.pty.max={}", max.max(4096) * 2),
    ))
}

/// Tries an id-mapped mount of $SUBHOST, or of the directory in which it would be made.
fn mapped(tree: &Path) -> Option<Ability> {
    let existing = tree.ancestors().find(|dir| dir.is_dir())?;
    // The ids are arbitrary, since the mount is attached nowhere.
    let userns = crate::kernel::userns::make(crate::kernel::userns::COUNT).ok()?;
    let result = crate::root::can_map(existing, &userns);
    let ability = super::trial::tried("id-mapped mounts", result);
    Some(ability.note().lack(
        "USERNS=yes is refused for trees on this file system",
        "ext4, xfs, btrfs, tmpfs (Linux 6.3) and overlay layers on them can be mapped",
    ))
}

/// Checks that the file system of `dir` has `least` bytes and some inodes free.
fn room(name: &str, dir: &Path, least: u64, costs: &str) -> Ability {
    let remedy = format!("df {0}; df -i {0}", shown(dir));
    let Ok(fs) = rustix::fs::statvfs(dir) else {
        let found = format!("there is no {}", shown(dir));
        return Ability::new(name, false, found)
            .note()
            .lack(costs, &format!("mkdir {}", shown(dir)));
    };
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    // A file system that allocates inodes on demand, as btrfs, reports 0.
    let inodes = fs.f_files == 0 || fs.f_favail >= 100;
    let found = match inodes {
        true => format!("{} free", bytes(free)),
        false => format!("{} free, but only {} files", bytes(free), fs.f_favail),
    };
    Ability::new(name, free >= least && inodes, found)
        .note()
        .lack(costs, &remedy)
}

/// Checks that $SUBHOST is a directory that only root can write to.
fn place(tree: &Path) -> Ability {
    let new = |ok, found| Ability::new("$SUBHOST", ok, found);
    let at = shown(tree);
    let Ok(meta) = std::fs::metadata(tree) else {
        return new(false, format!("there is no {at}"))
            .note()
            .lack("no subhosts yet", &format!("install -d -m 700 {at}"));
    };
    let mode = meta.permissions().mode() & 0o7777;
    let refused = "the tools refuse settings that others could have written";
    if !meta.is_dir() {
        return new(false, format!("{at} is no directory"))
            .essential()
            .lack("no subhosts", &format!("install -d -m 700 {at}, or -S"));
    }
    if meta.uid() != 0 {
        return new(false, format!("{at} belongs to uid {}", meta.uid()))
            .essential()
            .lack(refused, &format!("chown root {at}"));
    }
    if mode & 0o022 != 0 {
        return new(
            false,
            format!("{at} can be written by others (mode {mode:04o})"),
        )
        .essential()
        .lack(refused, &format!("chmod go-w {at}"));
    }
    new(true, at)
}

/// Checks that subhost-init(8) lies where the tools look for it.
fn init() -> Ability {
    match crate::kernel::tools::find_tool("subhost-init") {
        Ok(path) => Ability::new("subhost-init", true, shown(path)),
        Err(error) => Ability::new("subhost-init", false, error.to_string())
            .essential()
            .lack(
                "nothing can be booted",
                "make install: the tools lie together",
            ),
    }
}
