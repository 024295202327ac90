//! The abilities of the kernel, each tested by its use on a thread in namespaces of its own. No trial leaves
//! a trace: none attaches a loop device or makes the kernel load a module.

use super::systems::{file_system, is_known, is_loadable};
use super::trial::{Trial, run_in_namespaces, tried};
use super::{Ability, limits, systems};
use crate::base::error::{Errno, IntoErrno};
use crate::kernel::proc::{self, Identity};
use crate::kernel::userns;
use crate::sys;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{FsOpenFlags, OpenTreeFlags, fsconfig_set_string, fsopen, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Returns all abilities, the most important first.
pub fn host(tree: &Path) -> Vec<Ability> {
    let mut all = vec![kernel()];
    all.extend(namespaces());
    all.extend(mounting());
    all.extend(processes());
    all.extend(network());
    all.extend(systems::files());
    all.extend(systems::cgroups(version()));
    all.extend(limits::all(tree));
    all
}

/// Returns the first two numbers of the kernel's version.
fn version() -> (u32, u32) {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    parse_version(&release)
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || {
        numbers
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    (next(), next())
}

fn kernel() -> Ability {
    let (major, minor) = version();
    Ability::new(
        "kernel",
        (major, minor) >= (6, 1),
        format!("{major}.{minor}"),
    )
    .lack(
        "the tools are made for Linux 6.1 and later, and tested there",
        "Debian 12, Devuan 5 and later have one",
    )
    .note()
}

/// The namespaces: name, flag of unshare(2), name in the sysctl user.max_NAME_namespaces, kernel option, and what needs
/// them.
const NAMESPACES: [(&str, CloneFlags, &str, &str, &str); 7] = [
    (
        "mnt",
        CloneFlags::CLONE_NEWNS,
        "mnt",
        "NAMESPACES",
        "roots of their own: nothing works",
    ),
    (
        "pid",
        CloneFlags::CLONE_NEWPID,
        "pid",
        "PID_NS",
        "processes 1: nothing can be booted",
    ),
    (
        "net",
        CloneFlags::CLONE_NEWNET,
        "net",
        "NET_NS",
        "networks: only NET=host works",
    ),
    (
        "uts",
        CloneFlags::CLONE_NEWUTS,
        "uts",
        "UTS_NS",
        "host names: nothing can be booted",
    ),
    (
        "ipc",
        CloneFlags::CLONE_NEWIPC,
        "ipc",
        "IPC_NS",
        "shared memory: nothing can be booted",
    ),
    (
        "cgroup",
        CloneFlags::CLONE_NEWCGROUP,
        "cgroup",
        "CGROUPS",
        "cgroups: nothing can be booted",
    ),
    (
        "user",
        CloneFlags::CLONE_NEWUSER,
        "user",
        "USER_NS",
        "users of their own: USERNS=yes is refused, auto goes without",
    ),
];

fn namespaces() -> Vec<Ability> {
    let one = |(name, flag, limit, option, costs): (&str, CloneFlags, &str, &str, &str)| {
        let made = match name {
            // unshare(2) refuses CLONE_NEWUSER to a process with threads, so a child process tries it.
            "user" => make_user_namespace().map(drop),
            _ => run_in_namespaces(flag, || Ok(())),
        };
        let ability = tried(&format!("{name} namespaces"), made);
        let sysctl = format!("user.max_{limit}_namespaces");
        let remedy = match limits::sysctl(&format!("user/max_{limit}_namespaces")) {
            Some(0) => format!("sysctl -w {sysctl}=1000"),
            _ if name == "mnt" => "run it with CAP_SYS_ADMIN".to_owned(),
            _ => format!("a kernel with CONFIG_{option}, and CAP_SYS_ADMIN; sysctl {sysctl}"),
        };
        let ability = ability.lack(&format!("no {costs}"), &remedy);
        match name {
            "user" => ability.note(),
            "net" => ability,
            _ => ability.essential(),
        }
    };
    // An ordinary user's tools are in a user namespace already, and need no other one.
    let needed = |(name, ..): &(&str, CloneFlags, &str, &str, &str)| {
        *name != "user" || !crate::kernel::privilege::has_entered()
    };
    NAMESPACES.into_iter().filter(needed).map(one).collect()
}

/// Makes a user namespace. Its ids are arbitrary, since no process stays in it.
fn make_user_namespace() -> std::result::Result<OwnedFd, Errno> {
    userns::make(userns::COUNT).map_err(|error| error.errno.unwrap_or(Errno::EIO))
}

/// Makes the mounts of the thread's mount namespace private, and mounts a tmpfs on /run.
fn mount_scratch() -> Trial {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(
        Some("scratch"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
}

fn mounting() -> Vec<Ability> {
    let new = CloneFlags::CLONE_NEWNS;
    let rbind = || {
        mount_scratch()?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, "/run", flags).map_err(IntoErrno::into_errno)?;
        sys::mount_setattr_tree(&tree, sys::RDONLY, nix::libc::MS_SLAVE)
    };
    let resolve = || {
        let (open, resolve) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT);
        let opened = openat2(CWD, "/", open, Mode::empty(), resolve);
        opened.map(drop).map_err(IntoErrno::into_errno)
    };
    let mut all = vec![
        tried("mounting", run_in_namespaces(new, mount_scratch))
            .essential()
            .lack(
                "nothing can be mounted",
                "run it with CAP_SYS_ADMIN; CONFIG_TMPFS",
            ),
        tried("mount_setattr", run_in_namespaces(new, rbind))
            .essential()
            .lack(
                "no rbind of a root, read-only or not (Linux 5.12)",
                "a later kernel, or a seccomp filter that allows open_tree and mount_setattr",
            ),
        tried("openat2", resolve()).essential().lack(
            "no path inside a tree can be used safely (Linux 5.6)",
            "a later kernel, or a seccomp filter that allows it",
        ),
    ];
    all.extend(overlays());
    all
}

/// Tries overlays, unless the kernel would load the module for that.
fn overlays() -> Vec<Ability> {
    if !is_known("overlay") {
        let costs = "LOWER, VOLATILE: no overlays as roots; rbinds work";
        return vec![file_system("overlay", costs, "OVERLAY_FS")];
    }
    let overlay = || {
        mount_scratch()?;
        for dir in ["lower", "upper", "work", "live"] {
            std::fs::create_dir(Path::new("/run").join(dir)).map_err(IntoErrno::into_errno)?;
        }
        let data =
            "lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work,index=on,metacopy=off";
        mount(
            Some("scratch"),
            "/run/live",
            Some("overlay"),
            MsFlags::empty(),
            Some(data),
        )
    };
    let add_layer = || -> rustix::io::Result<()> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(fs.as_fd(), "lowerdir+", "/")
    };
    vec![
        tried(
            "overlay",
            run_in_namespaces(CloneFlags::CLONE_NEWNS, overlay),
        )
        .lack(
            "LOWER, VOLATILE: no overlays as roots; rbinds work",
            "modprobe overlay; a kernel with CONFIG_OVERLAY_FS and CONFIG_TMPFS_XATTR",
        ),
        tried(
            "overlay lowerdir+",
            add_layer().map_err(IntoErrno::into_errno),
        )
        .note()
        .lack(
            "LOWER: all layers' paths together may have 4095 bytes (before Linux 6.5)",
            "fewer or shorter paths, or a later kernel",
        ),
    ]
}

fn processes() -> Vec<Ability> {
    let us = std::process::id() as i32;
    let join = move || {
        let pidfd = proc::open_pidfd(us)?;
        if crate::kernel::privilege::has_entered() {
            // The tool is in the host's namespaces but for two, and an ordinary user may not join those.
            return Ok(());
        }
        // subhost-enter joins all namespaces of a process by one setns(2). One namespace of our own suffices
        // to try it.
        setns(pidfd, CloneFlags::CLONE_NEWUTS)
    };
    let has_inode = Identity::open(us).is_ok_and(|(identity, _)| identity.inode != 0);
    vec![
        tried("pidfd", run_in_namespaces(CloneFlags::CLONE_NEWUTS, join))
            .essential()
            .lack(
                "nothing can be booted or entered (pidfd_open, setns: Linux 5.8)",
                "a later kernel, or a seccomp filter that allows them",
            ),
        tried("system call filters", sys::can_filter_calls()).lack(
            "nothing starts but with SECCOMP=off, and then with all system calls",
            "a kernel with CONFIG_SECCOMP_FILTER",
        ),
        Ability::new("pidfs", has_inode, "").note().lack(
            "a process is known by pid and start time only, not by a number of its own (Linux 6.9)",
            "a later kernel",
        ),
        Ability::new("exit status by pidfd", version() >= (6, 15), "")
            .note()
            .lack(
                "how an INIT in the background ended is not always known (Linux 6.15)",
                "a later kernel",
            ),
    ]
}

fn network() -> Vec<Ability> {
    const COSTS: [(&str, &str, &str, &str); 2] = [
        (
            "bridge",
            "BRIDGES: no bridge to plug cables into",
            "bridge",
            "BRIDGE",
        ),
        (
            "veth",
            "BRIDGES: no cables; NET=host and networks without cables work",
            "veth",
            "VETH",
        ),
    ];
    let results = match COSTS.iter().any(|(.., module, _)| is_loadable(module)) {
        // A trial would load the module.
        true => [Ok(()), Ok(())],
        false => crate::net::probe().unwrap_or_else(|error| {
            let errno = error.errno.unwrap_or(Errno::EIO);
            [Err(errno), Err(errno)]
        }),
    };
    let one = |((name, costs, module, option), result): ((&str, &str, &str, &str), Trial)| {
        let remedy = format!("modprobe {module}; a kernel with CONFIG_{option}");
        tried(name, result).lack(costs, &remedy)
    };
    let mut all: Vec<Ability> = COSTS.into_iter().zip(results).map(one).collect();
    let filtered = ["iptables", "ip6tables"]
        .iter()
        .any(|kind| limits::sysctl(&format!("net/bridge/bridge-nf-call-{kind}")) == Some(1));
    let found = if filtered {
        "goes through iptables"
    } else {
        ""
    };
    all.push(
        Ability::new("bridged traffic", !filtered, found)
            .note()
            .lack(
                "what goes between two ports of a bridge also goes through iptables' FORWARD, which may \
                 drop it",
                "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0",
            ),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse_version("6.18.44-fc-v445"), (6, 18));
        assert_eq!(parse_version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(parse_version("7.0-rc1"), (7, 0));
        assert_eq!(parse_version("odd"), (0, 0));
    }
}
