//! PID 1: our own, which reaps, and an INIT of the tree's own.

use crate::common::*;

#[test]
fn a_pid_1_killed_from_the_host_is_noticed() {
    started("", |s, _| {
        s.host(&format!("kill -9 {}", s.pid("w")));
        eventually("it is noticed", || s.state("w") == "hibernating");
        s.tool("subhost-start w").silent();
        assert_eq!(s.state("w"), "running");
    });
}

#[test]
fn pid_1_reaps() {
    started("", |s, _| {
        s.inside(
            "w",
            "for i in 1 2 3 4 5; do (setsid sleep 0.01 &); done; sleep 0.2",
        );
        eventually("no zombie is left", || {
            !s.inside("w", "cat /proc/[0-9]*/stat").contains(") Z ")
        });
    });
}

#[test]
fn an_init_of_the_trees_own_boots_and_stops_cleanly() {
    sandbox(|s| {
        let w = s.with_init("w", "BRIDGES=\"=\"\nADDR0=192.0.2.10/24\n", "::sysinit:/bin/sh -c 'tr \"\\000\" \"\\n\" </proc/1/environ >/root/environ; ip addr >/root/addr'\n\
             ::respawn:/bin/sleep 1000\n\
             ::shutdown:/bin/touch /root/shut-down\n");
        let before = s.start("w");
        assert_eq!(s.state("w"), "running");
        eventually("init runs its services", || s.runs("/bin/sleep 1000"));
        assert_eq!(s.inside("w", "cat /proc/1/comm; echo $HOME"), "init\n/root");
        s.tool("subhost-start w").silent();
        assert_has(&w.read("root/root/environ"), &["container=subhost"]);
        assert_has(&w.read("root/root/addr"), &["192.0.2.10/24"]);
        s.tool("subhost-stop --sync w").limit(20).silent();
        s.assert_same_now(&before);
        assert!(
            w.exists("root/root/shut-down"),
            "init was killed, not asked"
        );
    });
}

#[test]
fn an_init_that_powers_off_leaves_a_hibernating_subhost() {
    sandbox(|s| {
        s.with_init("w", "", "::respawn:/bin/sleep 1000\n");
        let before = s.start("w");
        eventually("init runs its services", || s.runs("/bin/sleep 1000"));
        s.enter("w", "poweroff").run();
        eventually("it has powered off", || s.state("w") == "hibernating");
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

#[test]
fn a_boot_ends_with_the_enter_that_made_it() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let mut enter = s.enter("w", "setsid sleep 1000 & sleep 1000").start();
        eventually("it is up", || {
            s.state("w") == "running" && s.runs("sleep 1000")
        });
        enter.kill();
        enter.wait();
        eventually("all processes are gone", || !s.runs("sleep 1000"));
        eventually("it does not run", || s.state("w") != "running");
        s.tool("subhost-stop --sync w").ok();
        s.assert_same_now(&before);
    });
}

/// A process can set its own name. An init whose name was not UTF-8 was not found in /proc: a stop removed its
/// network and root while it ran, and a start booted a second one.
#[test]
fn an_init_with_a_name_that_is_no_text_is_still_seen() {
    sandbox(|s| {
        let w = s.rbind("w", "INIT=/sbin/strange\nSTOP=TERM\nSTOP_TIMEOUT=2s\n");
        w.script(
            "root/sbin/strange",
            "trap 'exit 0' TERM; printf '\\377) R (' >/proc/1/comm; : >/ready; while :; do sleep 0.1; done",
        );
        let before = s.start("w");
        eventually("it has its name", || w.exists("root/ready"));
        assert_eq!(s.state("w"), "running");
        let pid = s.pid("w");
        s.tool("subhost-start w").silent();
        assert_eq!(s.pid("w"), pid, "a second one was booted");
        s.tool("subhost-mount -u w").fails(75, &["running"]);
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-stop --sync w").limit(10).ok();
        s.assert_same_now(&before);
    });
}
