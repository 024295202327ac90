//! RUN: its user, directory and environment, and its end.

use crate::common::*;
use crate::log;

#[test]
fn a_run_that_ends_leaves_a_hibernating_subhost() {
    started(
        "RUN=\"/bin/sh -c 'setsid sleep 1000 & sleep 0.2; exit 7'\"\n",
        |s, _| {
            eventually("RUN has ended", || s.state("w") == "hibernating");
            assert_has(&s.column("w", "last"), &["7"]);
            assert_has(
                &s.tool("subhost-info w").fails(3, &[]).stdout,
                &["7", "hibernating"],
            );
            assert!(!s.runs("sleep 1000"));
            s.tool("subhost-start w").silent();
        },
    );
}

#[test]
fn a_run_that_is_killed_is_told() {
    sandbox(|s| {
        s.overlay("w", "RUN='/bin/sh -c \"kill -9 \\$\\$\"'\n");
        let before = s.snapshot();
        s.tool("subhost-start w").run();
        eventually("RUN has ended", || s.state("w") == "hibernating");
        let last = s.column("w", "last");
        assert!(last.contains("KILL") || last.contains('9'), "{last}");
        s.stop("w", &before);
    });
}

#[test]
fn run_has_the_user_the_directory_and_the_environment_it_was_given() {
    sandbox(|s| {
        let w = s.overlay(
            "w",
            "RUN=/svc\nRUN_AS=web\nRUN_DIR=/srv\nENV_LANG=C.UTF-8\nENV_TWO='two words'\n",
        );
        w.script(
            "root/svc",
            "id; pwd; echo \"<$LANG> <$TWO> <$HOME> <$SUBHOST>\"; echo done; exec sleep 1000",
        );
        let before = s.start("w");
        eventually("the log is written", || log().contains("done"));
        assert_has(
            &log(),
            &[
                "uid=1000(web) gid=1000(web)",
                "2000(extra)",
                "\n/srv\n",
                "<C.UTF-8> <two words> </home/web> <>",
            ],
        );
        // A command that is entered runs as root, with the same environment.
        assert_eq!(s.inside("w", "id -u; echo $LANG"), "0\nC.UTF-8");
        s.stop("w", &before);
    });
}

#[test]
fn a_run_that_cannot_be_executed_is_told_at_once() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN='/no/such --option'\n");
        let before = s.snapshot();
        s.tool("subhost-start w").fails(1, &["/no/such"]);
        s.assert_same(&before);
        w.config("RUN=/etc/passwd\n");
        s.tool("subhost-start w").fails(1, &["/etc/passwd"]);
        s.assert_same(&before);
        w.config("RUN=/bin/true\nRUN_AS=nosuchuser\n");
        let out = s.tool("subhost-start w").run();
        assert!([1, 5].contains(&out.code), "{out}");
        assert_has(&out.stderr, &["nosuchuser"]);
        s.assert_same(&before);
        w.config("RUN=/bin/true\nRUN_DIR=/no/dir\n");
        s.tool("subhost-start w").fails(1, &["/no/dir"]);
        s.assert_same(&before);
        w.config("INIT=/no/init\n");
        s.tool("subhost-start w").fails(1, &["/no/init"]);
        s.assert_same(&before);
    });
}

/// RUN can end by any signal and with any status, and PID 1 sees it.
#[test]
fn run_may_end_in_any_way() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        for (end, last, code) in [
            ("kill -KILL $$", "signal:9", 137),
            ("kill -34 $$", "signal:34", 162),
            ("kill -64 $$", "signal:64", 192),
            ("exit 255", "exit:255", 255),
            ("exit 128", "exit:128", 128),
        ] {
            w.config(&format!("RUN='/bin/sh -c \"{end}; sleep 9\"'\n"));
            s.tool("subhost-start w").limit(20).run();
            eventually("RUN has ended", || s.state("w") == "hibernating");
            assert_eq!(s.column("w", "last"), last);
            let out = s.tool("subhost-start -f w").limit(20).run();
            assert_eq!(out.code, code, "{out}");
        }
    });
}

/// From the host signals reach RUN through PID 1; from inside they do not.
#[test]
fn signals_to_pid_1_reach_run_from_the_host_only() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\n");
        w.script(
            "root/svc",
            "trap 'echo usr1 >>/root/got' USR1; trap 'echo rt >>/root/got' 40; echo x >/root/ready\n\
             while :; do sleep 0.05; done",
        );
        let before = s.start("w");
        eventually("the service runs", || w.exists("root/root/ready"));
        s.inside("w", "kill -USR1 1; kill -40 1; kill -TERM 1");
        let pid_1 = s.pid("w");
        s.host(&format!("kill -USR1 {pid_1}"));
        eventually("the signal arrives", || w.exists("root/root/got"));
        s.host(&format!("kill -40 {pid_1}"));
        eventually("both arrive", || {
            w.read("root/root/got").lines().count() == 2
        });
        assert_eq!(w.read("root/root/got"), "usr1\nrt\n");
        s.stop("w", &before);
    });
}
