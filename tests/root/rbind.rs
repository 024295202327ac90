//! A directory as the root.

use crate::common::*;
use crate::{findmnt, mounted};

#[test]
fn rbind_shows_the_tree_with_its_submounts() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.mkdir("root/data");
        s.host("mount -t tmpfs data opt/w/root/data; echo kept >opt/w/root/data/f");
        mounted(s, &w, || {
            assert_eq!(w.read("live/data/f"), "kept\n");
            w.write("live/etc/new", "x");
            assert_eq!(w.read("root/etc/new"), "x");
        });
        assert_eq!(
            w.read("root/data/f"),
            "kept\n",
            "the host's submount is gone"
        );
    });
}

#[test]
fn rbind_and_the_host_share_no_later_mount() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        mounted(s, &w, || {
            s.host("mount -t tmpfs inner opt/w/live/mnt");
            assert_eq!(findmnt(s, "SOURCE", &w.path("root/mnt")), "");
            s.host("umount opt/w/live/mnt");
        });
    });
}

#[test]
fn what_the_host_mounts_is_left_alone() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.mkdir("root/data");
        s.host("mount -t tmpfs data opt/w/root/data; mkdir -p opt/w/root/data/deep");
        s.host("mount -t tmpfs deep opt/w/root/data/deep; echo x >opt/w/root/data/deep/file");
        let before = s.start("w");
        assert_eq!(s.inside("w", "cat /data/deep/file"), "x");
        s.enter("w", "umount /data/deep").run(); // Whether it may is another matter.
        assert!(
            w.exists("root/data/deep/file"),
            "the inside unmounted the host's"
        );
        s.stop("w", &before);
    });
}
