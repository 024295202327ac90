//! What the caller brings along: its chroot, its umask.

use crate::common::*;

/// In a chroot, pivot_root(2) once changed the root of the chroot and not that of the mount namespace. A process that
/// joined the namespace then had the host's root.
#[test]
fn a_caller_in_a_chroot_makes_no_way_to_the_host() {
    sandbox(|s| {
        s.overlay("w", "");
        s.host(
            "mkdir jail; mount --rbind / jail; mount --make-rslave jail; touch /run/of-the-host",
        );
        let jailed = |line: &str| {
            let tools = tools_dir();
            let script = format!(
                "PATH={tools}:$PATH SUBHOST={} chroot {}/jail {line}",
                s.subhost.display(),
                s.base.display()
            );
            s.sh(&script).ok().text()
        };
        jailed("subhost-start w");
        let pid = s.tool("subhost-list -o pid w").ok().text();
        for seen in [
            jailed("subhost-enter w -- ls /run"),
            s.host(&format!("nsenter -m -t {pid} /bin/ls /run")),
        ] {
            assert_lacks(&seen, &["of-the-host", "subhost"]);
        }
        assert_eq!(jailed("subhost-enter w -- hostname"), "w");
        jailed("subhost-stop --sync w");
        s.host("umount -l jail; rm /run/of-the-host");
    });
}

/// A caller's umask of 077 once made /etc/hosts and the mount points of BIND readable by root alone.
#[test]
fn the_callers_umask_stays_outside() {
    sandbox(|s| {
        s.host("mkdir data; chmod 755 data");
        s.overlay(
            "w",
            &format!("BIND={}/data:/new/deep\nDNS=192.0.2.1\n", s.base.display()),
        );
        let before = s.snapshot();
        s.sh("umask 077; subhost-start w").ok();
        let modes = s.inside("w", "stat -c %a /etc/hosts /etc/resolv.conf /new /run");
        assert_eq!(modes, "644\n644\n755\n755");
        s.stop("w", &before);
    });
}

/// Runs a tool as a caller that ignores SIGCHLD, as Erlang and some window managers do. The kernel then reaps the children
/// of the tool, which cannot wait for them.
#[test]
fn a_caller_that_ignores_sigchld() {
    sandbox(|s| {
        s.overlay("w", "");
        s.overlay("u", "USERNS=yes\n");
        s.overlay("h", "POSTMOUNT=/bin/true\nPRESTOP=/bin/true\n");
        s.overlay("e", "RUN='/bin/sh -c \"sleep 0.3; exit 3\"'\n");
        let ignored = |line: &str| s.sh(&format!("trap '' CHLD; exec {line}")).limit(20);
        for name in ["w", "u"] {
            ignored(&format!("subhost-enter {name} -- sh -c 'exit 3'")).fails(3, &[]);
            ignored(&format!("subhost-start {name}")).silent();
            ignored(&format!("subhost-enter -j {name} -- sh -c 'exit 3'")).fails(3, &[]);
            ignored(&format!("subhost-stop {name}")).silent();
        }
        ignored("subhost-start h").silent();
        ignored("subhost-stop h").silent();
        ignored("subhost-start -f e").fails(3, &[]);
        s.tool("subhost-stop e").silent();
        ignored("subhost-start e").silent();
        eventually("RUN has ended", || s.state("e") == "hibernating");
        assert_eq!(s.column("e", "last"), "exit:3");
        ignored("subhost-start --all").silent();
        ignored("subhost-stop --all").silent();
    });
}

/// Asserts that the soft limits in the text of a `/proc/PID/limits` are those of a login. A lower hard limit bounds them.
fn assert_limits_of_a_login(text: &str) {
    for (name, soft) in [
        ("Max cpu time", "unlimited"),
        ("Max file size", "unlimited"),
        ("Max data size", "unlimited"),
        ("Max stack size", "8388608"),
        ("Max core file size", "0"),
        ("Max address space", "unlimited"),
        ("Max processes", "unlimited"),
        ("Max open files", "1024"),
        ("Max realtime priority", "0"),
        ("Max nice priority", "0"),
    ] {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let words: Vec<&str> = line.unwrap_or_default().split_ascii_whitespace().collect();
        assert!(words[0] == soft || words[0] == words[1], "{name}: {text}");
    }
}

