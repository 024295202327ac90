//! What hands and network managers change while a subhost is up: it is told, mended where that needs no new processes, and
//! refused by name where it cannot be.

use crate::common::*;

/// Starts w with a cable to br0.
fn cabled(test: impl FnOnce(&Sandbox, &Snapshot, i32) + Send + 'static) {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\nADDR0=192.0.2.2/24\nGATEWAY=192.0.2.1\n");
        let before = s.start("w");
        let pid = s.pid("w");
        test(s, &before, pid);
    });
}

/// The network of w inside: its addresses and routes.
fn inside(s: &Sandbox, pid: i32) -> String {
    s.host(&format!(
        "nsenter -n -t {pid} ip -br -4 address show eth0 | sed s/@if[0-9]*//; nsenter -n -t {pid} ip route"
    ))
}

/// Asserts that list, info and check say `what` of a w that runs, and that `--repair` changes nothing.
fn assert_told(s: &Sandbox, what: &str) {
    assert_eq!(s.state("w"), "running");
    assert_has(&s.tool("subhost-info w").ok().stdout, &["Problem", what]);
    let json = s.tool("subhost-list --json w").ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    // A list does not ask for the bridge of each cable.
    if !what.contains("unplugged") {
        assert!(json[0]["problem"].is_string(), "{json}");
    }
    let before = s.snapshot();
    for line in ["subhost-check", "subhost-check --repair"] {
        assert_has(
            &s.tool(line).fails(1, &[]).stdout,
            &["w: changed", "subhost-start w"],
        );
    }
    s.assert_same(&before);
}

/// Asserts that a start mends w without a new PID 1, and that nothing is told any more.
fn assert_mended(s: &Sandbox, pid: i32, network: &str) {
    let out = s.tool("subhost-start w").ok();
    assert_has(&out.stderr, &["w: made again: "]);
    assert_eq!(s.pid("w"), pid);
    assert_eq!(inside(s, pid), network);
    assert_has(&s.host("ip -o link show master br0"), &["w0"]);
    s.tool("subhost-check -q").ok();
    assert_lacks(&s.tool("subhost-info w").ok().stdout, &["Problem"]);
    s.tool("subhost-start w").silent();
    let named = s.host("stat -L -c %i /run/netns/w");
    assert_eq!(named, s.host(&format!("stat -L -c %i /proc/{pid}/ns/net")));
}

#[test]
fn a_cable_that_was_deleted_is_made_again() {
    cabled(|s, before, pid| {
        let network = inside(s, pid);
        s.host("ip link delete w0");
        assert_told(s, "missing: the cable w0");
        assert_mended(s, pid, &network);
        s.stop("w", before);
    });
}

#[test]
fn a_cable_that_was_renamed_has_its_name_back() {
    cabled(|s, before, pid| {
        let network = inside(s, pid);
        let index = s.host(
            "cat /sys/class/net/w0/ifindex 2>/dev/null || ip -j link show w0 | jq .[0].ifindex",
        );
        s.host("ip link set w0 name lan0");
        assert_told(s, "missing: the cable w0");
        assert_mended(s, pid, &network);
        assert_eq!(s.host("ip -j link show w0 | jq .[0].ifindex"), index);
        s.stop("w", before);
    });
}

#[test]
fn a_cable_that_was_unplugged_is_plugged_in() {
    cabled(|s, before, pid| {
        let network = inside(s, pid);
        s.host("ip link set w0 nomaster");
        assert_has(
            &s.tool("subhost-info w").ok().stdout,
            &["Problem", "cable w0"],
        );
        s.tool("subhost-check").fails(1, &[]);
        assert_mended(s, pid, &network);
        // The same where the bridge was made anew.
        s.host("ip link delete br0; ip link add br0 type bridge; ip link set br0 up");
        s.tool("subhost-check").fails(1, &[]);
        s.tool("subhost-net w").ok();
        assert_has(&s.host("ip -o link show master br0"), &["w0"]);
        s.tool("subhost-stop --sync w").ok();
        assert_eq!(before.lines("mount"), s.snapshot().lines("mount"));
    });
}

