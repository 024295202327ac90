//! What those inside may do: capabilities, system calls, new privileges. This program is its own prober:
//! copied into a tree it makes single calls there and tells what the kernel said.
#![allow(unsafe_code)]

mod common;

use common::*;
use nix::libc;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// A call: a name for it, its number, its arguments.
type Call = (&'static str, i64, [u64; 3]);

/// A call that does nothing, by the entry of 32-bit programs.
const BY_INT80: i64 = -1;

/// Inside, told to by PROBE: makes the calls of standard input, each in a process of its own, and says
/// how each ended: `ok`, an errno, or a signal.
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
        // SAFETY: the child makes one call with plain numbers and leaves.
        let outcome = unsafe {
            match libc::fork() {
                0 => {
                    let failed = match words[0] {
                        BY_INT80 => getpid_by_int80() <= 0,
                        number => libc::syscall(number, words[1], words[2], words[3], 0, 0, 0) < 0,
                    };
                    // A process of its own that the call may have made.
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

/// Puts this program and its libraries into a tree.
fn plant(tree: &Path) {
    copy(tree, &std::env::current_exe().unwrap(), "probe");
}

/// Puts a program of the host and its libraries into a tree.
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

/// How the calls ended, made by a command that comes into the subhost.
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

/// The first line of /proc/PROCESS/status inside that begins with `key`, its value.
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

/// What the built-in filter refuses, with what, and what the kernel says without it: another thing, or the
/// filter would not be seen. Without a capability for any of it.
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
    // With a type that is none, which the kernel looks at before it looks for a module.
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

/// Refused by number alone: what no kernel of today has, and other entries to the same calls.
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

/// What services do, and is let through.
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

#[test]
fn system_calls_that_only_hosts_make_are_refused() {
    sandbox(|s| {
        s.overlay("w", "");
        plant(&s.layer("base"));
        s.tool("subhost-start w").silent();
        for process in ["1", "self"] {
            assert_eq!(status(s, "w", process, "Seccomp"), "2");
            assert_eq!(status(s, "w", process, "NoNewPrivs"), "0");
        }
        let all = [calls(REFUSED), calls(ENTRIES), calls(DONE)].concat();
        let told = outcomes(s, "w", &all);
        expect(&told, REFUSED);
        expect(&told, ENTRIES);
        expect(&told, DONE);
    });
}

/// The same prober sees something else where there is no filter: it is no check that cannot fail.
#[test]
fn without_the_filter_the_kernel_answers() {
    sandbox(|s| {
        s.overlay("w", "SECCOMP=off\n");
        plant(&s.layer("base"));
        s.tool("subhost-start w").silent();
        assert_eq!(status(s, "w", "1", "Seccomp"), "0");
        assert_eq!(status(s, "w", "self", "Seccomp"), "0");
        let told = outcomes(s, "w", &calls(REFUSED));
        let same: Vec<_> = REFUSED
            .iter()
            .filter(|((name, ..), refused)| told[*name] == *refused)
            .map(|((name, ..), _)| *name)
            .collect();
        assert_eq!(same, [] as [&str; 0], "{told:?}");
        #[cfg(target_arch = "x86_64")]
        assert_ne!(outcomes(s, "w", &calls(ENTRIES))["int80"], "signal 31");
    });
}

#[test]
fn strict_refuses_more() {
    sandbox(|s| {
        s.overlay("w", "SECCOMP=strict\n");
        plant(&s.layer("base"));
        s.tool("subhost-start w").silent();
        let told = outcomes(
            s,
            "w",
            &[calls(REFUSED), calls(ENTRIES), calls(DONE)].concat(),
        );
        expect(&told, REFUSED);
        expect(&told, ENTRIES);
        let more = ["trace-me", "read-memory", "packet"];
        for ((name, ..), usual) in DONE {
            let expected = match *name {
                "packet" => "EAFNOSUPPORT",
                name if more.contains(&name) => "EPERM",
                _ => usual,
            };
            assert_eq!(told[*name], expected, "{name}");
        }
    });
}

/// What a capability is for is let through with it.
#[test]
fn capabilities_by_name() {
    sandbox(|s| {
        s.overlay("w", "CAPS='+CAP_BPF +SYS_TIME -KILL'\n");
        plant(&s.layer("base"));
        s.tool("subhost-start w").silent();
        let calls: &[Call] = &[
            ("bpf", libc::SYS_bpf, [0; 3]),
            ("time", libc::SYS_adjtimex, [0; 3]),
            ("mount", libc::SYS_mount, [0; 3]),
        ];
        let told = outcomes(s, "w", calls);
        assert_ne!(told["bpf"], "EPERM");
        assert_eq!(told["time"], "EFAULT");
        assert_eq!(told["mount"], "EPERM");
        for process in ["1", "self"] {
            for key in ["CapBnd", "CapPrm", "CapEff"] {
                let caps = u64::from_str_radix(&status(s, "w", process, key), 16).unwrap();
                // KILL 5, SYS_TIME 25, BPF 39 (capabilities.h)
                assert_eq!(caps >> 5 & 1, 0, "{process} {key} {caps:x}");
                assert_eq!(caps >> 25 & 1, 1, "{process} {key} {caps:x}");
                assert_eq!(caps >> 39 & 1, 1, "{process} {key} {caps:x}");
            }
        }
        // What it was booted with counts, whatever the config says now.
        s.overlay("none", "CAPS=none\n");
        s.tool("subhost-start none").silent();
        assert_eq!(status(s, "none", "self", "CapBnd"), "0000000000000000");
        s.sh("echo CAPS=all >> $SUBHOST/none/config").ok();
        assert_eq!(status(s, "none", "self", "CapBnd"), "0000000000000000");
    });
}

#[test]
fn all_capabilities_and_all_calls() {
    sandbox(|s| {
        s.overlay("w", "CAPS=all SECCOMP=off\n".replace(' ', "\n").as_str());
        s.tool("subhost-start w").silent();
        s.tool("subhost-enter w -- mount -t tmpfs none /mnt").ok();
        s.overlay("v", "CAPS=+SYS_ADMIN\n");
        s.tool("subhost-start v").silent();
        s.tool("subhost-enter v -- mount -t tmpfs none /mnt").ok();
    });
}

/// A setuid file gives what the user has not, unless that is given up.
#[test]
fn no_new_privileges() {
    sandbox(|s| {
        for (name, value, uid) in [("w", "no", "0"), ("v", "yes", "1000")] {
            let w = s.overlay(name, &format!("NO_NEW_PRIVS={value}\n"));
            copy(&w.path("root"), &program("id").unwrap(), "id");
            w.chmod("root/id", 0o4755);
            s.tool(&format!("subhost-start {name}")).silent();
            for process in ["1", "self"] {
                let expected = if value == "yes" { "1" } else { "0" };
                assert_eq!(status(s, name, process, "NoNewPrivs"), expected);
                assert_eq!(status(s, name, process, "Seccomp"), "2");
            }
            let told = s
                .tool(&format!("subhost-enter -u web {name} -- /id -u"))
                .ok();
            assert_eq!(told.text(), uid, "{value}");
        }
    });
}

#[test]
fn words_that_are_none() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        for (config, says) in [
            (
                "CAPS=+SYS_ADMN",
                "config:2: CAPS: there is no capability 'SYS_ADMN'; did you mean SYS_ADMIN?",
            ),
            ("CAPS=SYS_ADMIN", "is none of +CAP, -CAP, all and none"),
            ("NO_NEW_PRIVS=1", "neither yes nor no"),
            (
                "SECCOMP=on",
                "config:2: SECCOMP: 'on' is none of default, strict and off, nor a path",
            ),
        ] {
            w.config(&format!("{config}\n"));
            s.tool("subhost-start w").fails(5, &[says]);
        }
    });
}

/// The host's memory, addresses, log and keys are not there; what configures its kernel is not written.
#[test]
fn the_kernels_files_are_covered() {
    sandbox(|s| {
        s.overlay("w", "");
        s.tool("subhost-start w").silent();
        let inside = |script: &str| {
            let enter = s.tool("subhost-enter w -- sh -c").arg(script);
            enter.run()
        };
        let covered = inside(
            "cd /proc; for f in interrupts kallsyms kcore key-users keys kmsg kpagecgroup kpagecount \
             kpageflags pagetypeinfo slabinfo timer_list vmallocinfo; do
                 [ ! -e $f ] || echo $f $(stat -c '%F %t:%T' $f) $(cat $f | wc -c); done
             for d in /proc/acpi /proc/scsi /sys/firmware; do [ ! -e $d ] || echo $d $(ls -A $d | wc -l); done",
        );
        let lines: Vec<&str> = covered.stdout.lines().collect();
        assert!(lines.len() > 8, "{}", covered.stdout);
        for line in lines {
            let empty = line.ends_with(" character special file 1:3 0") || line.ends_with(" 0");
            assert!(empty, "{line}");
        }
        // One file system covers all directories.
        let mounts = inside("cat /proc/self/mountinfo").stdout;
        let tmpfs =
            |line: &&str| ["/proc/acpi", "/proc/scsi", "/sys/firmware"].contains(&field(line, 4));
        let devices: Vec<&str> = mounts
            .lines()
            .filter(tmpfs)
            .map(|line| field(line, 2))
            .collect();
        assert!(
            !devices.is_empty() && devices.iter().all(|d| *d == devices[0]),
            "{mounts}"
        );
        for script in [
            "echo h > /proc/sysrq-trigger",
            "echo x > /proc/sys/kernel/core_pattern",
            "echo x > /proc/sys/kernel/hostname",
            "echo x > /proc/irq/default_smp_affinity",
            "echo x > /sys/kernel/uevent_helper",
            "echo x > /sys/kernel/profiling",
            "echo x > /sys/firmware/x",
        ] {
            let told = inside(script);
            assert_ne!(told.code, 0, "{script}");
        }
        // The network is its own.
        assert_eq!(inside("echo 1 > /proc/sys/net/ipv4/ip_forward").code, 0);
        assert_eq!(inside("cat /proc/sys/net/ipv4/ip_forward").text(), "1");
        // Not to be taken away, though those inside are root.
        for script in [
            "umount /proc/kcore",
            "mount -o remount,rw /proc/sys",
            "mount -t proc p /mnt",
        ] {
            assert_ne!(inside(script).code, 0, "{script}");
        }
    });
}

fn field(line: &str, number: usize) -> &str {
    line.split(' ').nth(number).unwrap_or_default()
}

/// Without a network of its own the sysctls are the host's: root inside could write them by being uid 0.
#[test]
fn the_hosts_network_is_not_configured() {
    sandbox(|s| {
        s.overlay("w", "NET=host\n");
        s.overlay("v", "NET=host\nCAPS=+NET_ADMIN\n");
        let write = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        s.tool("subhost-enter w -- sh -c")
            .arg(write)
            .fails(1, &["Read-only"]);
        assert_eq!(s.host("cat /proc/sys/net/ipv4/ip_forward"), "0");
        let raw = u64::from_str_radix(&status(s, "w", "self", "CapBnd"), 16).unwrap();
        assert_eq!(raw >> 12 & 0b11, 0, "NET_ADMIN 12, NET_RAW 13: {raw:x}");
        s.tool("subhost-enter v -- sh -c").arg(write).ok();
        assert_eq!(s.host("cat /proc/sys/net/ipv4/ip_forward"), "1");
    });
}

#[test]
fn masks_by_name() {
    sandbox(|s| {
        let words = "/etc/passwd- /srv/secret /srv/secret/deep //etc/os-release /none/such -/proc/keys -/proc/sys";
        let w = s.overlay("w", &format!("MASK='{words}'\n"));
        w.write("root/srv/secret/deep/file", "x");
        w.write("root/etc/passwd-", "x");
        s.tool("subhost-start w").silent();
        let inside = |script: &str| s.tool("subhost-enter w -- sh -c").arg(script).run();
        assert_eq!(
            inside("cat /etc/passwd- /etc/os-release; ls -A /srv/secret").text(),
            ""
        );
        assert_ne!(inside("echo x > /srv/secret/new").code, 0);
        assert_ne!(inside("rm -r /srv/secret").code, 0);
        assert_eq!(inside("stat -c %F /proc/keys").text(), "regular empty file");
        assert_eq!(
            inside("stat -c %F /proc/kmsg").text(),
            "character special file"
        );
        // Of what is no more protected something that does no harm.
        assert_eq!(
            inside("echo $(cat /proc/sys/vm/stat_interval) > /proc/sys/vm/stat_interval").code,
            0
        );
        s.tool("subhost-stop --sync w").silent();
        assert_eq!(w.read("root/srv/secret/deep/file"), "x");
        w.config("MASK=none\n");
        s.tool("subhost-start w").silent();
        let mounts = inside("grep -c -e ' /proc/' -e ' /sys/' /proc/self/mountinfo");
        assert_eq!(mounts.text(), "0");
    });
}

#[test]
fn masks_that_cannot_be() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.mkdir("root/srv/real");
        std::os::unix::fs::symlink("real", w.path("root/srv/link")).unwrap();
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --sync w").silent();
        let before = s.world();
        for (mask, code, says) in [
            ("/srv/link", 1, "cover /srv/link inside"),
            ("/srv/link/file", 1, "a link is on the way"),
            ("/proc", 5, "cannot be covered as a whole"),
            ("/dev//", 5, "cannot be covered as a whole"),
            ("srv", 5, "no plain path"),
            ("-/proc/kcor", 5, "did you mean /proc/kcore?"),
            ("/", 5, "the root itself"),
        ] {
            w.config(&format!("MASK={mask}\n"));
            s.tool("subhost-start w").fails(code, &[says]);
            s.same(&before);
        }
    });
}

