//! Networks: namespaces, cables, addresses, routes, names.

mod common;

use common::{Sandbox, eventually, has, lacks, sandbox};
use serde_json::Value;
use std::fs;

/// One interface on the host, or in a named namespace.
fn link(s: &Sandbox, netns: &str, name: &str) -> Value {
    let within = match netns {
        "" => String::new(),
        name => format!("-n {name}"),
    };
    s.json(&format!("ip -j -d {within} link show dev {name}"))[0].clone()
}

fn is_up(link: &Value) -> bool {
    link["flags"]
        .as_array()
        .unwrap()
        .iter()
        .any(|flag| flag == "UP")
}

/// The global addresses of an interface in a namespace, with prefix, sorted.
fn addresses(s: &Sandbox, netns: &str, name: &str) -> Vec<String> {
    let all = s.json(&format!("ip -j -n {netns} addr show dev {name}"));
    let mut found: Vec<String> = all[0]["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|a| a["scope"] == "global")
        .map(|a| format!("{}/{}", a["local"].as_str().unwrap(), a["prefixlen"]))
        .collect();
    found.sort();
    found
}

fn netns_names(s: &Sandbox) -> Vec<String> {
    let mut names: Vec<String> = s
        .host("ip netns list")
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn without_cables_there_is_lo_in_a_named_namespace() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-net w").silent();
        assert_eq!(netns_names(s), ["w"]);
        assert!(is_up(&link(s, "w", "lo")));
        let names = s.host("ip netns exec w ls /sys/class/net");
        lacks(&names, &["eth0"]);
        s.tool("subhost-net w").silent();
        s.tool("subhost-net -u w").silent();
        s.tool("subhost-net -u w").silent();
        s.same_but_state(&before);
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
fn a_cable_leads_from_the_bridge_to_eth0() {
    sandbox(|s| {
        s.bridge("br0");
        let w = s.overlay("w", "BRIDGES=br0\n");
        let before = s.world();
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
        has(&w.read("assigned"), &["MAC0", &mac]);
        let assigned = w.read("assigned");
        eventually("the cable carries", || {
            link(s, "", "w0")["operstate"] == "UP"
        });

        s.stop("w", &before);
        s.tool("subhost-net w").silent();
        assert_eq!(link(s, "w", "eth0")["address"], mac);
        assert_eq!(w.read("assigned"), assigned);
        s.stop("w", &before);

        // What was given once stays, even where it would come out otherwise today.
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
        let before = s.world();
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
        // The administrator's own bridging of a free end is nothing foreign.
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
        let before = s.world();
        s.tool("subhost-start w").silent();
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

/// A start makes the network while PID 1 is on its way; what that runs waits for the last of it.
#[test]
fn what_is_run_finds_all_of_its_network() {
    sandbox(|s| {
        s.bridge("br0");
        let config = "BRIDGES=br0\nADDR0=192.0.2.2/24\nGATEWAY=192.0.2.1\n";
        let w = s.overlay("w", &format!("{config}RUN='cp /proc/net/route /found'\n"));
        for _ in 0..20 {
            s.tool("subhost-start -f w").silent();
            let found = fs::read_to_string(w.path("root/found")).unwrap();
            // 192.0.2.1, as the kernel writes it.
            let default = |line: &str| line.starts_with("eth0\t00000000\t010200C0\t");
            assert!(found.lines().any(default), "{found}");
            fs::remove_file(w.path("root/found")).unwrap();
            s.tool("subhost-stop w").silent();
        }
        // One that fails at its end has run nothing, whatever was there already.
        w.config(&format!(
            "{}RUN='touch /found'\n",
            config.replace("192.0.2.1\n", "192.0.2.255\n")
        ));
        let before = s.world();
        s.tool("subhost-start w").fails(1, &["192.0.2.255"]);
        s.same(&before);
        assert!(!w.path("root/found").exists());
    });
}

#[test]
fn addresses_and_routes_of_both_protocols() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay(
            "w",
            "BRIDGES=br0\n\
             ADDR0='192.0.2.10/24 198.51.100.1/25 2001:db8::10/64'\n\
             GATEWAY='192.0.2.1 2001:db8::1'\n\
             ROUTES='203.0.113.0/24=192.0.2.7 2001:db8:5::/48=2001:db8::7'\n",
        );
        let before = s.world();
        s.tool("subhost-net w").silent();
        assert_eq!(
            addresses(s, "w", "eth0"),
            ["192.0.2.10/24", "198.51.100.1/25", "2001:db8::10/64"]
        );
        let routes = s.host("ip -n w route; ip -n w -6 route");
        has(
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
        s.same_but_state(&before);
        s.stop("w", &before);
    });
}

/// However the kernel is told of it.
#[test]
fn an_address_is_what_ip_makes_of_it() {
    sandbox(|s| {
        s.bridge("br0");
        let w = s.overlay("w", "BRIDGES=br0\n");
        let before = s.world();
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
                // Their numbers, and whether the other end is up.
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
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\nADDR0=2001:db8::10/64\n");
        let before = s.world();
        s.tool("subhost-start w").silent();
        lacks(
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
        let before = s.world();
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
        s.same_now(&before);
    });
}

#[test]
fn resolv_conf_hosts_and_host_name_are_given_and_the_tree_is_left_alone() {
    sandbox(|s| {
        s.bridge("br0");
        let w = s.overlay(
            "w",
            "BRIDGES=br0\nADDR0='192.0.2.10/24'\nDNS='192.0.2.53 2001:db8::53'\nSEARCH=example.org\n\
             HOSTNAME=web.example.org\n",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        let resolv = s.inside("w", "cat /etc/resolv.conf");
        has(
            &resolv,
            &[
                "nameserver 192.0.2.53",
                "nameserver 2001:db8::53",
                "search example.org",
            ],
        );
        lacks(&resolv, &["203.0.113.1"]);
        let hosts = s.inside("w", "cat /etc/hosts");
        has(&hosts, &["localhost", "192.0.2.10", "web.example.org"]);
        assert_eq!(s.inside("w", "hostname"), "web.example.org");
        s.stop("w", &before);
        assert!(!w.exists("root/etc/resolv.conf"), "written to the tree");
        assert!(!w.exists("root/etc/hosts"), "written to the tree");
    });
}

#[test]
fn the_host_name_is_the_subhosts_and_not_the_hosts() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        let host = s.host("hostname");
        s.tool("subhost-start w").silent();
        assert_eq!(s.inside("w", "hostname"), "w");
        s.enter("w", "hostname other").run(); // Whether it may is another matter.
        assert_eq!(s.host("hostname"), host);
        s.stop("w", &before);
    });
}

#[test]
fn the_network_of_a_running_one_is_not_taken_down() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        let before = s.world();
        s.tool("subhost-start w").silent();
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
        let before = s.world();
        s.tool("subhost-net w").silent();
        s.tool("subhost-start w").silent();
        assert_eq!(netns_names(s), Vec::<String>::new());
        has(&s.inside("w", "ip link"), &["br0"]);
        s.stop("w", &before);
        s.host("ip link show br0");
    });
}

