//! Addresses and routes: ADDR0, GATEWAY, ROUTES, IPv4 and IPv6.

use crate::addresses;
use crate::common::*;
use std::fs;

/// A start makes the network while PID 1 starts. RUN waits until the network is complete.
#[test]
fn what_is_run_finds_all_of_its_network() {
    sandbox(|s| {
        s.bridge("br0");
        let config = "BRIDGES=br0\nADDR0=192.0.2.2/24\nGATEWAY=192.0.2.1\n";
        let w = s.overlay("w", &format!("{config}RUN='cp /proc/net/route /found'\n"));
        for _ in 0..20 {
            s.tool("subhost-start -f w").silent();
            let found = fs::read_to_string(w.path("root/found")).unwrap();
            // 192.0.2.1 as /proc/net/route has it.
            let default = |line: &str| line.starts_with("eth0\t00000000\t010200C0\t");
            assert!(found.lines().any(default), "{found}");
            fs::remove_file(w.path("root/found")).unwrap();
            s.tool("subhost-stop w").silent();
        }
        // A start that fails at the last step of the network has run nothing.
        w.config(&format!(
            "{}RUN='touch /found'\n",
            config.replace("192.0.2.1\n", "192.0.2.255\n")
        ));
        let before = s.snapshot();
        s.tool("subhost-start w").fails(1, &["192.0.2.255"]);
        s.assert_same(&before);
        assert!(!w.path("root/found").exists());
    });
}

#[test]
fn addresses_and_routes_of_both_protocols() {
    sandbox(|s| {
        s.cabled(
            "w",
            "\
             ADDR0='192.0.2.10/24 198.51.100.1/25 2001:db8::10/64'\n\
             GATEWAY='192.0.2.1 2001:db8::1'\n\
             ROUTES='203.0.113.0/24=192.0.2.7 2001:db8:5::/48=2001:db8::7'\n",
        );
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        assert_eq!(
            addresses(s, "w", "eth0"),
            ["192.0.2.10/24", "198.51.100.1/25", "2001:db8::10/64"]
        );
        let routes = s.host("ip -n w route; ip -n w -6 route");
        assert_has(
            &routes,
            &[
                "default via 192.0.2.1 dev eth0",
                "203.0.113.0/24 via 192.0.2.7",
                "default via 2001:db8::1 dev eth0",
                "2001:db8:5::/48 via 2001:db8::7",
            ],
        );
        s.tool("subhost-net w").silent();
        s.tool("subhost-net -u w").silent();
        s.assert_same_but_state(&before);
        s.stop("w", &before);
    });
}

/// The tool's addresses are those that ip(8) makes.
#[test]
fn an_address_is_what_ip_makes_of_it() {
    sandbox(|s| {
        let w = s.cabled("w", "");
        let before = s.snapshot();
        let lists: [&[&str]; 9] = [
            &["10.1.2.3/8"],
            &["10.1.2.3/24"],
            &["192.0.2.10/1"],
            &["192.0.2.10/30"],
            &["192.0.2.10/31"],
            &["192.0.2.10/32"],
            &["250.1.2.3/24"],
            &["172.16.0.9/12", "172.16.0.8/12", "192.0.2.1/24"],
            &["2001:db8::9/64", "192.0.2.10/25"],
        ];
        for all in lists {
            w.config(&format!("BRIDGES=br0\nADDR0='{}'\n", all.join(" ")));
            s.tool("subhost-net w").silent();
            s.host("ip netns add hand; ip -n hand link add eth0 type veth peer name p");
            s.host("ip -n hand link set eth0 up; ip -n hand link set lo up");
            for address in all {
                let prefix: u8 = address.rsplit('/').next().unwrap().parse().unwrap();
                let broadcast = if prefix < 31 && !address.contains(':') {
                    "brd +"
                } else {
                    ""
                };
                s.host(&format!(
                    "ip -n hand addr add {address} {broadcast} dev eth0"
                ));
            }
            let of = |netns: &str| {
                let found = s.host(&format!(
                    "ip -4 -n {netns} -o addr show dev eth0; ip -4 -n {netns} route show table all"
                ));
                // Fields that differ: interface numbers, and the state of the peer.
                let mut lines: Vec<String> = found
                    .replace(" linkdown", "")
                    .lines()
                    .map(|line| {
                        line.split_once(": ")
                            .map_or(line, |(_, rest)| rest)
                            .to_owned()
                    })
                    .collect();
                lines.sort();
                lines
            };
            assert_eq!(of("w"), of("hand"), "{all:?}");
            s.host("ip netns del hand");
            s.stop("w", &before);
        }
    });
}

#[test]
fn an_ipv6_address_can_be_used_at_once() {
    sandbox(|s| {
        s.cabled("w", "ADDR0=2001:db8::10/64\n");
        let before = s.start("w");
        assert_lacks(
            &s.host("ip -n w -6 addr show dev eth0 scope global"),
            &["tentative"],
        );
        s.stop("w", &before);
    });
}

#[test]
fn two_subhosts_on_a_bridge_reach_each_other() {
    sandbox(|s| {
        s.bridge("br0");
        for (name, i) in [("a", 1), ("b", 2)] {
            s.overlay(
                name,
                &format!("BRIDGES=br0\nADDR0='192.0.2.{i}/24 2001:db8::{i}/64'\n"),
            );
        }
        let before = s.snapshot();
        s.tool("subhost-start a b").silent();
        eventually("a reaches b", || {
            s.enter(
                "a",
                "ping -c 1 -W 1 192.0.2.2 && ping6 -c 1 -W 1 2001:db8::2",
            )
            .run()
            .code
                == 0
        });
        s.inside("b", "echo page >/srv/page; httpd -p 80 -h /srv");
        assert_eq!(s.inside("a", "wget -qO- http://192.0.2.2/page"), "page");
        s.tool("subhost-stop --sync a b").silent();
        s.assert_same_now(&before);
    });
}

/// The kernel keeps a network namespace for a while after a netlink socket in it is closed.
#[test]
fn no_netlink_socket_is_opened_inside_for_one_address() {
    sandbox(|s| {
        s.cabled("w", "ADDR0=192.0.2.10/24\n");
        let before = s.snapshot();
        s.sh("strace -qqfo $SUBHOST/told -e trace=socket,setns subhost-net w")
            .silent();
        let told = s.host("cat opt/told");
        assert_has(&told, &["setns", "AF_INET"]);
        assert_eq!(told.matches("AF_NETLINK").count(), 1, "{told}");
        s.stop("w", &before);
    });
}
