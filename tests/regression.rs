//! What once went wrong, each with the case that showed it.

mod common;

use common::*;

/// Called in a chroot, pivot_root changed the chroot's root and left the mount namespace's: whoever
/// joined it, enter for one, stood on the host.
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
            lacks(&seen, &["of-the-host", "subhost"]);
        }
        assert_eq!(jailed("subhost-enter w -- hostname"), "w");
        jailed("subhost-stop --sync w");
        s.host("umount -l jail; rm /run/of-the-host");
    });
}
