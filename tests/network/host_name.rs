//! HOSTNAME, DNS and the files of /etc that are made of them.

use crate::common::*;

#[test]
fn resolv_conf_hosts_and_host_name_are_given_and_the_tree_is_left_alone() {
    sandbox(|s| {
        let w = s.cabled(
            "w",
            "ADDR0='192.0.2.10/24'\nDNS='192.0.2.53 2001:db8::53'\nSEARCH=example.org\n\
             HOSTNAME=web.example.org\n",
        );
        let before = s.start("w");
        let resolv = s.inside("w", "cat /etc/resolv.conf");
        assert_has(
            &resolv,
            &[
                "nameserver 192.0.2.53",
                "nameserver 2001:db8::53",
                "search example.org",
            ],
        );
        assert_lacks(&resolv, &["203.0.113.1"]);
        let hosts = s.inside("w", "cat /etc/hosts");
        assert_has(&hosts, &["localhost", "192.0.2.10", "web.example.org"]);
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
        let before = s.snapshot();
        let host = s.host("hostname");
        s.tool("subhost-start w").silent();
        assert_eq!(s.inside("w", "hostname"), "w");
        s.enter("w", "hostname other").run(); // Whether it may is another matter.
        assert_eq!(s.host("hostname"), host);
        s.stop("w", &before);
    });
}
