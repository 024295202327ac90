//! A namespace that somebody holds open after the stop: it keeps neither names nor addresses.

use crate::common::*;

#[test]
fn a_held_namespace_does_not_keep_the_names() {
    sandbox(|s| {
        s.cabled("w", "");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        let mut holder = s.sh("exec nsenter --net=/run/netns/w sleep 1000").start();
        eventually("the holder is inside", || {
            s.host("ip netns pids w")
                .contains(&holder.pid().to_string())
        });
        let out = s.tool("subhost-stop w").run();
        assert_has(&out.stderr, &[&holder.pid().to_string(), "sleep"]);
        assert!(holder.runs(), "a process of the host was ended unasked");
        assert!(!s.test("ip link show w0"), "the host end is still there");
        holder.kill();
        holder.wait();
        s.tool("subhost-stop --sync w").run();
        s.assert_same(&before);
    });
}

/// Only an open file holds the namespace, and no tool can find it. The cable goes when the file is closed; until then
/// nothing answers on it.
#[test]
fn a_namespace_that_is_kept_has_no_addresses() {
    kept_is_silent("subhost-stop w", |s, kept| {
        let left = s.host(&format!("nsenter --net={kept} ip -o address"));
        assert_lacks(&left, &["inet ", "eth0", "other"]);
    });
}

/// If the addresses cannot be removed, the stop takes the cable down.
#[test]
fn the_cable_of_a_namespace_that_keeps_its_addresses_is_cut() {
    let no_socket =
        "strace -qqo $SUBHOST/told -e inject=socket:error=EMFILE:when=2+ subhost-stop w";
    kept_is_silent(no_socket, |s, _| {
        assert_has(&s.host("cat opt/told"), &["AF_INET", "EMFILE"]);
        s.host("rm opt/told");
        let kept = s.json("ip -j link show type veth");
        let flags = kept[0]["flags"].as_array().unwrap();
        assert!(!flags.contains(&"LOWER_UP".into()), "{kept}");
    });
}

/// Runs `stop` while an open file holds the namespace, and calls `check` with the path of that file. Asserts that no
/// address answers any more and that the names are free.
fn kept_is_silent(stop: &'static str, check: fn(&Sandbox, &str)) {
    sandbox(move |s| {
        s.cabled("w", "ADDR0='192.0.2.10/24 2001:db8::10/64'\n");
        s.host("ip address add 192.0.2.1/24 dev br0; ip address add 2001:db8::1/64 dev br0 nodad");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        // More addresses than fit in one netlink message, some on another link or with a label.
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
        // The name and the address are free.
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
        s.assert_same(&before);
    });
}
