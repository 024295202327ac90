//! Cables: BRIDGES, LINK, MAC addresses, and cables that somebody removes.

use crate::common::*;
use crate::{is_up, link};

#[test]
fn a_cable_leads_from_the_bridge_to_eth0() {
    sandbox(|s| {
        let w = s.cabled("w", "");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();

        let outer = link(s, "", "w0");
        assert_eq!(outer["master"], "br0");
        assert_eq!(outer["ifalias"], "subhost:w:0");
        assert_eq!(outer["linkinfo"]["info_kind"], "veth");
        assert!(is_up(&outer));
        assert_eq!(
            s.host("ip -6 route show table all dev w0"),
            "",
            "a port's own"
        );
        let inner = link(s, "w", "eth0");
        assert!(is_up(&inner));
        let mac = inner["address"].as_str().unwrap().to_owned();
        let first = u8::from_str_radix(&mac[..2], 16).unwrap();
        assert_eq!(first & 3, 2, "{mac} is local and no group's");
        assert_has(&w.read("assigned"), &["MAC0", &mac]);
        let assigned = w.read("assigned");
        eventually("the cable carries", || {
            link(s, "", "w0")["operstate"] == "UP"
        });

        s.stop("w", &before);
        s.tool("subhost-net w").silent();
        assert_eq!(link(s, "w", "eth0")["address"], mac);
        assert_eq!(w.read("assigned"), assigned);
        s.stop("w", &before);

        // An address that was given once is kept, even if today's rule gives another.
        w.write("assigned", "MAC0=02:00:00:00:00:77\n");
        w.chmod("assigned", 0o600);
        s.tool("subhost-net w").silent();
        assert_eq!(link(s, "w", "eth0")["address"], "02:00:00:00:00:77");
        s.stop("w", &before);
    });
}

#[test]
fn a_cable_may_have_a_mac_or_no_bridge() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay(
            "w",
            "BRIDGES='br0=02:00:00:00:00:01 = =02:00:00:00:00:03'\n",
        );
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        assert_eq!(link(s, "", "w0")["master"], "br0");
        assert_eq!(link(s, "w", "eth0")["address"], "02:00:00:00:00:01");
        for name in ["w1", "w2"] {
            let free = link(s, "", name);
            assert!(is_up(&free) && free["master"].is_null(), "{free}");
        }
        assert_eq!(link(s, "w", "eth2")["address"], "02:00:00:00:00:03");
        let one = link(s, "w", "eth1")["address"].clone();
        assert_ne!(one, "02:00:00:00:00:01");
        // An administrator may put a free end into a bridge.
        s.host("ip link set w1 master br0");
        s.tool("subhost-net w").silent();
        s.stop("w", &before);
    });
}

#[test]
fn two_cables_and_a_name_for_their_host_ends() {
    sandbox(|s| {
        s.bridge("br0");
        s.bridge("br1");
        s.overlay("w", "BRIDGES='br0 br1'\nLINK=uplink\nMTU1=1400\n");
        let before = s.start("w");
        assert_eq!(link(s, "", "uplink0")["master"], "br0");
        assert_eq!(link(s, "", "uplink1")["master"], "br1");
        assert_eq!(link(s, "w", "eth0")["mtu"], 1500);
        assert_eq!(link(s, "w", "eth1")["mtu"], 1400);
        assert_ne!(
            link(s, "w", "eth0")["address"],
            link(s, "w", "eth1")["address"]
        );
        s.stop("w", &before);
    });
}

#[test]
fn hibernation_keeps_the_cable() {
    sandbox(|s| {
        s.cabled("w", "ADDR0=192.0.2.10/24\n");
        let before = s.snapshot();
        let index = || {
            (
                link(s, "", "w0")["ifindex"].clone(),
                link(s, "w", "eth0")["ifindex"].clone(),
            )
        };
        s.tool("subhost-start w").silent();
        let first = index();
        s.tool("subhost-stop --keep w").silent();
        assert_eq!(index(), first);
        s.tool("subhost-start w").silent();
        assert_eq!(index(), first);
        s.stop("w", &before);
    });
}

#[test]
fn a_cable_taken_away_by_hand_is_put_back() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES='br0 br0'\n");
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-net w").silent();
        s.host("ip link delete w1");
        assert_eq!(s.state("w"), "broken");
        s.tool("subhost-start w").silent();
        assert_eq!(link(s, "", "w1")["master"], "br0");
        s.host("ip link delete w0");
        s.stop("w", &before);
    });
}

#[test]
fn names_are_free_again_at_once() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES='br0 br0'\nADDR0=192.0.2.10/24\n");
        let before = s.snapshot();
        for _ in 0..20 {
            s.tool("subhost-net w").silent();
            s.tool("subhost-stop w").silent();
        }
        for _ in 0..5 {
            s.tool("subhost-start w").silent();
            s.tool("subhost-stop w").silent();
        }
        s.assert_same(&before);
    });
}

#[test]
fn a_missing_bridge_is_named_with_the_remedy() {
    sandbox(|s| {
        let w = s.overlay("w", "BRIDGES='= br9'\n");
        assert_network_refused(s, 1, &["br9", "ip link add br9 type bridge"]);
        s.host("ip link add notbridge type veth peer name other");
        w.config("BRIDGES=notbridge\n");
        assert_network_refused(s, 1, &["notbridge", "bridge"]);
    });
}

#[test]
fn a_host_end_that_does_not_fit_is_refused_with_the_arithmetic() {
    sandbox(|s| {
        s.bridge("br0");
        let before = s.snapshot();
        let long = s.overlay("fifteen-letters", "BRIDGES=br0\n");
        s.tool("subhost-start fifteen-letters")
            .fails(5, &["fifteen-letters0", "16", "LINK"]);
        s.assert_same(&before);
        long.config("BRIDGES=br0\nLINK=short\n");
        s.tool("subhost-net fifteen-letters").silent();
        s.host("ip link show short0");
        s.tool("subhost-stop --sync fifteen-letters").silent();
        s.assert_same_now(&before);
        // Eleven cables: the name fits with one digit and not with two.
        let w = s.overlay("fourteen-lette", "BRIDGES='= = = = = = = = = = ='\n");
        s.tool("subhost-net fourteen-lette")
            .fails(5, &["fourteen-lette10", "LINK"]);
        s.assert_same(&before);
        w.config("BRIDGES='= = = = = = = = = ='\n");
        s.tool("subhost-net fourteen-lette").silent();
        s.tool("subhost-stop --sync fourteen-lette").silent();
        s.assert_same_now(&before);
    });
}