#[test]
fn a_namespace_that_lost_its_name_has_it_back() {
    cabled(|s, before, pid| {
        let network = inside(s, pid);
        s.host("ip netns delete w");
        assert_told(s, "missing: the network namespace");
        assert_mended(s, pid, &network);
        s.host("umount /run/netns/w; rm /run/netns/w; ip link delete w0");
        assert_mended(s, pid, &network);
        s.stop("w", before);
    });
}

#[test]
fn another_namespace_of_its_name_is_foreign() {
    cabled(|s, _, pid| {
        let network = inside(s, pid);
        s.host("ip netns delete w; ip netns add w");
        let foreign = s.host("stat -L -c %i /run/netns/w");
        assert_told(s, "another network namespace");
        for line in ["subhost-start w", "subhost-net w"] {
            s.tool(line)
                .fails(1, &["another network namespace", "not made by us"]);
        }
        assert_eq!(s.host("stat -L -c %i /run/netns/w"), foreign);
        assert_eq!(inside(s, pid), network);
        s.host("ip netns delete w");
        assert_mended(s, pid, &network);
        s.tool("subhost-stop --sync w").ok();
    });
}

/// PID 1 has its root in a mount namespace of its own and runs on; a second mount would write to the same layer.
#[test]
fn a_root_that_was_unmounted_is_refused_by_name() {
    cabled(|s, before, pid| {
        s.host("umount opt/w/live");
        assert_told(s, "missing: the mount on");
        for line in ["subhost-start w", "subhost-mount w"] {
            s.tool(line)
                .fails(1, &["is gone from the host", "subhost-stop"]);
        }
        assert!(!s.test("mountpoint -q opt/w/live"));
        assert_eq!(s.pid("w"), pid);
        assert_eq!(s.inside("w", "hostname"), "w");
        s.stop("w", before);
    });
}

/// What `subhost-mount -n NAME | sh` has made is up, and `enter` leaves what it did not bring up.
#[test]
fn what_a_script_made_is_hibernating_and_stays() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        let before = s.snapshot();
        for made in [&["mount"][..], &["net"], &["mount", "net"]] {
            for tool in made {
                s.sh(&format!("subhost-{tool} -n w | sh")).ok();
            }
            assert_eq!(s.state("w"), "hibernating", "{made:?}");
            let up = s.snapshot();
            s.inside("w", "true");
            assert_eq!(s.state("w"), "hibernating", "{made:?}");
            assert_eq!(up.lines("mount").len(), s.snapshot().lines("mount").len());
            s.tool("subhost-stop --sync w").silent();
            s.assert_same_now(&before);
        }
    });
}

/// One cable cannot be mended, as its bridge is gone; the other is, and what is in use stays.
#[test]
fn what_cannot_be_mended_costs_nothing_else() {
    sandbox(|s| {
        s.bridge("br0");
        s.bridge("br1");
        s.overlay("w", "BRIDGES='br0 br1'\n");
        s.start("w");
        let pid = s.pid("w");
        let links = || s.host(&format!("nsenter -n -t {pid} ip -br link | cut -d@ -f1"));
        let before = links();
        for change in ["true", "ip link set w1 name lan1"] {
            s.host(&format!(
                "{change}; ip link set w0 nomaster; ip link delete br1"
            ));
            s.tool("subhost-start w")
                .fails(1, &["there is no bridge br1"]);
            assert_has(&s.host("ip -o link show master br0"), &["w0"]);
            assert_eq!(links(), before);
            s.host("ip link add br1 type bridge; ip link set br1 up");
            s.tool("subhost-start w").ok();
            assert_has(&s.host("ip -o link show master br1"), &["w1"]);
        }
        s.tool("subhost-stop --sync w").silent();
    });
}
