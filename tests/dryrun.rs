//! `-n` prints a shell script that makes exactly what the tool makes, and one that removes it.

mod common;

use common::{Sandbox, Snapshot, assert_lacks, need, need_fs, sandbox, setting};
use std::fs;

/// What is up: mounts, links, and the inside of the namespace `w`.
#[derive(PartialEq)]
struct Made {
    world: Snapshot,
    network: Vec<String>,
}

fn made(s: &Sandbox) -> Made {
    let mut network = Vec::new();
    if s.test("ip netns list | grep -qw w") {
        // Link-local addresses and their routes come when they like; the host's ends may have any MAC.
        let text = s.host(
            "ip -n w -o addr show scope global; ip -n w route; ip -n w -6 route; ip -n w -o link
             for i in /sys/class/net/*; do ip -o link show ${i##*/} | sed 's,link/ether [^ ]*,,'; done",
        );
        network = text
            .lines()
            .map(plain)
            .filter(|line| !line.contains("fe80"))
            .collect();
        network.sort();
    }
    Made {
        world: s.snapshot().without_numbers(),
        network,
    }
}

/// A line of `ip -o` without the kernel's numbers, and without what it reports a moment later.
fn plain(line: &str) -> String {
    let mut words: Vec<String> = line
        .split_whitespace()
        .map(|word| word.split("@if").next().unwrap())
        .map(|word| word.replace(",LOWER_UP", "").replace("NO-CARRIER,", ""))
        .filter(|word| !["tentative", "linkdown"].contains(&word.as_str()))
        .collect();
    if words[0].ends_with(':') {
        words.remove(0);
    }
    for key in ["state", "link-netns", "link-netnsid"] {
        if let Some(at) = words.iter().position(|word| word == key) {
            words.drain(at..at + 2);
        }
    }
    words.join(" ")
}

#[track_caller]
fn assert_equal(tool: &Made, script: &Made, text: &str) {
    let diff = tool.world.diff(&script.world);
    assert!(
        diff.is_empty(),
        "the script made other things:\n{diff}\n{text}"
    );
    assert_eq!(tool.network, script.network, "the script:\n{text}");
}

/// The script that a tool prints; printing it changes nothing.
#[track_caller]
fn script(s: &Sandbox, line: &str) -> String {
    let before = s.snapshot();
    let out = s.tool(line).ok();
    s.assert_same_now(&before);
    assert!(out.stdout.starts_with("set -e\n"), "{out}");
    assert_lacks(
        &out.stdout,
        &["subhost-mount", "subhost-net", "subhost-stop"],
    );
    out.stdout
}

/// Holds tool and script against each other for the subhost `w`.
fn compare(s: &Sandbox) {
    let empty = s.snapshot();
    let up = ["subhost-mount", "subhost-net"];
    for tool in up {
        s.tool(&format!("{tool} w")).silent();
    }
    let by_tool = made(s);
    s.stop("w", &empty);

    let scripts: String = up
        .iter()
        .map(|tool| script(s, &format!("{tool} -n w")))
        .collect();
    s.host(&scripts);
    assert_equal(&by_tool, &made(s), &scripts);

    // The other way, by script.
    let down = script(s, "subhost-stop -n w");
    s.host(&down);
    s.assert_same_but_state(&empty);

    // What a script made is ours: the tools find it there, and stop takes it down.
    s.host(&scripts);
    for tool in up {
        s.tool(&format!("{tool} w")).silent();
    }
    assert_equal(&by_tool, &made(s), &scripts);
    s.stop("w", &empty);
    s.host(&scripts);
    s.stop("w", &empty);

    // What a tool made, a script clears.
    for tool in up {
        s.tool(&format!("{tool} w")).silent();
    }
    let down = script(s, "subhost-stop -n w");
    s.host(&down);
    s.assert_same_but_state(&empty);
    s.stop("w", &empty);
}

#[test]
fn overlay() {
    sandbox(|s| {
        s.overlay("w", "");
        compare(s);
    });
}

#[test]
fn a_user_namespace() {
    if !need(&["perl"]) {
        return;
    }
    for kind in ["overlay", "read-only", "bind", "image", "volatile"] {
        sandbox(move |s| {
            s.bridge("br0");
            let config = "USERNS=yes\nBRIDGES=br0\nADDR0=192.0.2.10/24\n";
            match kind {
                "overlay" => drop(s.overlay("w", config)),
                "read-only" => drop(s.overlay("w", &format!("{config}READ_ONLY=yes\n"))),
                "bind" => drop(s.rbind("w", config)),
                "image" => drop(s.image("w", "ext4", config)),
                _ => drop(s.overlay("w", &format!("{config}VOLATILE=yes\n"))),
            }
            compare(s);
            // What a script made belongs to those inside as well.
            let scripts =
                ["subhost-mount", "subhost-net"].map(|tool| script(s, &format!("{tool} -n w")));
            s.host(&scripts.concat());
            s.tool("subhost-start w").silent();
            s.inside("w", "ip link set eth0 mtu 1400; stat -c %u / | grep -x 0");
            if kind != "read-only" {
                s.inside("w", "echo x > /srv/x; stat -c %u /srv/x | grep -x 0");
            }
            s.tool("subhost-stop w").silent();
        });
    }
}

