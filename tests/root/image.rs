//! An image file as the root: file systems, partitions, names.

use crate::common::*;
use crate::{findmnt, loop_devices, mounted};
use std::fs;

/// Mounts an image as the whole root, and as the upper of an overlay.
fn image_of(fstype: &'static str) {
    if !need_fs(fstype) || !need(&[&format!("mkfs.{fstype}")]) {
        return;
    }
    sandbox(move |s| {
        let w = s.image("w", fstype, "");
        mounted(s, &w, || {
            assert_eq!(findmnt(s, "FSTYPE", &w.path("mnt")), fstype);
            assert_eq!(loop_devices(s), 1);
            w.write("live/etc/new", "x");
            assert_eq!(w.read("mnt/root/etc/new"), "x");
        });
        assert_eq!(loop_devices(s), 0);
        mounted(s, &w, || assert_eq!(w.read("live/etc/new"), "x"));
        assert!(!w.exists("root/etc"), "written beside the image");

        let v = s.overlay("v", "");
        s.make_image(&v.path("v.img"), fstype, None);
        mounted(s, &v, || {
            assert_eq!(findmnt(s, "FSTYPE", &v.path("live")), "overlay");
            v.write("live/etc/new", "y");
            assert_eq!(v.read("mnt/root/etc/new"), "y");
            assert!(v.exists("live/bin/busybox"));
        });
        mounted(s, &v, || assert_eq!(v.read("live/etc/new"), "y"));
    });
}

#[test]
fn image_ext4() {
    image_of("ext4");
}

#[test]
fn image_xfs() {
    image_of("xfs");
}

#[test]
fn image_btrfs() {
    image_of("btrfs");
}

#[test]
fn image_with_a_name_type_and_options() {
    sandbox(|s| {
        let w = s.image(
            "w",
            "ext4",
            "IMAGE=disk.img\nIMAGE_FSTYPE=ext4\nIMAGE_OPTIONS=noatime,nodelalloc\n",
        );
        fs::rename(w.path("w.img"), w.path("disk.img")).unwrap();
        mounted(s, &w, || {
            assert_has(
                &findmnt(s, "OPTIONS", &w.path("mnt")),
                &["noatime", "nodelalloc"],
            );
        });
    });
}

/// Mounts partition `number` of an image. `table` is for sfdisk; the partition starts at 10 MiB.
fn partitioned(table: &'static str, number: u8) {
    if !need(&["sfdisk"]) {
        return;
    }
    sandbox(move |s| {
        let w = s.image("w", "ext4", &format!("IMAGE_PARTITION={number}\n"));
        s.host(&format!(
            "cd opt/w; mv w.img part; truncate -s 40M w.img; printf '{table}' | sfdisk -q w.img
             dd if=part of=w.img bs=1M seek=10 conv=notrunc status=none; rm part"
        ));
        mounted(s, &w, || {
            assert!(w.exists("live/bin/busybox"));
            w.write("live/etc/new", "x");
        });
        s.host("sfdisk -V -q opt/w/w.img");
        mounted(s, &w, || assert_eq!(w.read("live/etc/new"), "x"));
        w.config("IMAGE_PARTITION=9\n");
        let before = s.snapshot();
        s.tool("subhost-mount w").fails(1, &["w.img", "partition"]);
        s.assert_same(&before);
    });
}

#[test]
fn image_with_gpt() {
    partitioned(
        "label: gpt\\nstart=2048,size=2048\\nstart=20480,size=57344\\n",
        2,
    );
}

#[test]
fn image_with_mbr() {
    partitioned(
        "label: dos\\nstart=2048,size=2048\\nstart=20480,size=57344\\n",
        2,
    );
}

#[test]
fn image_with_a_logical_partition() {
    partitioned(
        "label: dos\\nw.img1 : start=18432,size=63000,type=5\\nw.img5 : start=20480,size=57344\\n",
        5,
    );
}

#[test]
fn a_missing_or_useless_image_is_named() {
    sandbox(|s| {
        let w = s.bare("w", "IMAGE=no.img\n");
        assert_refused(s, 1, &["no.img"]);
        w.write("no.img", "this is no file system");
        assert_refused(s, 1, &["no.img"]);
        fs::write(w.path("no.img"), vec![0; 1 << 20]).unwrap();
        assert_refused(s, 1, &["no.img"]);
        w.mkdir("dir.img");
        w.config("IMAGE=dir.img\n");
        assert_refused(s, 1, &["dir.img"]);
        assert!(s.snapshot().loops().is_empty());
    });
}

#[test]
fn an_image_without_root_and_work_is_refused() {
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        s.host("mkdir m; mount -o loop opt/w/w.img m; mv m/root m/tree; umount m");
        assert_refused(s, 1, &["image", "/root"]);
        let layer = s.layer("base");
        w.config(&setting("LOWER", &[layer]));
        s.host("mount -o loop opt/w/w.img m; mkdir m/root; rmdir m/work; umount m");
        assert_refused(s, 1, &["image", "/work"]);
        assert!(s.snapshot().loops().is_empty());
    });
}

#[test]
fn an_image_in_use_is_refused() {
    sandbox(|s| {
        let v = s.image("v", "ext4", "");
        let image = v.path("v.img");
        let w = s.bare("w", &format!("IMAGE={}\n", image.display()));
        let start = s.snapshot();
        s.tool("subhost-mount v").silent();
        assert_refused(s, 1, &[image.to_str().unwrap(), "v"]);
        s.tool("subhost-stop --sync v").silent();
        s.assert_same_now(&start);
        // The same for an image that somebody mounted by hand.
        s.host("mkdir m; mount -o loop opt/v/v.img m");
        assert_refused(s, 1, &[image.to_str().unwrap()]);
        s.host("umount m");
        s.tool("subhost-mount w").silent();
        s.stop("w", &start);
        drop(w);
    });
}

/// The kernel knows a file by its own name, not by that of a symlink to it.
#[test]
fn an_image_may_be_called_by_a_link_and_be_deleted_while_it_is_up() {
    sandbox(|s| {
        let w = s.image("w", "ext4", "IMAGE=link.img\n");
        s.host("ln -s w.img opt/w/link.img");
        let before = s.start("w");
        std::fs::rename(w.path("w.img"), w.path("old.img")).unwrap();
        s.stop("w", &before);
    });
}
