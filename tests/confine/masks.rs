//! MASK: files of /proc and /sys that are covered or read-only.

use crate::common::*;
use crate::status;

/// The files of the host's memory, addresses, log and keys are covered, and those that configure its kernel are
/// read-only.
#[test]
fn the_kernels_files_are_covered() {
    sandbox(|s| {
        s.overlay("w", "");
        s.tool("subhost-start w").silent();
        let inside = |script: &str| {
            let enter = s.tool("subhost-enter w -- sh -c").arg(script);
            enter.run()
        };
        let covered = inside(
            "cd /proc; for f in interrupts kallsyms kcore key-users keys kmsg kpagecgroup kpagecount \
             kpageflags pagetypeinfo slabinfo timer_list vmallocinfo; do
                 [ ! -e $f ] || echo $f $(stat -c '%F %t:%T' $f) $(cat $f | wc -c); done
             for d in /proc/acpi /proc/scsi /sys/firmware; do [ ! -e $d ] || echo $d $(ls -A $d | wc -l); done",
        );
        let lines: Vec<&str> = covered.stdout.lines().collect();
        assert!(lines.len() > 8, "{}", covered.stdout);
        for line in lines {
            let empty = line.ends_with(" character special file 1:3 0") || line.ends_with(" 0");
            assert!(empty, "{line}");
        }
        // One tmpfs covers all directories.
        let mounts = inside("cat /proc/self/mountinfo").stdout;
        let tmpfs =
            |line: &&str| ["/proc/acpi", "/proc/scsi", "/sys/firmware"].contains(&field(line, 4));
        let devices: Vec<&str> = mounts
            .lines()
            .filter(tmpfs)
            .map(|line| field(line, 2))
            .collect();
        assert!(
            !devices.is_empty() && devices.iter().all(|d| *d == devices[0]),
            "{mounts}"
        );
        for script in [
            "echo h > /proc/sysrq-trigger",
            "echo x > /proc/sys/kernel/core_pattern",
            "echo x > /proc/sys/kernel/hostname",
            "echo x > /proc/irq/default_smp_affinity",
            "echo x > /sys/kernel/uevent_helper",
            "echo x > /sys/kernel/profiling",
            "echo x > /sys/firmware/x",
        ] {
            let told = inside(script);
            assert_ne!(told.code, 0, "{script}");
        }
        // The subhost's network is its own.
        assert_eq!(inside("echo 1 > /proc/sys/net/ipv4/ip_forward").code, 0);
        assert_eq!(inside("cat /proc/sys/net/ipv4/ip_forward").text(), "1");
        // Root inside cannot remove the covers.
        for script in [
            "umount /proc/kcore",
            "mount -o remount,rw /proc/sys",
            "mount -t proc p /mnt",
        ] {
            assert_ne!(inside(script).code, 0, "{script}");
        }
    });
}

fn field(line: &str, number: usize) -> &str {
    line.split(' ').nth(number).unwrap_or_default()
}

/// With NET=host the sysctls are the host's, and uid 0 may write them.
#[test]
fn the_hosts_network_is_not_configured() {
    sandbox(|s| {
        s.overlay("w", "NET=host\n");
        s.overlay("v", "NET=host\nCAPS=+NET_ADMIN\n");
        let write = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        s.tool("subhost-enter w -- sh -c")
            .arg(write)
            .fails(1, &["Read-only"]);
        assert_eq!(s.host("cat /proc/sys/net/ipv4/ip_forward"), "0");
        let raw = u64::from_str_radix(&status(s, "w", "self", "CapBnd"), 16).unwrap();
        assert_eq!(raw >> 12 & 0b11, 0, "NET_ADMIN 12, NET_RAW 13: {raw:x}");
        s.tool("subhost-enter v -- sh -c").arg(write).ok();
        assert_eq!(s.host("cat /proc/sys/net/ipv4/ip_forward"), "1");
    });
}

#[test]
fn masks_by_name() {
    sandbox(|s| {
        let words = "/etc/passwd- /srv/secret /srv/secret/deep //etc/os-release /none/such -/proc/keys -/proc/sys";
        let w = s.overlay("w", &format!("MASK='{words}'\n"));
        w.write("root/srv/secret/deep/file", "x");
        w.write("root/etc/passwd-", "x");
        s.tool("subhost-start w").silent();
        let inside = |script: &str| s.tool("subhost-enter w -- sh -c").arg(script).run();
        assert_eq!(
            inside("cat /etc/passwd- /etc/os-release; ls -A /srv/secret").text(),
            ""
        );
        assert_ne!(inside("echo x > /srv/secret/new").code, 0);
        assert_ne!(inside("rm -r /srv/secret").code, 0);
        assert_eq!(inside("stat -c %F /proc/keys").text(), "regular empty file");
        assert_eq!(
            inside("stat -c %F /proc/kmsg").text(),
            "character special file"
        );
        // Something harmless of what is unprotected now.
        assert_eq!(
            inside("echo $(cat /proc/sys/vm/stat_interval) > /proc/sys/vm/stat_interval").code,
            0
        );
        s.tool("subhost-stop --sync w").silent();
        assert_eq!(w.read("root/srv/secret/deep/file"), "x");
        w.config("MASK=none\n");
        s.tool("subhost-start w").silent();
        let mounts = inside("grep -c -e ' /proc/' -e ' /sys/' /proc/self/mountinfo");
        assert_eq!(mounts.text(), "0");
    });
}

#[test]
fn masks_that_cannot_be() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.mkdir("root/srv/real");
        std::os::unix::fs::symlink("real", w.path("root/srv/link")).unwrap();
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --sync w").silent();
        let before = s.snapshot();
        for (mask, code, says) in [
            ("/srv/link", 1, "cover /srv/link inside"),
            ("/srv/link/file", 1, "a symbolic link is in the path"),
            ("/proc", 5, "cannot be covered as a whole"),
            ("/dev//", 5, "cannot be covered as a whole"),
            ("srv", 5, "not a plain absolute path"),
            ("-/proc/kcor", 5, "did you mean /proc/kcore?"),
            ("/", 5, "the root itself"),
        ] {
            w.config(&format!("MASK={mask}\n"));
            s.tool("subhost-start w").fails(code, &[says]);
            s.assert_same(&before);
        }
    });
}