/// What a name in /dev is on the host, here a harmless one: it writes and has no room.
#[test]
fn devices_by_name() {
    sandbox(|s| {
        s.host("mount -t tmpfs none /dev/net; mknod -m 0622 /dev/net/test c 1 7; ln -s test /dev/net/link
                mknod -m 0600 /dev/net/disk b 240 1; touch /dev/net/file");
        let w = s.overlay(
            "w",
            "DEVICES='/dev/net/test /dev/net/link:r /dev/net/disk:rm'\n",
        );
        s.tool("subhost-start w").silent();
        let inside = |script: &str| s.tool("subhost-enter w -- sh -c").arg(script).run();
        assert_eq!(
            inside("cd /dev/net; stat -c '%n %F %t:%T %a %u' *").text(),
            "disk block special file f0:1 400 0\n\
             link character special file 1:7 400 0\n\
             test character special file 1:7 622 0"
        );
        has(&inside("echo x > /dev/net/test").stderr, &["No space left"]);
        assert_eq!(inside("mknod /dev/mine c 1 7").code, 1);
        s.tool("subhost-stop --sync w").silent();
        let before = s.world();
        let many = "/dev/fuse ".repeat(1001);
        for (devices, code, says) in [
            (
                "/dev/net/none",
                1,
                "give DEVICES=/dev/net/none: No such file",
            ),
            ("/dev/net/file", 1, "DEVICES: /dev/net/file is no device"),
            ("/etc/passwd", 5, "is no path below /dev"),
            ("/dev/tty", 5, "is in every subhost"),
            (many.as_str(), 5, "1001 devices, of which there can be 1000"),
        ] {
            w.config(&format!("DEVICES='{devices}'\n"));
            s.tool("subhost-start w").fails(code, &[says]);
            s.same(&before);
        }
    });
}

/// A file in the form of the OCI runtime specification. What was booted with counts for all who come in.
#[test]
fn a_filter_from_a_file() {
    sandbox(|s| {
        let w = s.overlay("w", "SECCOMP=./calls.json\n");
        w.write(
            "calls.json",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["keyctl", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
                {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
                 "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["sched_yield"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
        );
        plant(&s.layer("base"));
        let table: &[(Call, &str)] = &[
            (("keyring", libc::SYS_keyctl, [0; 3]), "EOPNOTSUPP"),
            (("old-uname", libc::SYS_personality, [8, 0, 0]), "EIO"),
            (("linux", libc::SYS_personality, [0, 0, 0]), "ok"),
            (("yield", libc::SYS_sched_yield, [0; 3]), "signal 31"),
            (("mount", libc::SYS_mount, [0; 3]), "EFAULT"),
        ];
        let all = [calls(table), calls(ENTRIES)].concat();
        // Booted by the command itself, then by a start.
        expect(&outcomes(s, "w", &all), table);
        s.tool("subhost-start w").silent();
        w.write("calls.json", r#"{"defaultAction": "SCMP_ACT_KILL"}"#);
        let told = outcomes(s, "w", &all);
        expect(&told, table);
        // All calls are let through, but for those by another entry, which no rule could speak of.
        #[cfg(target_arch = "x86_64")]
        expect(&told, &ENTRIES[1..]);
        assert_eq!(status(s, "w", "1", "Seccomp"), "2");
        s.tool("subhost-stop w").silent();
    });
}

/// An allow list: what is not on it fails as the file says.
#[test]
fn an_allow_list_from_a_file() {
    sandbox(|s| {
        let w = s.overlay("w", "SECCOMP=./calls.json\nRUN='sleep 1000'\n");
        let names: Vec<&str> = "arch_prctl brk capset close close_range dup dup2 dup3 execve exit exit_group \
            fcntl fstat futex getcwd getpid getppid getrandom getuid getgid geteuid getegid gettid ioctl lseek mmap \
            mprotect munmap newfstatat nanosleep clock_nanosleep open openat pipe2 prctl pread64 prlimit64 \
            read readlink rseq rt_sigaction rt_sigprocmask rt_sigreturn sendfile set_robust_list set_tid_address \
            setresuid sigaltstack stat uname wait4 write writev"
            .split_whitespace()
            .collect();
        let list = |action: &str| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 71, "archMap": [
                    {{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}},
                    {{"architecture": "SCMP_ARCH_AARCH64"}}],
                    "syscalls": [{{"names": {names:?}, "action": "{action}", "args": []}}]}}"#
            )
        };
        w.write("calls.json", &list("SCMP_ACT_ALLOW"));
        s.tool("subhost-start w").silent();
        s.tool("subhost-enter w -- cat /etc/hostname").ok();
        // EPROTO
        s.tool("subhost-enter w -- mkdir /srv/new")
            .fails(1, &["Protocol error"]);
        s.tool("subhost-stop w").silent();
        w.chmod("calls.json", 0o666);
        s.tool("subhost-start w")
            .fails(5, &["calls.json can be written by others"]);
        w.chmod("calls.json", 0o600);
        w.write("calls.json", &list("SCMP_ACT_NOTIFY"));
        s.tool("subhost-start w").fails(
            5,
            &[
                "config:2: SECCOMP: ",
                "calls.json: SCMP_ACT_NOTIFY is not supported",
            ],
        );
        w.write("calls.json", "{");
        s.tool("subhost-start w").fails(5, &["calls.json: EOF"]);
        std::fs::remove_file(w.path("calls.json")).unwrap();
        s.tool("subhost-start w")
            .fails(1, &["calls.json: No such file"]);
    });
}

