//! What is ours after somebody has moved, replaced or damaged it: the tools know it by what the kernel calls
//! it, not by its path.

use crate::common::*;
use std::fs;

/// A subhost whose directory was moved while it was up was once listed as stopped.
#[test]
fn a_subhost_that_was_moved_while_it_was_up_is_found() {
    for (kind, lasting) in KINDS
        .into_iter()
        .flat_map(|kind| [(kind, true), (kind, false)])
    {
        sandbox(move |s| {
            s.bridge("br0");
            let config = "BRIDGES=br0\n";
            s.of_kind("w", kind, config);
            s.tool("subhost-start w").silent();
            s.tool("subhost-stop --sync w").silent();
            let before = s.start("w");
            if !lasting {
                // Before Linux 6.8 mounts have no unique id.
                s.host("sed -i 's/\"unique\":[0-9]*/\"unique\":0/' /run/subhost/w/root.plan");
            }
            s.host("mv opt/w opt/moved");
            assert_eq!(s.state("w"), "running");
            s.tool("subhost-stop --sync w").silent();
            s.assert_same_now(&before);
        });
    }
}

/// A namespace made by `ip netns add w` was once taken for that of a subhost without cables, and the stop removed it.
#[test]
fn a_bare_namespace_of_the_name_is_not_ours() {
    sandbox(|s| {
        s.overlay("w", "");
        s.host("ip netns add w");
        let with = s.snapshot();
        s.tool("subhost-net w").fails(1, &["/run/netns/w", "lo"]);
        s.tool("subhost-start w").fails(1, &["/run/netns/w"]);
        s.tool("subhost-stop w").run();
        s.tool("subhost-net -u w").run();
        s.assert_same(&with);
        s.host("ip netns delete w");
    });
}

/// The namespace and the link have the right names, but another subhost's config would have made them.
#[test]
fn a_namespace_with_somebody_elses_cable_is_not_ours() {
    sandbox(|s| {
        s.cabled("w", "");
        s.host("ip netns add w; ip link add w0 type veth peer name eth0 netns w; ip link set w0 alias mine");
        let with = s.snapshot();
        s.tool("subhost-start w").fails(1, &["/run/netns/w"]);
        s.tool("subhost-stop w").run();
        s.assert_same(&with);
        s.host("ip netns delete w");
    });
}

/// Somebody removed our namespace and made another. The inode number on nsfs is often the same.
#[test]
fn a_namespace_that_replaced_ours_is_left_alone() {
    sandbox(|s| {
        s.overlay("w", "");
        s.tool("subhost-net w").silent();
        s.host("ip netns delete w; sleep 0.2; ip netns add w");
        s.tool("subhost-list").ok();
        assert_eq!(s.state("w"), "broken");
        s.tool("subhost-stop w")
            .fails(1, &["left alone", "/run/netns/w"]);
        assert_eq!(s.host("ip netns list"), "w");
        s.host("ip netns delete w");
        s.tool("subhost-stop w").silent();
        assert_eq!(s.state("w"), "stopped");
    });
}

/// The first `ip netns add` binds /run/netns onto itself, and a service may have a mount namespace of its own. The
/// namespace is then seen by another mount and is still ours.
#[test]
fn ours_is_known_from_another_mount_namespace() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.start("w");
        let list = s
            .sh("unshare -m --propagation slave subhost-list -o state w")
            .ok();
        assert_eq!(list.text(), "running");
        s.sh("unshare -m --propagation shared subhost-stop w").ok();
        assert_eq!(s.host("ip netns list"), "");
        s.tool("subhost-stop --sync w").silent();
        s.assert_same(&before);
    });
}

/// The cable was once left: the kernel removes it with the namespace only if one end is in there.
#[test]
fn an_inner_end_that_was_taken_out_goes_too() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=\"br0 br0\"\n");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        s.host("ip netns add other; ip netns exec w ip link set eth0 netns other");
        s.tool("subhost-stop w").silent();
        assert_eq!(s.host("ip -n other -br link show type veth"), "");
        s.host("ip netns delete other");
        s.assert_same(&before);
        s.tool("subhost-net w").silent();
        s.sh("ip netns exec w ip link set eth1 netns $$; ip -br link show eth1")
            .ok();
        s.tool("subhost-stop w").silent();
        s.assert_same(&before);
    });
}

/// /run may survive a boot. The state in it is then of an earlier boot, and nothing that it names exists.
#[test]
fn an_earlier_boot_is_over() {
    sandbox(|s| {
        s.cabled("w", "");
        s.overlay("v", "");
        let before = s.snapshot();
        s.tool("subhost-start w v").silent();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let earlier = "00000000-1111-2222-3333-444444444444";
        s.host(&format!(
            "cp -a /run/subhost saved; sed -i s/{}/{earlier}/ saved/*/*.plan saved/*/init",
            boot.trim()
        ));
        s.tool("subhost-stop --sync w v").silent();
        s.host("cp -a saved /run/subhost");
        assert_eq!(s.state("w"), "stopped");
        s.tool("subhost-info w").fails(3, &[]);
        s.tool("subhost-enter -j w -- true")
            .fails(3, &["not running"]);
        s.tool("subhost-start w").silent();
        assert_eq!(s.state("w"), "running");
        s.tool("subhost-stop w v").silent();
        s.host("rm -r saved");
        s.assert_same(&before);
    });
}

