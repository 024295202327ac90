//! The judge is judged: a sandbox keeps to itself, and the world sees what is left behind.

mod common;

use common::{eventually, has, lacks, sandbox, sandbox_private};

#[test]
fn the_host_sees_nothing_of_a_sandbox() {
    sandbox(|s| {
        s.host("mkdir m; mount -t tmpfs t m; ip link add br0 type bridge; ip netns add x");
        let host = std::fs::read_to_string(format!("/proc/{}/mountinfo", std::process::id()));
        lacks(&host.unwrap(), &[s.base.to_str().unwrap()]);
        has(&s.host("ip netns list; ls /sys/class/net"), &["x", "br0"]);
        has(&s.host("findmnt -no PROPAGATION /run"), &["shared"]);
    });
    sandbox_private(|s| {
        has(&s.host("findmnt -no PROPAGATION /run"), &["private"]);
    });
}

#[test]
fn the_world_sees_every_leftover() {
    sandbox(|s| {
        let leave = |subject: &str, make: &str, clear: &str| {
            let before = s.world();
            s.host(make);
            has(&before.diff(&s.world()), &[subject, "+ "]);
            s.host(clear);
            s.same(&before);
        };
        leave("mount:", "mkdir m; mount -t tmpfs t m", "umount m");
        leave("link:", "ip link add w0 type bridge", "ip link delete w0");
        leave("link:", "ip link set lo alias x", "ip link set lo alias ''");
        leave("netns:", "ip netns add w", "ip netns delete w");
        leave("state:", "mkdir -p /run/subhost/w", "rm -r /run/subhost");
        leave("run:", "touch /run/f", "rm /run/f");
        leave(
            "process:",
            "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >pid",
            "kill $(cat pid)",
        );
        leave(
            "loop:",
            "truncate -s 1M f; losetup -f --show f >dev",
            "losetup -d $(cat dev)",
        );
    });
}

#[test]
fn trees_images_and_terminals_work() {
    sandbox(|s| {
        let before = s.world();
        let w = s.rbind("w", "");
        let root = w.path("root");
        let root = root.display();
        has(&s.host(&format!("chroot {root} id web")), &["extra"]);
        s.image("i", "ext4", "");
        s.same_now(&before);
        // The words are put together, or `runs` would see them in the shell's own command line: a ^C that
        // comes while a dash is about to execute something is lost.
        let mut pty = s.pty_sh("stty size; read x; stty size; n=1000; exec sleep $n");
        pty.expect("33 77");
        pty.resize(40, 100);
        pty.line("");
        pty.expect("40 100");
        eventually("it sleeps", || s.runs("sleep 1000"));
        pty.keys("\x03");
        assert_eq!(pty.wait(), 130);
        pty.restored();
        s.same(&before);
    });
}