#[test]
fn a_named_namespace_is_joined_and_left_alone() {
    sandbox(|s| {
        s.host("ip netns add other; ip -n other link add br7 type bridge");
        s.overlay("w", "NET=netns:other\n");
        let before = s.world();
        s.tool("subhost-start w").silent();
        assert_eq!(netns_names(s), ["other"]);
        has(&s.inside("w", "ip link"), &["br7"]);
        s.stop("w", &before);
        has(&s.host("ip -n other link"), &["br7"]);
    });
}

#[test]
fn the_namespace_of_another_subhost_can_be_joined() {
    sandbox(|s| {
        s.overlay("front", "");
        s.overlay("back", "NET=netns:front\n");
        let before = s.world();
        s.tool("subhost-start front back").silent();
        let netns = |name| s.inside(name, "readlink /proc/self/ns/net");
        assert_eq!(netns("front"), netns("back"));
        s.tool("subhost-stop --sync back").silent();
        assert_eq!(netns_names(s), ["front"]);
        s.tool("subhost-stop --sync front").silent();
        s.same_now(&before);
    });
}

#[test]
fn hibernation_keeps_the_cable() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\nADDR0=192.0.2.10/24\n");
        let before = s.world();
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
        let before = s.world();
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
        let before = s.world();
        for _ in 0..20 {
            s.tool("subhost-net w").silent();
            s.tool("subhost-stop w").silent();
        }
        for _ in 0..5 {
            s.tool("subhost-start w").silent();
            s.tool("subhost-stop w").silent();
        }
        s.same(&before);
    });
}

#[test]
fn a_held_namespace_does_not_keep_the_names() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        let before = s.world();
        s.tool("subhost-net w").silent();
        let mut holder = s.sh("exec nsenter --net=/run/netns/w sleep 1000").start();
        eventually("the holder is inside", || {
            s.host("ip netns pids w")
                .contains(&holder.pid().to_string())
        });
        let out = s.tool("subhost-stop w").run();
        has(&out.stderr, &[&holder.pid().to_string(), "sleep"]);
        assert!(holder.runs(), "a process of the host was ended unasked");
        assert!(!s.test("ip link show w0"), "the host end is still there");
        holder.kill();
        holder.wait();
        s.tool("subhost-stop --sync w").run();
        s.same(&before);
    });
}

