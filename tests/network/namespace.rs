//! The network namespace: its own, the host's, a named one, another subhost's.

use crate::common::*;
use crate::{is_up, link, netns_names};

#[test]
fn without_cables_there_is_lo_in_a_named_namespace() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        assert_eq!(netns_names(s), ["w"]);
        assert!(is_up(&link(s, "w", "lo")));
        let names = s.host("ip netns exec w ls /sys/class/net");
        assert_lacks(&names, &["eth0"]);
        s.tool("subhost-net w").silent();
        s.tool("subhost-net -u w").silent();
        s.tool("subhost-net -u w").silent();
        s.assert_same_but_state(&before);
        s.stop("w", &before);
    });
}

#[test]
fn the_first_namespace_of_a_host_can_be_ours() {
    sandbox(|s| {
        s.host("umount /run/netns; rmdir /run/netns");
        s.overlay("w", "");
        s.tool("subhost-start w").silent();
        assert_eq!(netns_names(s), ["w"]);
        s.host("ip netns add after; ip netns delete after");
        s.tool("subhost-stop --sync w").silent();
        assert_eq!(s.host("ls -A /run/netns"), "");
    });
}

#[test]
fn the_network_of_a_running_one_is_not_taken_down() {
    sandbox(|s| {
        s.cabled("w", "");
        let before = s.start("w");
        s.tool("subhost-net -u w").fails(75, &["w", "subhost-stop"]);
        assert!(is_up(&link(s, "", "w0")));
        s.stop("w", &before);
    });
}

#[test]
fn the_hosts_own_network_can_be_used() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "NET=host\n");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        s.tool("subhost-start w").silent();
        assert_eq!(netns_names(s), Vec::<String>::new());
        assert_has(&s.inside("w", "ip link"), &["br0"]);
        s.stop("w", &before);
        s.host("ip link show br0");
    });
}

#[test]
fn a_named_namespace_is_joined_and_left_alone() {
    sandbox(|s| {
        s.host("ip netns add other; ip -n other link add br7 type bridge");
        s.overlay("w", "NET=netns:other\n");
        let before = s.start("w");
        assert_eq!(netns_names(s), ["other"]);
        assert_has(&s.inside("w", "ip link"), &["br7"]);
        s.stop("w", &before);
        assert_has(&s.host("ip -n other link"), &["br7"]);
    });
}

#[test]
fn the_namespace_of_another_subhost_can_be_joined() {
    sandbox(|s| {
        s.overlay("front", "");
        s.overlay("back", "NET=netns:front\n");
        let before = s.snapshot();
        s.tool("subhost-start front back").silent();
        let netns = |name| s.inside(name, "readlink /proc/self/ns/net");
        assert_eq!(netns("front"), netns("back"));
        s.tool("subhost-stop --sync back").silent();
        assert_eq!(netns_names(s), ["front"]);
        s.tool("subhost-stop --sync front").silent();
        s.assert_same_now(&before);
    });
}

#[test]
fn the_inside_has_a_sysfs_of_its_own_network() {
    sandbox(|s| {
        s.cabled("w", "");
        let before = s.start("w");
        let names = s.inside("w", "ls /sys/class/net");
        assert_has(&names, &["eth0", "lo"]);
        assert_lacks(&names, &["br0", "w0"]);
        s.stop("w", &before);
    });
}

#[test]
fn a_missing_namespace_is_named() {
    sandbox(|s| {
        s.overlay("w", "NET=netns:nosuch\n");
        assert_network_refused(s, 1, &["nosuch"]);
    });
}

/// Where mounts are private, `ip netns add` mounts our namespace a second time, in another place.
#[test]
fn ip_netns_on_a_host_with_private_mounts_does_no_harm() {
    sandbox(|s| {
        s.host("umount /run/netns 2>/dev/null || :; mount --make-private /run; ip netns list");
        s.overlay("w", "");
        let before = s.start("w");
        s.stop("w", &before);
        s.tool("subhost-start w").silent();
        s.host("ip netns add ext");
        s.tool("subhost-stop --sync w").silent();
        assert_eq!(s.host("ip netns list"), "ext");
        s.host("ip netns delete ext");
    });
}
