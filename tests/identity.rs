//! What is ours and what is not, when somebody else has moved, replaced or damaged things since: by
//! what the kernel calls them, not by where they are.

mod common;

use common::*;
use std::fs;

/// The mounts of a subhost whose directory was moved away were lost sight of.
#[test]
fn a_subhost_that_was_moved_while_it_was_up_is_found() {
    let kinds = ["overlay", "rbind", "image"];
    for (kind, lasting) in kinds
        .into_iter()
        .flat_map(|kind| [(kind, true), (kind, false)])
    {
        sandbox(move |s| {
            s.bridge("br0");
            let config = "BRIDGES=br0\n";
            let _w = match kind {
                "overlay" => s.overlay("w", config),
                "rbind" => s.rbind("w", config),
                _ => s.image("w", "ext4", config),
            };
            s.tool("subhost-start w").silent();
            s.tool("subhost-stop --sync w").silent();
            let before = s.world();
            s.tool("subhost-start w").silent();
            if !lasting {
                // As before Linux 6.8, which has no ids for good.
                s.host("sed -i 's/\"unique\":[0-9]*/\"unique\":0/' /run/subhost/w/root.plan");
            }
            s.host("mv opt/w opt/moved");
            assert_eq!(s.state("w"), "running");
            s.tool("subhost-stop --sync w").silent();
            s.same_now(&before);
        });
    }
}

/// `ip netns add w` alone was taken for a subhost's without cables, and removed by its stop.
#[test]
fn a_bare_namespace_of_the_name_is_not_ours() {
    sandbox(|s| {
        s.overlay("w", "");
        s.host("ip netns add w");
        let with = s.world();
        s.tool("subhost-net w").fails(1, &["/run/netns/w", "lo"]);
        s.tool("subhost-start w").fails(1, &["/run/netns/w"]);
        s.tool("subhost-stop w").run();
        s.tool("subhost-net -u w").run();
        s.same(&with);
        s.host("ip netns delete w");
    });
}

/// A namespace and a link of the right names, and a subhost that would have made others.
#[test]
fn a_namespace_with_somebody_elses_cable_is_not_ours() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        s.host("ip netns add w; ip link add w0 type veth peer name eth0 netns w; ip link set w0 alias mine");
        let with = s.world();
        s.tool("subhost-start w").fails(1, &["/run/netns/w"]);
        s.tool("subhost-stop w").run();
        s.same(&with);
        s.host("ip netns delete w");
    });
}

/// Ours was removed by hand and another made: its nsfs inode is mostly the same.
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

/// A first `ip netns add` of another binds the whole directory onto itself; a service may have a mount
/// namespace of its own: ours is then another mount, and still ours.
#[test]
fn ours_is_known_from_another_mount_namespace() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        let list = s
            .sh("unshare -m --propagation slave subhost-list -o state w")
            .ok();
        assert_eq!(list.text(), "running");
        s.sh("unshare -m --propagation shared subhost-stop w").ok();
        assert_eq!(s.host("ip netns list"), "");
        s.tool("subhost-stop --sync w").silent();
        s.same(&before);
    });
}

/// The pair was left: it goes with the namespace only if its other end is there.
#[test]
fn an_inner_end_that_was_taken_out_goes_too() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=\"br0 br0\"\n");
        let before = s.world();
        s.tool("subhost-net w").silent();
        s.host("ip netns add other; ip netns exec w ip link set eth0 netns other");
        s.tool("subhost-stop w").silent();
        assert_eq!(s.host("ip -n other -br link show type veth"), "");
        s.host("ip netns delete other");
        s.same(&before);
        s.tool("subhost-net w").silent();
        s.sh("ip netns exec w ip link set eth1 netns $$; ip -br link show eth1")
            .ok();
        s.tool("subhost-stop w").silent();
        s.same(&before);
    });
}

/// State of an earlier boot, as where /run outlives one: it speaks of nothing that is there.
#[test]
fn an_earlier_boot_is_over() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        s.overlay("v", "");
        let before = s.world();
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
        s.same(&before);
    });
}

/// With an image, the root stayed busy and the image under it was unmounted all the same: what was
/// left was broken, and a start could not repair it.
#[test]
fn what_is_under_a_busy_root_stays() {
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --sync w").silent();
        let before = s.world();
        s.tool("subhost-start w").silent();
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

/// A list told `broken` of what was being started, and a script repaired it.
#[test]
fn what_is_at_work_is_not_broken() {
    sandbox(|s| {
        s.bridge("br0");
        let hook = s.base.join("hook");
        s.overlay("w", &format!("BRIDGES=br0\nPOSTNET={}\n", hook.display()));
        s.host("printf '#!/bin/sh\\nsleep 0.4\\n' >hook; chmod 755 hook");
        let before = s.world();
        let start = s.tool("subhost-start w").start();
        eventually("its network is being made", || {
            fs::exists("/run/subhost/w/net.plan").unwrap()
        });
        // Up and not booted yet it hibernates.
        let state = s.state("w");
        assert!(["hibernating", "running"].contains(&&*state), "{state}");
        assert_eq!(start.wait().code, 0);
        s.stop("w", &before);
        // Longer than anybody wants to wait for a list: then it says who is at work.
        s.host("printf '#!/bin/sh\\nuntil [ -e %s/go ]; do sleep 0.1; done\\n' $PWD >hook");
        let start = s.tool("subhost-start w").start();
        eventually("its network is being made", || {
            fs::exists("/run/subhost/w/net.plan").unwrap()
        });
        let info = s.tool("subhost-info w").run();
        has(
            &info.stdout,
            &["at work", "subhost-start", &start.pid().to_string()],
        );
        s.host("touch go");
        assert_eq!(start.wait().code, 0);
        s.stop("w", &before);
    });
}

/// A plan that could not be read, as for want of memory, counted as none, and the state was tidied
/// away from under what was up.
#[test]
fn a_plan_that_cannot_be_read_is_not_lost() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-net w").silent();
        let up = s.world();
        s.host("mv /run/subhost/w/net.plan saved; ln -s saved /run/subhost/w/net.plan");
        s.tool("subhost-stop w").fails(1, &["net.plan"]);
        s.host("rm /run/subhost/w/net.plan; mv saved /run/subhost/w/net.plan");
        s.same(&up);
        s.stop("w", &before);
    });
}

/// A process of another mount namespace kept overlay and loop device in use, and a stop that was to
/// wait for the kernel said nothing.
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
            let before = s.world();
            s.tool("subhost-start w").silent();
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
            s.same(&before);
            // A namespace that follows ours holds nothing: whoever is in it is spared.
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
            s.same(&before);
        });
    }
}

/// A stop waited a second for the loop device of a layer that another subhost has as well.
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
        assert_eq!(s.world().loops().len(), 1);
        s.tool("subhost-stop --sync v").silent();
    });
}
