//! What the caller brings along: its chroot, its umask.

use crate::common::*;

/// In a chroot, pivot_root(2) once changed the root of the chroot and not that of the mount namespace. A process that
/// joined the namespace then had the host's root.
#[test]
fn a_caller_in_a_chroot_makes_no_way_to_the_host() {
    sandbox(|s| {
        s.overlay("w", "");
        s.host(
            "mkdir jail; mount --rbind / jail; mount --make-rslave jail; touch /run/of-the-host",
        );
        let jailed = |line: &str| {
            let tools = tools_dir();
            let script = format!(
                "PATH={tools}:$PATH SUBHOST={} chroot {}/jail {line}",
                s.subhost.display(),
                s.base.display()
            );
            s.sh(&script).ok().text()
        };
        jailed("subhost-start w");
        let pid = s.tool("subhost-list -o pid w").ok().text();
        for seen in [
            jailed("subhost-enter w -- ls /run"),
            s.host(&format!("nsenter -m -t {pid} /bin/ls /run")),
        ] {
            assert_lacks(&seen, &["of-the-host", "subhost"]);
        }
        assert_eq!(jailed("subhost-enter w -- hostname"), "w");
        jailed("subhost-stop --sync w");
        s.host("umount -l jail; rm /run/of-the-host");
    });
}

/// A caller's umask of 077 once made /etc/hosts and the mount points of BIND readable by root alone.
#[test]
fn the_callers_umask_stays_outside() {
    sandbox(|s| {
        s.host("mkdir data; chmod 755 data");
        s.overlay(
            "w",
            &format!("BIND={}/data:/new/deep\nDNS=192.0.2.1\n", s.base.display()),
        );
        let before = s.snapshot();
        s.sh("umask 077; subhost-start w").ok();
        let modes = s.inside("w", "stat -c %a /etc/hosts /etc/resolv.conf /new /run");
        assert_eq!(modes, "644\n644\n755\n755");
        s.stop("w", &before);
    });
}
