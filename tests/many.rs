//! Many subhosts on one host: what is kept for all of them, what is done side by side, and all tools in
//! one program.

mod common;

use common::*;
use std::time::Duration;

/// Enough for a mount namespace to be kept.
const MANY: usize = 20;

fn many(s: &Sandbox, config: &str) -> String {
    let names: Vec<String> = (0..MANY).map(|number| format!("o{number}")).collect();
    for name in &names {
        s.overlay(name, config);
    }
    names.join(" ")
}

fn kept(s: &Sandbox) -> bool {
    s.test("[ \"$(stat -f -c %T /run/subhost/.mnt/ns 2>/dev/null)\" = nsfs ]")
}

#[test]
fn an_empty_mount_namespace_is_kept_where_there_are_many() {
    sandbox(kept_for_many);
}

#[test]
fn and_where_mounts_are_private() {
    sandbox_private(kept_for_many);
}

fn kept_for_many(s: &Sandbox) {
    let others = many(s, "");
    s.overlay("w", "BIND=/etc:/mnt:ro\nTMPFS=/tmp\n");
    let before = s.start("w");
    assert!(!kept(s), "one subhost needs none");
    s.tool("subhost-stop --sync w").silent();

    s.tool(&format!("subhost-mount {others}")).silent();
    let said = s.tool("subhost-start -v w").ok();
    assert!(kept(s), "{}", said.stderr);
    let start = format!("{}/subhost-start", tools_dir());
    s.tool("subhost-stop --keep w").silent();
    let subhosts = s.subhost.display();
    // strace stays until PID 1 ends.
    let started = s
        .sh(&format!(
            "exec strace -f -o {}/calls -e trace=openat,setns {start} -S {subhosts} w",
            s.base.display()
        ))
        .start();
    eventually("it runs", || s.state("w") == "running");
    let inside = s.inside("w", "cat /proc/self/mountinfo");
    // Nothing of the host is to be seen in there, and all that it was to have.
    assert_lacks(&inside, &[".mnt", "/run/netns", "/opt/o1/"]);
    assert_has(
        &inside,
        &[" /mnt ", " /tmp ", " /proc ", " /sys ", " /dev "],
    );
    assert_eq!(s.inside("w", "ls /run"), "");
    s.tool("subhost-stop w").silent();
    started.wait();
    let calls = s.host("cat calls");
    assert!(
        calls
            .lines()
            .any(|call| call.contains(".mnt/ns") && !call.contains("= -1")),
        "{calls}"
    );
    s.tool("subhost-stop -q --all --sync").silent();
    s.assert_same(&before);
}

/// A mount namespace that was made later does not see the kept one.
#[test]
fn without_the_kept_namespace_it_goes_as_well() {
    sandbox(|s| {
        let others = many(s, "");
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool(&format!("subhost-mount {others}")).silent();
        s.tool("subhost-start o0").silent();
        assert!(kept(s));
        let (tools, subhosts) = (tools_dir(), s.subhost.display());
        let seen = s.host(&format!(
            "unshare -m --propagation slave sh -euc '
                stat -f -c %T /run/subhost/.mnt/ns
                {tools}/subhost-start -S {subhosts} w
                {tools}/subhost-enter -S {subhosts} w -- hostname
                {tools}/subhost-stop -S {subhosts} w'"
        ));
        assert_lacks(&seen, &["nsfs"]);
        assert_has(&seen, &["w"]);
        s.tool("subhost-stop -q --all --sync").silent();
        s.assert_same(&before);
    });
}

#[test]
fn a_start_that_is_killed_among_many_leaves_what_stop_clears() {
    sandbox(|s| {
        let others = many(s, "");
        s.overlay("w", "");
        let before = s.snapshot();
        for millis in 0..rounds(12, 60) as u64 {
            s.tool(&format!("subhost-mount {others}")).silent();
            let mut start = s.tool("subhost-start w").start();
            std::thread::sleep(Duration::from_micros(millis * 700));
            start.kill();
            start.wait();
            s.tool("subhost-stop -q --all --sync").ok();
            s.assert_same(&before);
        }
    });
}