#[test]
fn limits_are_those_of_a_login() {
    sandbox(|s| {
        s.overlay("w", "RUN='/bin/sleep 1000'\n");
        s.overlay("v", "");
        // With a file size of 0 bytes a tool that writes its state dies by SIGXFSZ.
        let low = "prlimit --cpu=50: --fsize=0: --data=2000000000: --stack=4000000: --as=4000000000: --nproc=200: \
                   --core=0: --nofile=64:";
        s.sh(&format!("{low} subhost-start w")).silent();
        let pid_1 = s.pid("w");
        let run = s.host(&format!("pgrep -P {pid_1}"));
        let entered = s.sh(&format!(
            "{low} subhost-enter -j w -- cat /proc/self/limits"
        ));
        let booted = s.sh(&format!("{low} subhost-enter v -- cat /proc/self/limits"));
        for text in [
            s.host(&format!("cat /proc/{pid_1}/limits")),
            s.host(&format!("cat /proc/{run}/limits")),
            entered.ok().stdout,
            booted.ok().stdout,
        ] {
            assert_limits_of_a_login(&text);
        }
        s.sh(&format!("{low} subhost-stop w")).silent();
    });
}

#[test]
fn scheduling_is_that_of_a_login() {
    sandbox(|s| {
        s.overlay("w", "RUN='/bin/sleep 1000'\n");
        // Field 19 of stat is the nice value, 40 and 41 are priority and policy of real time (proc_pid_stat(5)).
        let look = "cut -d\" \" -f19,40,41 PROC/stat; grep Cpus_allowed_list PROC/status; cat PROC/personality; \
                    cat PROC/oom_score_adj; cat PROC/timerslack_ns";
        let of = |proc: &str| look.replace("PROC", proc);
        let processors = s.host("grep Cpus_allowed_list /proc/self/status");
        let fresh = format!("0 0 0\n{processors}\n00000000\n0\n50000");
        for odd in [
            "nice -n 7",
            "chrt -f 5",
            "chrt -b 0",
            "taskset -c 0",
            "ionice -c 3",
            "setarch -R",
            "choom -n 500 --",
        ] {
            s.sh(&format!("{odd} subhost-start w")).silent();
            let pid_1 = s.pid("w");
            let run = s.host(&format!("pgrep -P {pid_1}"));
            let entered = format!("{odd} subhost-enter -j w -- sh -c '{}'", of("/proc/self"));
            let entered = s.sh(&entered).ok().text();
            for (whose, is) in [
                ("PID 1", s.host(&of(&format!("/proc/{pid_1}")))),
                ("RUN", s.host(&of(&format!("/proc/{run}")))),
                ("enter", entered),
            ] {
                assert_eq!(is.trim(), fresh.trim(), "{whose} after {odd}");
            }
            assert_eq!(s.host(&format!("ionice -p {run}")), "none: prio 0");
            s.tool("subhost-stop w").silent();
        }
    });
}

/// A tool that is called with all signals blocked still ends by SIGTERM, and so does what it runs.
#[test]
fn blocked_signals_are_unblocked() {
    sandbox(|s| {
        s.overlay("w", "RUN='/bin/sleep 1000'\n");
        let blocked = "env --block-signal=TERM,INT,CHLD,USR1,RTMIN";
        s.sh(&format!("{blocked} subhost-start w")).silent();
        let pid_1 = s.pid("w");
        let run = s.host(&format!("pgrep -P {pid_1}"));
        assert_has(
            &s.host(&format!("grep SigBlk /proc/{run}/status")),
            &["0000000000000000"],
        );
        let enter = s
            .sh(&format!("exec {blocked} subhost-enter -j w -- sleep 1001"))
            .start();
        eventually("the command runs", || s.runs("sleep 1001"));
        s.host(&format!("kill -TERM {}", enter.pid()));
        assert_eq!(enter.wait().code, 143);
        s.tool("subhost-stop w").silent();
    });
}
