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