/// While the root of an image was busy, a stop once unmounted the image under it. A start could not repair that.
#[test]
fn what_is_under_a_busy_root_stays() {
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --sync w").silent();
        let before = s.start("w");
        let mut holder = s.sh("exec sleep 1000").cwd(&w.path("live")).start();
        s.tool("subhost-stop w").fails(1, &["live", "sleep"]);
        assert_eq!(s.state("w"), "hibernating");
        s.tool("subhost-start w").silent();
        assert_eq!(s.inside("w", "echo in"), "in");
        holder.kill();
        holder.wait();
        s.stop("w", &before);
    });
}

/// A list once called a subhost `broken` while another tool started it, and a script repaired it.
#[test]
fn what_is_at_work_is_not_broken() {
    sandbox(|s| {
        s.bridge("br0");
        let hook = s.base.join("hook");
        s.overlay("w", &format!("BRIDGES=br0\nPOSTNET={}\n", hook.display()));
        s.host("printf '#!/bin/sh\\nsleep 0.4\\n' >hook; chmod 755 hook");
        let before = s.snapshot();
        let start = s.tool("subhost-start w").start();
        eventually("its network is being made", || {
            fs::exists("/run/subhost/w/net.plan").unwrap()
        });
        // It is mounted and has no process yet.
        let state = s.state("w");
        assert!(["hibernating", "running"].contains(&&*state), "{state}");
        assert_eq!(start.wait().code, 0);
        s.stop("w", &before);
        // A list waits only for a short time; then it names the tool at work.
        s.host("printf '#!/bin/sh\\nuntil [ -e %s/go ]; do sleep 0.1; done\\n' $PWD >hook");
        let start = s.tool("subhost-start w").start();
        eventually("its network is being made", || {
            fs::exists("/run/subhost/w/net.plan").unwrap()
        });
        let info = s.tool("subhost-info w").run();
        assert_has(
            &info.stdout,
            &["at work", "subhost-start", &start.pid().to_string()],
        );
        s.host("touch go");
        assert_eq!(start.wait().code, 0);
        s.stop("w", &before);
    });
}

/// A plan that could not be read, for example for lack of memory, once counted as none, and the state of a running
/// subhost was removed.
#[test]
fn a_plan_that_cannot_be_read_is_not_lost() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        let up = s.snapshot();
        s.host("mv /run/subhost/w/net.plan saved; ln -s saved /run/subhost/w/net.plan");
        s.tool("subhost-stop w").fails(1, &["net.plan"]);
        s.host("rm /run/subhost/w/net.plan; mv saved /run/subhost/w/net.plan");
        s.assert_same(&up);
        s.stop("w", &before);
    });
}

/// A process in another mount namespace kept the overlay and the loop device in use, and `subhost-stop --sync` did
/// not report it.
#[test]
fn a_copy_in_another_mount_namespace_is_named() {
    for kind in ["overlay", "image"] {
        sandbox(move |s| {
            let _w = match kind {
                "overlay" => s.overlay("w", ""),
                _ => s.image("w", "ext4", ""),
            };
            s.tool("subhost-start w").silent();
            s.tool("subhost-stop --sync w").silent();
            let before = s.start("w");
            let hold = "exec unshare -m --propagation private sleep 1000";
            let copying = |pid: i32| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.trim() == "sleep")
            };
            let mut holder = s.sh(hold).start();
            eventually("it has a copy", || copying(holder.pid()));
            let pid = holder.pid().to_string();
            s.tool("subhost-stop --sync w").fails(
                1,
                &["another mount namespace", &pid, "sleep", "--kill-holders"],
            );
            assert_eq!(s.state("w"), "stopped");
            holder.kill();
            holder.wait();
            s.assert_same(&before);
            // A mount namespace that receives our unmounts holds nothing, and its processes are not killed.
            s.tool("subhost-start w").silent();
            let mut follower = s
                .sh("exec unshare -m --propagation slave sleep 1000")
                .start();
            eventually("it follows", || copying(follower.pid()));
            let mut holder = s.sh(hold).start();
            eventually("it has a copy", || copying(holder.pid()));
            s.tool("subhost-stop --kill-holders w").silent();
            assert!(!holder.runs());
            assert!(follower.runs());
            follower.kill();
            follower.wait();
            s.assert_same(&before);
        });
    }
}

/// A stop once waited a second for the loop device of a layer that another subhost also uses.
#[test]
fn a_layer_that_others_use_is_not_waited_for() {
    sandbox(|s| {
        let from = s.layer("base");
        s.host(&format!(
            "truncate -s 24M layer.img; mkfs.ext4 -q -d {} layer.img",
            from.display()
        ));
        for name in ["w", "v"] {
            let layer = setting("LOWER", &[s.base.join("layer.img")]);
            s.bare(name, &layer).mkdir("root");
        }
        let stopped = || {
            let start = std::time::Instant::now();
            s.tool("subhost-stop --sync w").silent();
            start.elapsed().as_millis()
        };
        s.tool("subhost-start w").silent();
        let alone = stopped();
        s.tool("subhost-start w v").silent();
        let together = stopped();
        assert!(together < alone + 1000, "{together} ms, alone {alone} ms");
        assert_eq!(s.snapshot().loops().len(), 1);
        s.tool("subhost-stop --sync v").silent();
    });
}
