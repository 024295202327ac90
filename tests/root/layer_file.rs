//! A file with a file system as a layer.

use crate::common::*;
use crate::{findmnt, loop_devices, mounted};
use std::fs;

/// Makes a file with a file system by the command `make`, and mounts it as the layer of a writable root.
fn layer_file(fstype: &'static str, make: &'static str) {
    let maker = make.split(' ').next().unwrap();
    if !need_fs(fstype) || !need(&[maker]) {
        return;
    }
    sandbox(move |s| {
        let base = s.layer("base");
        let file = s.subhost.join(format!("layers/base.{fstype}"));
        let make = make.replace("FROM", base.to_str().unwrap());
        s.host(&format!(
            "{} >/dev/null 2>&1",
            make.replace("TO", file.to_str().unwrap())
        ));
        let was = fs::read(&file).unwrap();
        let w = s.bare("w", &setting("LOWER", std::slice::from_ref(&file)));
        w.mkdir("root");
        mounted(s, &w, || {
            assert_eq!(findmnt(s, "FSTYPE", &w.path("live")), "overlay");
            assert!(w.exists("live/bin/busybox"));
            assert_eq!(loop_devices(s), 1);
            w.write("live/etc/new", "x");
            assert_eq!(w.read("root/etc/new"), "x");
        });
        assert_eq!(loop_devices(s), 0);
        assert!(was == fs::read(&file).unwrap(), "the layer was written to");

        // The file stands between two directories, and two subhosts use it.
        let top = s.subhost.join("layers/top");
        fs::create_dir_all(&top).unwrap();
        fs::write(top.join("which"), "top").unwrap();
        let v = s.bare("v", &setting("LOWER", &[top, file]));
        v.mkdir("root");
        mounted(s, &w, || {
            mounted(s, &v, || {
                assert_eq!(v.read("live/which"), "top");
                assert!(v.exists("live/bin/busybox"));
            });
        });
    });
}

#[test]
fn layer_squashfs() {
    layer_file("squashfs", "mksquashfs FROM TO -noappend -quiet");
}

#[test]
fn layer_erofs() {
    layer_file("erofs", "mkfs.erofs TO FROM");
}

#[test]
fn layer_ext4_is_mounted_read_only() {
    layer_file("ext4", "mkfs.ext4 -q -d FROM TO 24M");
}
