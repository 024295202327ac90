//! SECCOMP: the built-in filter, `strict`, `off`, and filters from files.

use crate::common::*;
use crate::{Call, DONE, ENTRIES, REFUSED, calls, expect, outcomes, plant, status};
use nix::libc;

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

/// Without the filter the prober has other results, so that the tests above can fail.
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

/// A filter in the form of the OCI runtime specification. Each command that enters has the filter of the boot.
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
        // First `subhost-enter` boots, then `subhost-start`.
        expect(&outcomes(s, "w", &all), table);
        s.tool("subhost-start w").silent();
        w.write("calls.json", r#"{"defaultAction": "SCMP_ACT_KILL"}"#);
        let told = outcomes(s, "w", &all);
        expect(&told, table);
        // All calls are allowed but those of another architecture's entry, which no rule can name.
        #[cfg(target_arch = "x86_64")]
        expect(&told, &ENTRIES[1..]);
        assert_eq!(status(s, "w", "1", "Seccomp"), "2");
        s.tool("subhost-stop w").silent();
    });
}

/// An allow list: a call that is not on it fails with the errno of the file.
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

/// On a kernel without filters a start fails and names the remedy.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_kernel_that_cannot_filter_is_refused() {
    use crate::common::inject::{Blow, traced};
    sandbox(|s| {
        let w = s.overlay("w", "");
        let start = || s.tool("subhost-start w");
        let calls = traced(start(), None).calls;
        let first = calls.iter().find(|call| call.name == "seccomp").unwrap();
        s.tool("subhost-stop --sync w").silent();
        let before = s.snapshot();
        let blow = Blow::Fail(nix::errno::Errno::ENOSYS);
        let refused = traced(start(), Some((*first, blow))).output;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert_has(
            &refused.stderr,
            &["cannot filter system calls", "SECCOMP=off does without"],
        );
        s.assert_same(&before);
        w.config("SECCOMP=off\n");
        assert_eq!(traced(start(), None).output.code, 0);
    });
}

/// An INIT has the same filter, and may call reboot(2) for its end.
#[test]
fn an_init_is_filtered() {
    sandbox(|s| {
        s.with_init("w", "", "::sysinit:/bin/true\n");
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