#[test]
fn overlay_of_many_layers_with_odd_names() {
    sandbox(|s| {
        let mut layers = vec![s.layer("base")];
        for name in ["a b", "c:d", "it's"] {
            let dir = s.subhost.join("layers").join(name);
            fs::create_dir(&dir).unwrap();
            layers.push(dir);
        }
        s.bare("w", &setting("LOWER", &layers)).mkdir("root");
        compare(s);
    });
}

#[test]
fn rbind_with_a_submount() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.mkdir("root/data");
        s.host("mount -t tmpfs data opt/w/root/data");
        compare(s);
        assert!(s.test("findmnt opt/w/root/data"));
    });
}

#[test]
fn image() {
    sandbox(|s| {
        s.image("w", "ext4", "");
        compare(s);
    });
}

#[test]
fn image_partition_and_options() {
    if !need(&["sfdisk"]) {
        return;
    }
    sandbox(|s| {
        s.image("w", "ext4", "IMAGE_PARTITION=1\nIMAGE_OPTIONS=noatime\n");
        s.host(
            "cd opt/w; mv w.img part; truncate -s 40M w.img
             printf 'label: gpt\\nstart=20480,size=57344\\n' | sfdisk -q w.img
             dd if=part of=w.img bs=1M seek=10 conv=notrunc status=none; rm part",
        );
        compare(s);
    });
}

#[test]
fn a_layer_in_a_file() {
    if !need_fs("squashfs") || !need(&["mksquashfs"]) {
        return;
    }
    sandbox(|s| {
        s.layer("base");
        s.host("cd opt/layers; mksquashfs base base.sqfs -noappend -quiet >/dev/null");
        s.bare("w", "LOWER=\"$SUBHOST/layers/base.sqfs\"\n")
            .mkdir("root");
        compare(s);
    });
}

#[test]
fn volatile() {
    for kind in ["rbind", "overlay", "image"] {
        sandbox(move |s| {
            s.of_kind("w", kind, "VOLATILE=yes\n");
            compare(s);
        });
    }
}

#[test]
fn read_only() {
    for kind in ["rbind", "overlay", "image"] {
        sandbox(move |s| {
            s.of_kind("w", kind, "READ_ONLY=yes\n");
            compare(s);
        });
    }
}

#[test]
fn read_only_rbind_with_a_submount() {
    sandbox(|s| {
        let w = s.rbind("w", "READ_ONLY=yes\n");
        w.mkdir("root/data");
        s.host("mount -t tmpfs data opt/w/root/data");
        compare(s);
        assert!(s.test("touch opt/w/root/data/file"));
    });
}

#[test]
fn two_cables_with_addresses_and_routes() {
    sandbox(|s| {
        s.bridge("br0");
        s.bridge("br1");
        s.overlay(
            "w",
            "BRIDGES='br0=02:00:00:00:00:01 br1 ='\n\
             ADDR0='192.0.2.10/24 2001:db8::10/64'\n\
             ADDR1='198.51.100.10/24'\n\
             GATEWAY='192.0.2.1 2001:db8::1'\n\
             ROUTES='203.0.113.0/24=198.51.100.1'\n\
             MTU1=1400\nLINK=uplink\n",
        );
        compare(s);
    });
}

#[test]
fn no_namespace_of_its_own() {
    sandbox(|s| {
        s.overlay("w", "NET=host\n");
        compare(s);
    });
}

#[test]
fn a_script_that_fails_stops_there() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES='br0 br0'\n");
        let before = s.snapshot();
        let text = script(s, "subhost-net -n w");
        s.host("ip link delete br0");
        assert!(!s.test(&text));
        // Half of what a plan makes is nobody's: the person who typed it clears it.
        s.test("ip link delete w0");
        s.test("ip netns delete w");
        s.bridge("br0");
        s.assert_same(&before);
    });
}

#[test]
fn what_is_up_needs_no_step() {
    sandbox(|s| {
        s.overlay("w", "BRIDGES='='\n");
        let before = s.snapshot();
        s.tool("subhost-stop -n w").ok();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-net w").silent();
        let up = s.snapshot();
        for tool in ["subhost-mount", "subhost-net"] {
            let text = script(s, &format!("{tool} -n w"));
            s.host(&text);
            s.assert_same(&up);
        }
        s.stop("w", &before);
    });
}

#[test]
fn unmounting_can_be_printed_too() {
    sandbox(|s| {
        s.overlay("w", "BRIDGES='='\n");
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-net w").silent();
        for tool in ["subhost-mount", "subhost-net"] {
            let text = script(s, &format!("{tool} -u -n w"));
            s.host(&text);
        }
        s.assert_same_but_state(&before);
        s.stop("w", &before);
    });
}
