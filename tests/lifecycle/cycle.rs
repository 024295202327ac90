//! The whole cycle: mount, network, enter, start, hibernate, stop, for each kind of root.

use crate::common::*;
use std::fs;
use std::path::Path;

/// Runs the whole cycle from mount to stop. With `forget`, the config is removed before the stop.
fn whole_cycle(s: &Sandbox, w: &Subhost, forget: bool) {
    let before = s.snapshot();
    s.tool("subhost-mount w").silent();
    s.tool("subhost-net w").silent();
    assert_eq!(s.state("w"), "hibernating");
    s.enter("w", "echo hi >/root/file; sleep 1000 & exit 7")
        .fails(7, &[]);
    assert!(!s.runs("sleep 1000"), "a process outlived its PID 1");
    assert_eq!(s.state("w"), "hibernating");
    assert_has(
        &s.host("ip netns list; findmnt -no TARGET opt/w/live"),
        &["w", "live"],
    );
    assert_eq!(s.inside("w", "cat /root/file"), "hi");

    s.tool("subhost-start w").silent();
    assert_eq!(s.state("w"), "running");
    if forget {
        fs::remove_file(w.path("config")).unwrap();
    }
    let init = s.pid("w");
    assert_eq!(s.inside("w", "cat /root/file; hostname"), "hi\nw");
    assert_eq!(s.pid("w"), init, "entering joins");
    assert_has(
        &s.tool("subhost-info w").ok().stdout,
        &["running", &init.to_string()],
    );
    s.stop("w", &before);
    assert!(!Path::new("/run/subhost").exists());
    if !forget {
        assert_eq!(s.state("w"), "stopped");
    }
}

fn each_kind(test: fn(&Sandbox, &Subhost)) {
    sandbox(move |s| test(s, &s.overlay("w", "")));
    sandbox(move |s| test(s, &s.rbind("w", "")));
    sandbox(move |s| test(s, &s.image("w", "ext4", "")));
}

#[test]
fn the_whole_cycle() {
    each_kind(|s, w| whole_cycle(s, w, false));
}

#[test]
fn the_whole_cycle_with_the_config_gone_before_the_stop() {
    each_kind(|s, w| whole_cycle(s, w, true));
}

#[test]
fn the_whole_cycle_on_a_host_of_private_mounts_with_cables() {
    sandbox_private(|s| {
        s.bridge("br0");
        let w = s.overlay("w", "BRIDGES='br0 ='\nADDR0=192.0.2.10/24\n");
        whole_cycle(s, &w, false);
    });
}

#[test]
fn the_whole_cycle_from_a_script_with_nothing_around_it() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.snapshot();
        let script = s.base.join("script");
        fs::write(
            &script,
            format!(
                "set -e; SUBHOST={}; export SUBHOST; t={}; \
                 $t/subhost-mount w; $t/subhost-net w; \
                 $t/subhost-enter w -- sh -c 'echo hi >/root/file; exit 7' || [ $? = 7 ]; \
                 $t/subhost-list -o state w; \
                 $t/subhost-enter w -- cat /root/file; \
                 $t/subhost-start w; $t/subhost-list -o state w; \
                 $t/subhost-enter w -- hostname; \
                 $t/subhost-stop --sync w",
                s.subhost.display(),
                tools_dir()
            ),
        )
        .unwrap();
        let out = s
            .sh(&format!(
                "exec env -i /bin/sh {} </dev/null",
                script.display()
            ))
            .ok();
        assert_eq!(out.text(), "hibernating\nhi\nrunning\nw", "{out}");
        s.assert_same_now(&before);
        assert_eq!(w.read("root/root/file"), "hi\n");
    });
}

#[test]
fn keep_hibernates() {
    started("", |s, w| {
        s.inside(
            "w",
            "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo x >/root/file",
        );
        let first = s.pid("w");
        s.tool("subhost-stop --keep w").silent();
        assert_eq!(s.state("w"), "hibernating");
        assert!(!s.runs("sleep 1000"));
        assert!(w.exists("live/root/file"));
        s.host("ip netns list | grep -q w");
        s.tool("subhost-stop --keep w").silent();
        s.tool("subhost-start w").silent();
        assert_ne!(s.pid("w"), first);
    });
}

#[test]
fn enter_takes_down_only_what_it_brought_up() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.snapshot();
        assert_eq!(s.inside("w", "echo $$ >/root/pid; hostname"), "w");
        s.assert_same(&before);

        s.tool("subhost-mount w").silent();
        let mounted = s.snapshot();
        s.inside("w", "true");
        s.assert_same_but_state(&mounted);
        assert!(w.exists("live/bin/sh"));
        assert_eq!(s.host("ip netns list"), "");
        s.stop("w", &before);
    });
}

#[test]
fn start_and_stop_twice_are_silent() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-stop w").silent();
        s.tool("subhost-start w").silent();
        let init = s.pid("w");
        let once = s.start("w");
        assert_eq!(s.pid("w"), init);
        s.assert_same_now(&once);
        s.stop("w", &before);
        s.tool("subhost-stop w").silent();
        s.assert_same_now(&before);
    });
}

#[test]
fn control_does_what_the_tools_do() {
    let control = Path::new(env!("CARGO_MANIFEST_DIR")).join("subhosts.example/control");
    sandbox(move |s| {
        s.overlay("w", "");
        fs::copy(&control, s.subhost.join("control")).unwrap();
        let before = s.snapshot();
        let run = |words: &str| {
            s.sh(&format!(
                "unset SUBHOST; {}/control {words}",
                s.subhost.display()
            ))
        };
        run("start w").silent();
        assert_eq!(run("w:hostname").ok().text(), "w");
        assert_eq!(run("enter w -- hostname").ok().text(), "w");
        assert_has(&run("list").ok().stdout, &["running"]);
        let first = s.pid("w");
        run("restart w").silent();
        assert_ne!(s.pid("w"), first);
        run("status w").ok();
        run("stop w").silent();
        run("status w").fails(3, &[]);
        s.assert_same(&before);
    });
}

#[test]
fn a_debian_tree_lives_the_same_life() {
    // debootstrap takes minutes, so that the tree is made by hand.
    let Ok(tree) = std::env::var("SUBHOST_TEST_TREE") else {
        return println!("SKIP: SUBHOST_TEST_TREE names no tree");
    };
    sandbox(move |s| {
        let w = s.bare("w", &format!("LOWER={}\n", quote(quote(&tree))));
        w.mkdir("root");
        whole_cycle(s, &w, false);
        let before = s.snapshot();
        let out = s.inside("w", "dpkg --version; id");
        assert_has(&out, &["Debian", "uid=0(root)"]);
        s.assert_same(&before);
    });
}
