//! The file systems and the cgroup hierarchies of the kernel. They are looked up and not tried, since a trial
//! would load modules.

use super::Ability;
use super::trial::tried;
use crate::base::error::IntoErrno;
use crate::kernel::mountinfo::{Mount, Table};
use std::path::Path;

/// Tells whether the kernel has this file system, built in or loaded.
pub(super) fn is_known(fstype: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known
        .lines()
        .any(|line| line.split('\t').next_back() == Some(fstype))
}

/// Tells whether there is a module of this name for the running kernel.
fn is_module(name: &str) -> bool {
    let release = nix::sys::utsname::uname();
    let Ok(release) = release.map(|name| name.release().to_owned()) else {
        return false;
    };
    let dir = Path::new("/lib/modules").join(release);
    let listed = std::fs::read_to_string(dir.join("modules.dep")).unwrap_or_default();
    listed.lines().any(|line| {
        let file = line.split(':').next().unwrap_or_default();
        let file = file.rsplit('/').next().unwrap_or_default();
        file.split('.').next() == Some(name)
    })
}

/// Tells whether there is a module of this name that the kernel has not loaded yet.
pub(super) fn is_loadable(name: &str) -> bool {
    is_module(name) && !Path::new("/sys/module").join(name).exists()
}

/// Returns the ability to mount a file system, which the kernel has or can load.
pub(super) fn file_system(name: &str, costs: &str, option: &str) -> Ability {
    let (known, module) = (is_known(name), is_module(name));
    let found = if !known && module {
        "a module, loaded when it is needed"
    } else {
        ""
    };
    Ability::new(name, known || module, found).lack(
        costs,
        &format!("modprobe {name}; a kernel with CONFIG_{option}"),
    )
}

/// Returns the abilities that images and terminals need.
pub(super) fn files() -> Vec<Ability> {
    let image = |name: &str| format!("no images and layers of {name}");
    // Opening /dev/loop-control would load the module.
    let control = Path::new("/dev/loop-control");
    let opened = match is_loadable("loop") {
        true => control.metadata().map(drop),
        false => std::fs::File::open(control).map(drop),
    };
    let opened = opened.map_err(IntoErrno::into_errno);
    vec![
        tried("loop devices", opened).lack(
            "IMAGE, and LOWER with files: no images",
            "modprobe loop; in a container, give it /dev/loop-control",
        ),
        file_system("ext4", &image("ext4"), "EXT4_FS"),
        file_system("xfs", &image("xfs"), "XFS_FS"),
        file_system("btrfs", &image("btrfs"), "BTRFS_FS"),
        file_system("squashfs", &image("squashfs"), "SQUASHFS"),
        file_system("erofs", &image("erofs"), "EROFS_FS"),
        file_system(
            "devpts",
            "no terminals inside: enter works without one only",
            "UNIX98_PTYS",
        ),
        file_system("mqueue", "no /dev/mqueue inside", "POSIX_MQUEUE").note(),
    ]
}

/// Returns the abilities of the cgroup hierarchies, for a kernel of this version.
pub(super) fn cgroups(version: (u32, u32)) -> Vec<Ability> {
    let mounts = Table::read().unwrap_or_default();
    let v2 = mounts.all().iter().find(|mount| mount.fstype == "cgroup2");
    let controllers = |mount: &Mount| {
        std::fs::read_to_string(mount.at.join("cgroup.controllers"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let known = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let v1: Vec<&str> = known
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            matches!(words[..], [_, hierarchy, ..] if hierarchy != "0").then(|| words[0])
        })
        .collect();
    let on_v2 = v2.map(controllers).unwrap_or_default();
    let found = match (on_v2.as_str(), v1.is_empty()) {
        ("", true) => String::new(),
        (v2, true) => format!("v2: {v2}"),
        ("", false) => format!("v1: {}", v1.join(" ")),
        (v2, false) => format!("v2: {v2}; v1: {}", v1.join(" ")),
    };
    let kill = version >= (5, 14);
    vec![
        Ability::new("cgroup v2", v2.is_some(), "").lack(
            "INIT: systemd and its like cannot run",
            "mount -t cgroup2 none /sys/fs/cgroup; with sysvinit, the package cgroupfs-mount",
        ),
        Ability::new("cgroup.kill", v2.is_some() && kill, "")
            .note()
            .lack(
                "what is in a cgroup cannot be ended at once (Linux 5.14)",
                "a later kernel, with cgroup v2 mounted",
            ),
        Ability::new("cgroup controllers", !found.is_empty(), found)
            .note()
            .lack(
                "nothing can be limited or accounted by cgroup",
                "a kernel with CONFIG_CGROUP_PIDS, CONFIG_MEMCG, CONFIG_CGROUP_SCHED",
            ),
    ]
}