#[test]
fn all_are_done_side_by_side() {
    sandbox(|s| {
        s.bridge("br0");
        many(s, "BRIDGES=br0\n");
        s.host("echo BRIDGES=nosuchbridge >>opt/o7/config");
        s.overlay("x", "NOSUCHKEY=1\n");
        let before = s.snapshot();
        let output = s
            .tool("subhost-start --all")
            .fails(1, &["nosuchbridge", "NOSUCHKEY"]);
        assert_eq!(
            output
                .stderr
                .lines()
                .filter(|line| line.contains("o7"))
                .count(),
            1
        );
        let list = format!(
            "{}/subhost-list -S {} -o name,state",
            tools_dir(),
            s.subhost.display()
        );
        let states = s.host(&list);
        let running = states
            .lines()
            .filter(|line| line.ends_with(" running"))
            .count();
        assert_eq!(running, MANY - 1, "{states}");
        assert_has(&states, &["o7 stopped", "x invalid"]);
        // Already so is a success, but for those that cannot be.
        s.tool("subhost-stop -q --all --sync").ok();
        s.assert_same(&before);
        // SIGTERM also ends the helpers of `--all`, each after the subhost at hand.
        s.host(
            "printf '#!/bin/sh\nsleep 0.4\n' >hook; chmod 755 hook
             echo PRENET=$PWD/hook >opt/defaults",
        );
        let mut start = s.tool("subhost-start -q --all").start();
        std::thread::sleep(Duration::from_millis(200));
        s.host(&format!("kill -TERM {}", start.pid()));
        eventually("it ends", || !start.runs());
        start.wait();
        eventually("its shares end", || {
            s.test("! pgrep -f '[s]ubhost-start -q --all'")
        });
        let states = s.host(&list);
        let running = states.lines().filter(|line| line.ends_with(" running"));
        let running = running.count();
        assert!((1..MANY - 1).contains(&running), "{states}");
        s.host("rm opt/defaults");
        s.tool("subhost-stop -q --all --sync").ok();
        s.assert_same(&before);
    });
}

#[test]
fn one_program_is_all_tools() {
    sandbox(|s| {
        s.overlay("w", "RUN='sleep 1000'\n");
        let before = s.snapshot();
        let (tools, subhosts) = (tools_dir(), s.subhost.display());
        s.host(&format!(
            "mkdir -p bin; cp {tools}/subhost {tools}/subhost-init bin/
             for tool in start stop list enter; do ln bin/subhost bin/subhost-$tool; done"
        ));
        let by = |line: &str| {
            s.sh(&format!(
                "export SUBHOST={subhosts}; PATH=$PWD/bin:$PATH; {line}"
            ))
        };
        by("subhost-start w").silent();
        assert_eq!(by("subhost list -o state w").ok().text(), "running");
        assert_eq!(by("subhost-enter w -- hostname").ok().text(), "w");
        assert_eq!(by("subhost enter w -- sh -c 'exit 7'").run().code, 7);
        by("subhost start nosuch").fails(4, &["subhost-start: nosuch"]);
        by("subhost-stop w").silent();
        s.assert_same(&before);
        assert_has(
            &by("subhost --help").ok().text(),
            &["start", "stop", "enter"],
        );
        by("subhost").fails(2, &["usage: subhost COMMAND"]);
        by("subhost strat").fails(2, &["subhost: no command 'strat'; did you mean 'start'?"]);
        by("subhost nosuch").fails(2, &["subhost: no command 'nosuch' ('subhost help'"]);
        for line in [
            "subhost --help",
            "subhost start --help",
            "subhost-list --version",
        ] {
            s.sh(&format!("PATH=$PWD/bin:$PATH; {line} >/dev/full"))
                .cwd(&s.base)
                .fails(1, &["cannot write to standard output: No space left"]);
            assert_eq!(
                s.host(&format!("PATH=$PWD/bin:$PATH; {line} | true; echo $?")),
                "0"
            );
        }
        by("subhost help nosuch").fails(2, &["subhost: no command 'nosuch'"]);
        assert_eq!(
            by("subhost help start").ok().text(),
            by("subhost start --help").ok().text()
        );
        assert_has(&by("subhost start --help").ok().text(), &["Start subhosts"]);
    });
}

/// What is a port of a bridge has no address by which the host could be reached.
#[test]
fn host_ends_on_bridges_have_no_addresses() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES='br0 ='\nADDR0=192.0.2.10/24\n");
        let before = s.start("w");
        // The inner end makes itself one when the pair is up.
        eventually("the pair is up", || {
            s.inside("w", "cat /proc/net/if_inet6").contains("eth1")
        });
        assert_eq!(s.host("ip -o -6 addr show dev w0"), "");
        assert_has(&s.host("ip -o -6 addr show dev w1"), &["fe80::"]);
        s.stop("w", &before);
    });
}