/// What is weaker than the defaults is said, and nothing else is.
#[test]
fn what_a_config_weakens_is_shown() {
    sandbox(|s| {
        s.host("mkdir -p srv/www");
        let www = s.base.join("srv/www");
        let plain = format!(
            "CAPS='-KILL all none -BPF'\nNO_NEW_PRIVS=yes\nSECCOMP=strict\nMASK=/srv\n\
             BIND='{} /etc/hosts:/etc/hosts:ro'\n",
            www.display()
        );
        let w = s.overlay("w", &plain);
        s.tool("subhost-config --check w").silent();
        lacks(&s.tool("subhost-info w").run().stdout, &["Weakened"]);
        w.write("calls.json", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        for (line, says) in [
            (
                "CAPS='+SYS_ADMIN +KILL +BPF'",
                "CAPS gives root inside also SYS_ADMIN, BPF",
            ),
            ("SECCOMP=off", "SECCOMP=off: no system call is refused"),
            (
                "SECCOMP=./calls.json",
                "w/calls.json says which system calls are refused",
            ),
            (
                "MASK='-/proc/keys -/proc/sys'",
                "MASK: not covered or protected are /proc/keys, /proc/sys",
            ),
            (
                "DEVICES=/dev/mem",
                "DEVICES: the inside has the host's /dev/mem",
            ),
            ("NET=host", "NET=host: the inside can listen and connect"),
            ("LOWER=/", "LOWER=/ shows the inside all files of the host"),
            (
                "BIND=/etc:/mnt",
                "BIND: the inside can write the host's /etc",
            ),
            (
                "BIND=/usr/share/doc:/mnt",
                "BIND: the inside can write the host's /usr/share/doc",
            ),
            (
                "BIND=/root:/mnt:ro",
                "BIND: the inside can read the host's /root",
            ),
            (
                "BIND=/run/docker.sock:/mnt:ro",
                "BIND: the inside can talk to services of the host by /run/docker.sock",
            ),
        ] {
            w.config(&format!("{line}\n"));
            has(&s.tool("subhost-config --check w").ok().stderr, &[says]);
            let info = s.tool("subhost-info w").run();
            has(&info.stdout, &["Weakened:", says]);
            let json = s.tool("subhost-info --json w").run().stdout;
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json["weakened"].as_array().unwrap().len(), 1, "{json}");
        }
    });
}

