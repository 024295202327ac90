//! BIND and TMPFS: mounts that are inside only.

use crate::common::*;
use std::fs;
use std::path::Path;

#[test]
fn binds_and_tmpfs_are_inside_only() {
    sandbox(|s| {
        s.host("mkdir rw 'r o'; echo rw >rw/file; echo ro >'r o/file'; echo one >single");
        let base = s.base.display();
        let bind = format!(
            "{} {} {}",
            quote(format!("{base}/rw:/mnt")),
            quote(format!("{base}/r o:/srv:ro")),
            quote(format!("{base}/single:/etc/os-release:ro"))
        );
        let w = s.overlay(
            "w",
            &format!(
                "BIND={}\nTMPFS='/home:1M /var/log'\nRAM_SIZE=8M\n",
                quote(bind)
            ),
        );
        let before = s.start("w");
        let out = s.inside(
            "w",
            "cat /mnt/file /srv/file /etc/os-release; echo new >/mnt/new",
        );
        assert_eq!(out, "rw\nro\none");
        assert_eq!(fs::read_to_string(s.base.join("rw/new")).unwrap(), "new\n");
        s.enter("w", "echo new >/srv/new").fails(1, &["Read-only"]);
        let sizes = s.inside("w", "df -k /home /run | awk '{print $2}'");
        assert_has(&sizes, &["1024", "8192"]);
        assert_has(&s.inside("w", "grep ' /var/log ' /proc/mounts"), &["tmpfs"]);
        assert!(!w.exists("live/mnt/file"), "the host's view has the bind");
        s.stop("w", &before);
        assert!(s.base.join("rw/file").exists());
    });
}

#[test]
fn a_bind_without_a_target_goes_to_the_same_path() {
    sandbox(|s| {
        s.host("mkdir /var/log/shared; echo x >/var/log/shared/file");
        let w = s.overlay("w", "BIND=/var/log/shared\n");
        w.mkdir("root/var/log/shared");
        let before = s.snapshot();
        assert_eq!(s.inside("w", "cat /var/log/shared/file"), "x");
        s.assert_same(&before);
    });
}

#[test]
fn a_missing_bind_source_is_named() {
    sandbox(|s| {
        s.overlay("w", "BIND=/no/such:/mnt\n");
        let before = s.snapshot();
        s.tool("subhost-start w").fails(1, &["/no/such"]);
        s.assert_same(&before);
        assert!(!Path::new("/no").exists());
    });
}

/// A layer named by a symlink once showed $SUBHOST inside, and a writable BIND of $SUBHOST let the inside write
/// configs.
#[test]
fn the_other_subhosts_are_out_of_sight_and_out_of_reach() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        s.host("cp -a opt/layers/base/. .; ln -s $PWD alias; echo secret >opt/secret");
        w.config(&format!(
            "LOWER={}/alias
",
            s.base.display()
        ));
        let before = s.snapshot();
        assert_eq!(s.inside("w", "ls -A /opt 2>/dev/null || :"), "");
        s.assert_same(&before);
        let here = s.subhost.display().to_string();
        w.config(&format!("BIND={here}:/srv\n"));
        s.tool("subhost-start w").fails(5, &["BIND", &here, "ro"]);
        s.assert_same(&before);
    });
}
