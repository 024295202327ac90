//! What the inside sees: its own processes, /proc, /sys, /dev and /run, and nothing of the host's root.

use crate::common::*;

#[test]
fn the_inside_sees_its_own_processes_only() {
    in_each_state(|s| {
        let pids = s.inside("w", "cd /proc; echo [0-9]*");
        let few = pids.split_whitespace().count();
        assert!(few <= 4, "{pids}");
        assert!(pids.split_whitespace().any(|pid| pid == "1"), "{pids}");
    });
}

#[test]
fn root_inside_cannot_reach_the_hosts_root() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.write("root/inside", "x");
        std::fs::write(s.base.join("outside"), "host's").unwrap();
        let outside = s.base.join("outside");
        let outside = outside.display();
        let before = s.start("w");
        let attack = |script: &str| {
            let out = s.enter("w", script).run();
            assert_lacks(&out.stdout, &["host's"]);
            out
        };
        attack(&format!("cat {outside}"));
        attack(&format!("nsenter -t 1 -m cat {outside}"));
        attack(&format!("cat /proc/1/root{outside}"));
        attack(&format!(
            "cat /proc/1/cwd{outside}; cat /proc/1/cwd/../../../..{outside}"
        ));
        attack(&format!("chroot /proc/1/root cat {outside}"));
        attack(&format!(
            "for f in /proc/[0-9]*/fd/*; do cat $f/../../../../..{outside}; done"
        ));
        let out = attack("nsenter -t 1 -m ls /");
        if out.code == 0 {
            assert_has(&out.stdout, &["inside"]);
        }
        // No mount of the host is in the mount namespace, not even below one of ours.
        let points = s.inside("w", "cut -d' ' -f5 /proc/self/mountinfo");
        assert_lacks(&points, &[s.base.to_str().unwrap(), "/run/netns", "live"]);
        assert_eq!(points.lines().filter(|p| *p == "/").count(), 1, "{points}");
        s.stop("w", &before);
    });
}

#[test]
fn the_inside_has_proc_sys_dev_and_run_of_its_own() {
    in_each_state(|s| {
        let types = s.inside("w", "awk '{print $2, $3}' /proc/mounts");
        for kind in [
            "/proc proc",
            "/sys sysfs",
            "/dev tmpfs",
            "/dev/pts devpts",
            "/run tmpfs",
        ] {
            assert!(
                types.lines().any(|line| line == kind),
                "no '{kind}' in\n{types}"
            );
        }
        s.inside(
            "w",
            "echo x >/dev/null; head -c 1 /dev/zero >/dev/null; head -c 1 /dev/urandom >/dev/null; \
             [ -c /dev/full ] && [ -c /dev/random ] && [ -e /dev/ptmx ] && [ -d /dev/shm ] && \
             [ -e /dev/fd/0 ] && [ -e /dev/stdin ] && [ ! -e /dev/vda ]",
        );
    });
}
