//! `subhost-start`: in the background, in the foreground, by a signal, and what a failed start leaves.

use crate::common::*;

#[test]
fn start_returns_and_lets_go_of_the_callers_output() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN='/bin/sh -c \"echo out; echo err >&2; exec sleep 1000\"'\n",
        );
        let before = s.snapshot();
        let out = s.sh("x=$(subhost-start w 2>&1); echo \"[$x]\"").ok();
        assert_eq!(out.text(), "[]", "{out}");
        s.stop("w", &before);
        s.sh("subhost-start w 2>&1 | cat").silent();
        s.stop("w", &before);
    });
}

#[test]
fn what_somebody_entered_is_not_started() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let mut enter = s.enter("w", "sleep 1000").start();
        eventually("it is up", || s.state("w") == "running");
        s.tool("subhost-start w")
            .fails(75, &["w", &enter.pid().to_string()]);
        assert!(enter.runs());
        // The lock is free meanwhile: other tools can look and join.
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-stop --sync w").ok();
        let out = enter.wait();
        assert!(out.code > 128, "{out}");
        s.assert_same(&before);
    });
}

#[test]
fn a_foreground_start_has_the_status_of_run() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=\"/bin/sh -c 'echo hello; exit 7'\"\n");
        let before = s.snapshot();
        let out = s.tool("subhost-start -f w").fails(7, &[]);
        assert_eq!(out.text(), "hello");
        s.tool("subhost-stop w").silent();
        s.assert_same(&before);
        let out = s
            .tool("subhost-start -i w")
            .input("echo $((40+2)); exit 5\n")
            .fails(5, &[]);
        assert_has(&out.stdout, &["42"]);
        s.tool("subhost-stop w").silent();
        s.assert_same(&before);
        // A failure of the tool has exit statuses of its own.
        w.config("RUN=/no/such\n");
        s.tool("subhost-start -f w").fails(127, &["/no/such"]);
        w.config("NO_SUCH=1\n");
        s.tool("subhost-start -f w").fails(125, &["NO_SUCH"]);
        s.tool("subhost-stop w").silent();
        s.assert_same(&before);
    });
}

/// A start makes root and network in parallel, and reports the errors of both.
#[test]
fn of_root_and_network_both_are_told_what_is_wrong() {
    sandbox(|s| {
        let w = s.overlay("w", "BRIDGES=br9\n");
        w.mkdir("live");
        s.host("mount -t tmpfs strange opt/w/live");
        let before = s.snapshot();
        let parts = ["a mount point: tmpfs mounted from strange", "no bridge br9"];
        s.tool("subhost-start w").fails(1, &parts);
        s.assert_same(&before);
        s.tool("subhost-enter w -- true").fails(125, &parts);
        s.assert_same(&before);
        s.host("umount opt/w/live");
        // One part fails alone: the start undoes the other part.
        let before = s.snapshot();
        s.tool("subhost-start w").fails(1, &parts[1..]);
        s.assert_same(&before);
        s.bridge("br9");
        s.host("mount -t tmpfs strange opt/w/live");
        let before = s.snapshot();
        s.tool("subhost-start w").fails(1, &parts[..1]);
        s.assert_same(&before);
    });
}

#[test]
fn what_was_mounted_before_a_start_that_fails_stays() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/no/such\n");
        let start = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-start w").fails(1, &["/no/such"]);
        assert!(w.exists("live/bin/sh"));
        assert_eq!(s.host("ip netns list"), "");
        s.stop("w", &start);
    });
}

/// Without a command inside, Ctrl-C on the raw terminal once reached nobody.
#[test]
fn a_holding_subhost_in_the_foreground_can_be_left() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let mut pty = s.pty("subhost-start -f w");
        eventually("it runs", || s.state("w") == "running");
        pty.keys("\x03");
        pty.wait();
        eventually("it hibernates", || s.state("w") == "hibernating");
        s.stop("w", &before);
    });
}

/// SIGTERM while a hook ran once left a frozen plan without the mounts in it.
#[test]
fn a_signal_waits_for_what_is_begun() {
    sandbox(|s| {
        s.overlay("w", "PREMOUNT='/bin/sleep 1'\n");
        let before = s.snapshot();
        let start = s.tool("subhost-start w").start();
        eventually("the hook runs", || {
            s.test("[ -e /run/subhost/w/root.plan ]")
        });
        s.host(&format!("kill -TERM {}", start.pid()));
        assert_eq!(start.wait().code, 128 + 15);
        assert_eq!(s.state("w"), "running");
        s.stop("w", &before);
    });
}