/// A kernel without filters is refused with what helps, not used without them.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_kernel_that_cannot_filter_is_refused() {
    use common::inject::{Blow, traced};
    sandbox(|s| {
        let w = s.overlay("w", "");
        let start = || s.tool("subhost-start w");
        let calls = traced(start(), None).calls;
        let first = calls.iter().find(|call| call.name == "seccomp").unwrap();
        s.tool("subhost-stop --sync w").silent();
        let before = s.world();
        let blow = Blow::Fail(nix::errno::Errno::ENOSYS);
        let refused = traced(start(), Some((*first, blow))).output;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        has(
            &refused.stderr,
            &["cannot filter system calls", "SECCOMP=off does without"],
        );
        s.same(&before);
        w.config("SECCOMP=off\n");
        assert_eq!(traced(start(), None).output.code, 0);
    });
}

/// An init of the tree's own has the same filter, and may end by reboot(2).
#[test]
fn an_init_is_filtered() {
    sandbox(|s| {
        let w = s.overlay("w", "INIT=/sbin/init\n");
        w.write("root/etc/inittab", "::sysinit:/bin/true\n");
        s.tool("subhost-start w").silent();
        for process in ["1", "self"] {
            assert_eq!(status(s, "w", process, "Seccomp"), "2");
            let caps = u64::from_str_radix(&status(s, "w", process, "CapBnd"), 16).unwrap();
            assert_eq!(caps >> 22 & 1, 1, "SYS_BOOT");
        }
        s.tool("subhost-enter w -- mount -t tmpfs none /mnt")
            .fails(1, &["denied"]);
        s.tool("subhost-stop w").silent();
    });
}
