//! `subhost-mount`: paths, mount points, several subhosts, and what was taken away by hand.

use crate::common::*;
use crate::mounted;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[test]
fn subhosts_may_lie_in_a_directory_of_any_name() {
    for config in ["LOWER=\"'$SUBHOST/layers/base'\"\n", ""] {
        sandbox(move |s| {
            let odd = s.base.join("a b,c:d\\e");
            let base = s.layer("base");
            fs::rename(&s.subhost, &odd).unwrap();
            let moved = Sandbox {
                base: s.base.clone(),
                subhost: odd,
            };
            let w = moved.bare("w", config);
            w.mkdir("root/etc");
            mounted(&moved, &w, || {
                w.write("live/etc/new", "x");
                assert_eq!(w.read("root/etc/new"), "x");
                assert_eq!(w.exists("live/bin/busybox"), !config.is_empty());
            });
            fs::rename(&moved.subhost, base.ancestors().nth(2).unwrap()).unwrap();
        });
    }
}

#[test]
fn paths_may_be_given() {
    sandbox(|s| {
        let elsewhere = s.base.join("else where");
        fs::create_dir_all(elsewhere.join("up")).unwrap();
        fs::create_dir_all(elsewhere.join("tmp")).unwrap();
        let w = s.overlay(
            "w",
            &format!(
                "UPPER='{0}/up'\nWORK='{0}/tmp'\nLIVE=here/it\\ is\n",
                elsewhere.display()
            ),
        );
        w.mkdir("here/it is");
        mounted(s, &w, || {
            w.write("here/it is/new", "x");
            assert_eq!(fs::read_to_string(elsewhere.join("up/new")).unwrap(), "x");
        });
    });
}

#[test]
fn twice_is_silent() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-mount -u w").silent();
        s.tool("subhost-mount w").silent();
        let once = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.tool_s("subhost-mount w").silent();
        s.assert_same_now(&once);
        s.tool("subhost-mount -u w").silent();
        s.tool("subhost-mount -u w").silent();
        s.assert_same_but_state(&before);
        s.stop("w", &before);
    });
}

#[test]
fn several_names_are_each_done() {
    sandbox(|s| {
        let (a, b) = (s.overlay("a", ""), s.rbind("b", ""));
        let before = s.snapshot();
        s.tool("subhost-mount a nosuch b").fails(4, &["nosuch"]);
        assert!(a.exists("live/bin/sh") && b.exists("live/bin/sh"));
        s.tool("subhost-mount -u a b").silent();
        s.assert_same_but_state(&before);
        s.tool("subhost-stop a b").silent();
        s.assert_same(&before);
    });
}

#[test]
fn missing_mount_points_are_made_and_closed_to_others() {
    sandbox(|s| {
        for w in [
            s.overlay("o", ""),
            s.rbind("r", ""),
            s.image("i", "ext4", ""),
        ] {
            mounted(s, &w, || assert!(w.exists("live/bin/busybox")));
            let mode = fs::metadata(w.path("live")).unwrap().mode();
            assert_eq!(mode & 0o022, 0, "others can write: {mode:o}");
        }
    });
}

#[test]
fn a_running_root_is_not_unmounted() {
    started("", |s, w| {
        s.tool("subhost-mount -u w")
            .fails(75, &["w", "subhost-stop"]);
        assert!(w.exists("live/bin/busybox"));
        assert_eq!(s.state("w"), "running");
    });
}

#[test]
fn a_mount_taken_away_by_hand_is_put_back() {
    sandbox(|s| {
        let w = s.overlay("w", "VOLATILE=yes\n");
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.host("umount opt/w/live");
        assert_eq!(s.state("w"), "broken");
        s.tool("subhost-mount w").silent();
        assert!(w.exists("live/bin/busybox"));
        assert_eq!(s.state("w"), "hibernating");
        s.host("umount opt/w/live");
        s.stop("w", &before);
    });
}

#[test]
fn a_missing_root_or_layer_is_named() {
    sandbox(|s| {
        let w = s.bare("w", "");
        assert_refused(s, 1, &[w.path("root").to_str().unwrap(), "make it"]);
        assert!(!w.exists("root"), "a root was made");
        w.config("LOWER='/no/such /no/other'\n");
        w.mkdir("root");
        assert_refused(s, 1, &["/no/such"]);
        assert!(!Path::new("/no").exists());
        w.config("LOWER=\"$SUBHOST/layers/base\"\nUPPER=/no/upper\n");
        s.layer("base");
        assert_refused(s, 1, &["/no/upper", "mkdir it"]);
    });
}