/// What only an open file keeps nobody finds: the cable goes when it is closed, and until then nothing answers at
/// its end.
#[test]
fn a_namespace_that_is_kept_has_no_addresses() {
    kept_is_silent("subhost-stop w", |s, kept| {
        let left = s.host(&format!("nsenter --net={kept} ip -o address"));
        lacks(&left, &["inet ", "eth0", "other"]);
    });
}

/// Where its addresses cannot be taken away, the cable is cut.
#[test]
fn the_cable_of_a_namespace_that_keeps_its_addresses_is_cut() {
    let no_socket =
        "strace -qqo $SUBHOST/told -e inject=socket:error=EMFILE:when=2+ subhost-stop w";
    kept_is_silent(no_socket, |s, _| {
        has(&s.host("cat opt/told"), &["AF_INET", "EMFILE"]);
        s.host("rm opt/told");
        let kept = s.json("ip -j link show type veth");
        let flags = kept[0]["flags"].as_array().unwrap();
        assert!(!flags.contains(&"LOWER_UP".into()), "{kept}");
    });
}

/// Stops one whose namespace is kept; `check` gets that.
fn kept_is_silent(stop: &'static str, check: fn(&Sandbox, &str)) {
    sandbox(move |s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\nADDR0='192.0.2.10/24 2001:db8::10/64'\n");
        s.host("ip address add 192.0.2.1/24 dev br0; ip address add 2001:db8::1/64 dev br0 nodad");
        let before = s.world();
        s.tool("subhost-net w").silent();
        // More than are told at once, some of them of a link and a label of their own.
        s.host(
            "ip -n w link add other type veth peer name end; ip -n w link set other up
            ip -n w address add 192.0.2.200/24 dev other label other:1
            ip -n w address add 2001:db8:9::200/64 dev other
            ip -n w address add 198.51.100.200/32 dev lo
            for i in $(busybox seq 150); do echo address add 198.51.100.$i/32 dev eth0; done >add
            ip -n w -batch add",
        );
        let pings = |address| s.test(&format!("busybox ping -c 1 -W 1 {address}"));
        for address in ["192.0.2.10", "2001:db8::10"] {
            eventually("it is reached", || pings(address));
        }
        s.host("ip route add 198.51.100.0/24 dev br0");
        assert!(pings("198.51.100.7") && pings("198.51.100.200"));
        let mut keeper = s.sh("exec sleep 1000 9</run/netns/w").start();
        let kept = format!("/proc/{}/fd/9", keeper.pid());
        eventually("the keeper keeps it", || s.test(&format!("test -e {kept}")));
        s.sh(stop).silent();
        check(s, &kept);
        for address in [
            "192.0.2.10",
            "192.0.2.200",
            "198.51.100.7",
            "198.51.100.200",
            "2001:db8::10",
        ] {
            assert!(!pings(address), "{address}");
        }
        s.host("ip route del 198.51.100.0/24 dev br0");
        // Its name and its address are free.
        s.tool("subhost-net w").silent();
        eventually("the new one is reached", || pings("192.0.2.10"));
        keeper.kill();
        keeper.wait();
        s.tool("subhost-stop --sync w").silent();
        eventually("the old one is gone", || {
            s.json("ip -j link show type veth")
                .as_array()
                .unwrap()
                .is_empty()
        });
        s.same(&before);
    });
}

/// The kernel keeps a namespace for a while after a netlink socket in it was closed.
#[test]
fn no_netlink_socket_is_opened_inside_for_one_address() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\nADDR0=192.0.2.10/24\n");
        let before = s.world();
        s.sh("strace -qqfo $SUBHOST/told -e trace=socket,setns subhost-net w")
            .silent();
        let told = s.host("cat opt/told");
        has(&told, &["setns", "AF_INET"]);
        assert_eq!(told.matches("AF_NETLINK").count(), 1, "{told}");
        s.stop("w", &before);
    });
}

/// A stop lets go of the namespace on another processor.
#[test]
fn a_hook_after_a_stop_has_all_processors() {
    sandbox(|s| {
        s.bridge("br0");
        let w = s.overlay("w", "BRIDGES=br0\nPOSTSTOP=hook\n");
        w.script(
            "hook",
            "grep Cpus_allowed: /proc/self/status >$SUBHOST/cpus",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
        let all = s.host("grep Cpus_allowed: /proc/self/status");
        assert_eq!(s.host("cat opt/cpus"), all);
    });
}

#[test]
fn the_inside_has_a_sysfs_of_its_own_network() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        let before = s.world();
        s.tool("subhost-start w").silent();
        let names = s.inside("w", "ls /sys/class/net");
        has(&names, &["eth0", "lo"]);
        lacks(&names, &["br0", "w0"]);
        s.stop("w", &before);
    });
}
