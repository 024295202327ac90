//! What is not ours stays: mounts, namespaces, links and subhosts of the same name.

use crate::common::*;

/// Runs `make`, which makes something that is not ours under a name that we use. Asserts that `tool` and a start
/// refuse with `parts`, and that neither they nor a stop change it.
#[track_caller]
fn foreign(s: &Sandbox, make: &str, tool: &str, parts: &[&str], clear: &str) {
    s.host(make);
    let with = s.snapshot();
    for tool in [tool, "subhost-start"] {
        s.tool(&format!("{tool} w")).fails(1, parts);
        s.assert_same(&with);
    }
    for tool in [
        "subhost-stop w",
        "subhost-stop -l --kill-holders w",
        &format!("{tool} -u w"),
    ] {
        s.tool(tool).run();
        s.assert_same(&with);
    }
    s.host(clear);
}

#[test]
fn a_foreign_namespace_is_left_alone() {
    sandbox(|s| {
        s.overlay("w", "");
        let add = "ip netns add w; ip -n w link add br7 type bridge";
        foreign(
            s,
            add,
            "subhost-net",
            &["/run/netns/w"],
            "ip netns delete w",
        );
        let before = s.start("w");
        s.stop("w", &before);
    });
}

#[test]
fn a_foreign_link_is_left_alone() {
    sandbox(|s| {
        s.cabled("w", "");
        let net = |make: &str| {
            foreign(s, make, "subhost-net", &["w0"], "ip link delete w0");
        };
        net("ip link add w0 type bridge");
        net("ip link add w0 type veth peer name other");
        net("ip link add w0 type veth peer name other; ip link set w0 alias mine");
        let before = s.start("w");
        s.stop("w", &before);
    });
}

#[test]
fn a_foreign_mount_is_left_alone() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.mkdir("live");
        let mount = |make: &str| {
            foreign(s, make, "subhost-mount", &["live"], "umount opt/w/live");
        };
        mount("mount -t tmpfs mine opt/w/live");
        mount("mount --bind opt/layers/base opt/w/live");
        mount(
            "mkdir -p u k; mount -t overlay mine opt/w/live -o lowerdir=opt/layers/base,upperdir=u,workdir=k",
        );
    });
}

#[test]
fn what_a_leftover_of_a_crash_needs_is_no_refusal() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        // An empty file in /run/netns, as `ip netns add` leaves when it is killed.
        s.host("touch /run/netns/w");
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

/// A subhost of the same name in another tree was once taken for ours.
#[test]
fn another_trees_subhost_of_the_same_name_is_not_ours() {
    sandbox(|s| {
        s.overlay("w", "");
        s.host("mkdir -p other/w/root; chmod 700 other; echo LOWER=$PWD/opt/layers/base >other/w/config");
        let other = format!("-S {}/other w", s.base.display());
        let before = s.start("w");
        let here = s.subhost.to_str().unwrap();
        s.tool(&format!("subhost-start {other}")).fails(5, &[here]);
        s.tool(&format!("subhost-enter {other} -- true"))
            .fails(125, &[here]);
        s.tool(&format!("subhost-stop {other}")).fails(5, &[here]);
        s.tool(&format!("subhost-info {other}")).fails(5, &[here]);
        assert_eq!(s.state("w"), "running");
        s.stop("w", &before);
        // Its root or its network alone is enough.
        for (half, other_half) in [("mount", "net"), ("net", "mount")] {
            s.tool(&format!("subhost-{half} w")).silent();
            let with = s.snapshot();
            for verb in [other_half, half] {
                s.tool(&format!("subhost-{verb} {other}")).fails(5, &[here]);
                s.tool(&format!("subhost-{verb} -u {other}"))
                    .fails(5, &[here]);
            }
            s.assert_same(&with);
            s.tool("subhost-start w").silent();
            s.stop("w", &before);
        }
    });
}
