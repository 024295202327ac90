//! READ_ONLY, for each kind of root.

use crate::common::*;
use crate::mounted;
use std::fs;

#[test]
fn a_read_only_root_cannot_be_written() {
    for kind in KINDS {
        sandbox(move |s| {
            let w = s.of_kind("w", kind, "READ_ONLY=yes\n");
            w.mkdir("root");
            fs::write(w.path("root/mark"), "x").unwrap();
            mounted(s, &w, || {
                let refused = fs::write(w.path("live/etc/new"), "x").unwrap_err();
                assert_eq!(
                    refused.kind(),
                    std::io::ErrorKind::ReadOnlyFilesystem,
                    "{kind}"
                );
                assert!(w.exists("live/bin/busybox"), "{kind}");
                assert_eq!(w.exists("live/mark"), kind != "image", "{kind}");
            });
            // The tree in `root` stays writable.
            fs::write(w.path("root/mark"), "y").unwrap();
        });
    }
}

#[test]
fn a_read_only_rbind_covers_its_submounts() {
    sandbox(|s| {
        let w = s.rbind("w", "READ_ONLY=yes\n");
        w.mkdir("root/data");
        s.host("mount -t tmpfs data opt/w/root/data");
        mounted(s, &w, || {
            fs::write(w.path("live/data/new"), "x").unwrap_err();
            fs::write(w.path("root/data/new"), "x").unwrap();
        });
    });
}
