//! What processes inside may do: capabilities, system calls, files of the kernel, devices.
//! The program is its own prober: copied into a tree, it makes single system calls there and prints the results.
#![allow(unsafe_code)]

mod capabilities;
#[path = "../common/mod.rs"]
mod common;
mod devices;
mod masks;
mod system_calls;

use crate::common::*;
use nix::libc;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// A system call: a name for it, its number, its arguments.
type Call = (&'static str, i64, [u64; 3]);

/// getpid(2) by the entry of 32-bit programs.
const BY_INT80: i64 = -1;

/// With PROBE in the environment, makes the system calls that standard input names, each in a process of its own, and
/// prints how each ended: `ok`, an errno, or a signal.
#[test]
fn prober() {
    if std::env::var_os("PROBE").is_none() {
        return;
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    for line in text.lines() {
        let (name, call) = line.split_once(' ').unwrap();
        let words: Vec<i64> = call.split(' ').map(|word| word.parse().unwrap()).collect();
        // SAFETY: the child makes one call with plain numbers and exits.
        let outcome = unsafe {
            match libc::fork() {
                0 => {
                    let failed = match words[0] {
                        BY_INT80 => getpid_by_int80() <= 0,
                        number => libc::syscall(number, words[1], words[2], words[3], 0, 0, 0) < 0,
                    };
                    // The call may have made a process, which exits here too.
                    libc::_exit(if failed { *libc::__errno_location() } else { 0 });
                }
                child => {
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                    match libc::WIFSIGNALED(status) {
                        true => format!("signal {}", libc::WTERMSIG(status)),
                        false => match libc::WEXITSTATUS(status) {
                            0 => "ok".to_owned(),
                            errno => format!("{:?}", nix::errno::Errno::from_raw(errno)),
                        },
                    }
                }
            }
        };
        println!("\n= {name} {outcome}");
    }
}

#[cfg(target_arch = "x86_64")]
fn getpid_by_int80() -> i32 {
    let pid: i32;
    // SAFETY: getpid has number 20 there and touches no memory.
    unsafe { std::arch::asm!("int 0x80", inlateout("eax") 20 => pid) };
    pid
}

#[cfg(not(target_arch = "x86_64"))]
fn getpid_by_int80() -> i32 {
    unreachable!("there is no such entry")
}

/// Copies this program and its libraries into a tree.
fn plant(tree: &Path) {
    copy(tree, &std::env::current_exe().unwrap(), "probe");
}

/// Copies a program of the host and its libraries into a tree.
fn copy(tree: &Path, program: &Path, name: &str) {
    let ldd = Command::new("ldd").arg(program).output().unwrap();
    for library in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
        if library.starts_with('/') {
            let to = tree.join(library.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(library, to).unwrap();
        }
    }
    fs::copy(program, tree.join(name)).unwrap();
}

/// Makes the calls in a subhost, by a command that enters it. Returns how each ended, by its name.
#[track_caller]
fn outcomes(s: &Sandbox, name: &str, calls: &[Call]) -> BTreeMap<String, String> {
    let lines = calls.iter().map(|(name, number, [a, b, c])| {
        let [a, b, c] = [a, b, c].map(|argument| argument.cast_signed());
        format!("{name} {number} {a} {b} {c}\n")
    });
    let prober = format!("subhost-enter {name} -- env PROBE=1 /probe --exact prober --nocapture");
    let told = s.tool(&prober).input(&lines.collect::<String>()).ok();
    let outcomes: BTreeMap<String, String> = told
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("= ")?.split_once(' '))
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect();
    assert_eq!(outcomes.len(), calls.len(), "{}", told.stdout);
    outcomes
}

/// Returns the value of `key` in /proc/PROCESS/status inside.
#[track_caller]
fn status(s: &Sandbox, name: &str, process: &str, key: &str) -> String {
    let enter = format!("subhost-enter {name} -- cat /proc/{process}/status");
    let text = s.tool(&enter).ok().stdout;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.unwrap_or_else(|| panic!("no {key} in:\n{text}"))
        .trim()
        .to_owned()
}

/// What the built-in filter refuses, and with which error. Without the filter the kernel has another result for each.
const REFUSED: &[(Call, &str)] = &[
    (("mount", libc::SYS_mount, [0; 3]), "EPERM"),
    (("umount", libc::SYS_umount2, [1, 0xffff, 0]), "EPERM"),
    (
        (
            "new-user-namespace",
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER as u64, 0, 0],
        ),
        "EPERM",
    ),
    (
        (
            "new-time-namespace",
            libc::SYS_unshare,
            [0x80 | libc::CLONE_NEWUSER as u64, 0, 0],
        ),
        "EPERM",
    ),
    (
        (
            "clone-user",
            libc::SYS_clone,
            [(libc::CLONE_NEWUSER | libc::SIGCHLD) as u64, 0, 0],
        ),
        "EPERM",
    ),
    (("clone3", libc::SYS_clone3, [0; 3]), "ENOSYS"),
    (("setns", libc::SYS_setns, [u64::MAX, 0, 0]), "EPERM"),
    (("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0]), "EPERM"),
    (("io_uring", libc::SYS_io_uring_setup, [1, 0, 0]), "EPERM"),
    (
        ("io_uring-enter", libc::SYS_io_uring_enter, [u64::MAX, 0, 0]),
        "EPERM",
    ),
    (("perf", libc::SYS_perf_event_open, [0; 3]), "EPERM"),
    (
        ("keyring", libc::SYS_keyctl, [0, (-3i64).cast_unsigned(), 0]),
        "EPERM",
    ),
    (("add_key", libc::SYS_add_key, [0; 3]), "EPERM"),
    (("request_key", libc::SYS_request_key, [0; 3]), "EPERM"),
    (("kcmp", libc::SYS_kcmp, [0, 0, 99]), "EPERM"),
    (
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [u64::MAX, 0, 0]),
        "EPERM",
    ),
    (("move_pages", libc::SYS_move_pages, [0; 3]), "EPERM"),
    (
        ("fanotify", libc::SYS_fanotify_init, [0x200, 0, 0]),
        "EPERM",
    ),
    (("quotactl", libc::SYS_quotactl, [u64::MAX, 0, 0]), "EPERM"),
    (("adjtimex", libc::SYS_adjtimex, [0; 3]), "EPERM"),
    (
        (
            "no-randomised-addresses",
            libc::SYS_personality,
            [0x4_0000, 0, 0],
        ),
        "EPERM",
    ),
    (("sun-os", libc::SYS_personality, [0x6, 0, 0]), "EPERM"),
    (
        ("terminal-input", libc::SYS_ioctl, [0, libc::TIOCSTI, 0]),
        "EPERM",
    ),
    (
        (
            "terminal-input-64",
            libc::SYS_ioctl,
            [0, libc::TIOCSTI | 1 << 32, 0],
        ),
        "EPERM",
    ),
    (("console-paste", libc::SYS_ioctl, [0, 0x541c, 0]), "EPERM"),
    (
        ("file-flags", libc::SYS_ioctl, [0, 0x4008_6602, 0]),
        "EPERM",
    ),
    (
        ("file-project", libc::SYS_ioctl, [0, 0x401c_5820, 0]),
        "EPERM",
    ),
    // The kernel checks the type, which is invalid, before it loads a module.
    (
        ("vsock", libc::SYS_socket, [libc::AF_VSOCK as u64, 15, 0]),
        "EAFNOSUPPORT",
    ),
    (
        ("alg", libc::SYS_socket, [libc::AF_ALG as u64, 15, 0]),
        "EAFNOSUPPORT",
    ),
    (
        ("rds-64", libc::SYS_socket, [21 | 1 << 32, 15, 0]),
        "EAFNOSUPPORT",
    ),
];

/// Refused by number alone: calls that no kernel has today, and the entries of other architectures.
#[cfg(target_arch = "x86_64")]
const ENTRIES: &[(Call, &str)] = &[
    (("not-yet", 600, [0; 3]), "ENOSYS"),
    (
        ("x32-getpid", 0x4000_0000 | libc::SYS_getpid, [0; 3]),
        "ENOSYS",
    ),
    (
        ("x32-mount", 0x4000_0000 | libc::SYS_mount, [0; 3]),
        "ENOSYS",
    ),
    (("int80", BY_INT80, [0; 3]), "signal 31"),
];

#[cfg(not(target_arch = "x86_64"))]
const ENTRIES: &[(Call, &str)] = &[(("not-yet", 600, [0; 3]), "ENOSYS")];

/// What services call and the filter allows.
const DONE: &[(Call, &str)] = &[
    (
        (
            "own-files",
            libc::SYS_unshare,
            [(libc::CLONE_FS | libc::CLONE_FILES) as u64, 0, 0],
        ),
        "ok",
    ),
    (("linux", libc::SYS_personality, [0, 0, 0]), "ok"),
    (("which", libc::SYS_personality, [0xffff_ffff, 0, 0]), "ok"),
    (("trace-me", libc::SYS_ptrace, [0; 3]), "ok"),
    (
        ("read-memory", libc::SYS_process_vm_readv, [u64::MAX, 0, 0]),
        "ok",
    ),
    (
        ("unix", libc::SYS_socket, [libc::AF_UNIX as u64, 1, 0]),
        "ok",
    ),
    (
        ("udp", libc::SYS_socket, [libc::AF_INET as u64, 2, 0]),
        "ok",
    ),
    (
        ("tcp6", libc::SYS_socket, [libc::AF_INET6 as u64, 1, 0]),
        "ok",
    ),
    (
        ("netlink", libc::SYS_socket, [libc::AF_NETLINK as u64, 3, 0]),
        "ok",
    ),
    (
        ("packet", libc::SYS_socket, [libc::AF_PACKET as u64, 3, 0]),
        "ok",
    ),
    (
        ("landlock", libc::SYS_landlock_create_ruleset, [0, 0, 1]),
        "ok",
    ),
    (("sync", libc::SYS_sync, [0; 3]), "ok"),
];

fn calls(table: &[(Call, &str)]) -> Vec<Call> {
    table.iter().map(|(call, _)| *call).collect()
}

#[track_caller]
fn expect(outcomes: &BTreeMap<String, String>, table: &[(Call, &str)]) {
    for ((name, ..), expected) in table {
        assert_eq!(outcomes[*name], *expected, "{name}");
    }
}
