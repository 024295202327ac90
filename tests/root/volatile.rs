//! VOLATILE, for each kind of root.

use crate::common::*;
use crate::mounted;

#[test]
fn a_volatile_root_forgets_at_stop() {
    for kind in KINDS {
        sandbox(move |s| {
            let w = s.of_kind("w", kind, "VOLATILE=yes\n");
            w.mkdir("root");
            mounted(s, &w, || {
                w.write("live/etc/new", "x");
                w.write("live/etc/hostname", "changed\n");
                assert!(w.exists("live/bin/busybox"), "{kind}");
            });
            assert!(!w.exists("root/etc/new"), "{kind}");
            mounted(s, &w, || {
                assert!(!w.exists("live/etc/new"), "{kind}");
                assert_eq!(w.read("live/etc/hostname"), "tree\n", "{kind}");
            });
        });
    }
}

#[test]
fn a_volatile_root_remembers_while_it_hibernates() {
    sandbox(|s| {
        s.overlay("w", "VOLATILE=yes\n");
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-net w").silent();
        s.inside("w", "echo x >/etc/new");
        assert_eq!(s.inside("w", "cat /etc/new"), "x");
        s.stop("w", &before);
    });
}
