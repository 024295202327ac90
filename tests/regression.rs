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

/// The other tree's subhost of the same name was entered, listed as running, and not started.
#[test]
fn another_trees_subhost_of_the_same_name_is_not_ours() {
    sandbox(|s| {
        s.overlay("w", "");
        s.host("mkdir -p other/w/root; chmod 700 other; echo LOWER=$PWD/opt/layers/base >other/w/config");
        let other = format!("-S {}/other w", s.base.display());
        let before = s.world();
        s.tool("subhost-start w").silent();
        let here = s.subhost.to_str().unwrap();
        s.tool(&format!("subhost-start {other}")).fails(5, &[here]);
        s.tool(&format!("subhost-enter {other} -- true"))
            .fails(125, &[here]);
        s.tool(&format!("subhost-stop {other}")).fails(5, &[here]);
        s.tool(&format!("subhost-info {other}")).fails(5, &[here]);
        assert_eq!(s.state("w"), "running");
        s.stop("w", &before);
        // Half of it is enough.
        for (half, other_half) in [("mount", "net"), ("net", "mount")] {
            s.tool(&format!("subhost-{half} w")).silent();
            let with = s.world();
            for verb in [other_half, half] {
                s.tool(&format!("subhost-{verb} {other}")).fails(5, &[here]);
                s.tool(&format!("subhost-{verb} -u {other}"))
                    .fails(5, &[here]);
            }
            s.same(&with);
            s.tool("subhost-start w").silent();
            s.stop("w", &before);
        }
    });
}

/// A caller's umask of 077 made /etc/hosts readable by root alone, and targets of BIND as well.
#[test]
fn the_callers_umask_stays_outside() {
    sandbox(|s| {
        s.host("mkdir data; chmod 755 data");
        s.overlay(
            "w",
            &format!("BIND={}/data:/new/deep\nDNS=192.0.2.1\n", s.base.display()),
        );
        let before = s.world();
        s.sh("umask 077; subhost-start w").ok();
        let modes = s.inside("w", "stat -c %a /etc/hosts /etc/resolv.conf /new /run");
        assert_eq!(modes, "644\n644\n755\n755");
        s.stop("w", &before);
    });
}

/// Where mounts are private, `ip netns add` mounted our namespace a second time, out of reach.
#[test]
fn ip_netns_on_a_host_with_private_mounts_does_no_harm() {
    sandbox(|s| {
        s.host("umount /run/netns 2>/dev/null || :; mount --make-private /run; ip netns list");
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
        s.tool("subhost-start w").silent();
        s.host("ip netns add ext");
        s.tool("subhost-stop --sync w").silent();
        assert_eq!(s.host("ip netns list"), "ext");
        s.host("ip netns delete ext");
    });
}

/// A new topmost layer made the overlay unmountable: its index knew the old one.
#[test]
fn layers_may_change() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        s.host("mkdir -p opt/layers/top/etc; echo top >opt/layers/top/etc/top");
        let before = s.world();
        s.enter("w", "echo kept >/etc/kept").ok();
        w.config("LOWER=\"$SUBHOST/layers/top $SUBHOST/layers/base\"\n");
        assert_eq!(s.inside("w", "cat /etc/kept /etc/top"), "kept\ntop");
        s.same(&before);
    });
}

/// An enter that booted took down what PRENET and POSTNET had set up, without the hooks for that.
#[test]
fn an_enter_that_boots_runs_the_hooks_of_the_way_down() {
    sandbox(|s| {
        s.host("printf '#!/bin/sh\\necho $PHASE >>%s/phases\\n' $PWD >hook; chmod 755 hook");
        let hook = s.base.join("hook");
        s.overlay(
            "w",
            &format!("POSTNET={0}\nPRESTOP={0}\nPOSTSTOP={0}\n", hook.display()),
        );
        s.enter("w", "true").ok();
        assert_eq!(s.host("cat phases"), "postnet\nprestop\npoststop");
    });
}

/// A command for STOP had STOP_TIMEOUT, and then TERM had it again; one that worked left the rest
/// to KILL, and a subhost without RUN to the timeout.
#[test]
fn a_stop_command_shares_the_time_and_the_rest_is_asked() {
    sandbox(|s| {
        s.overlay("w", "STOP=/bin/true\n");
        s.overlay("slow", "STOP='/bin/sleep 60'\nSTOP_TIMEOUT=8s\nRUN='/bin/sh -c \"trap : TERM; while :; do sleep 1; done\"'\n");
        s.tool("subhost-start w slow").silent();
        let start = std::time::Instant::now();
        s.tool("subhost-stop w").silent();
        assert!(
            start.elapsed().as_secs() < 20,
            "no RUN, so nothing to wait for"
        );
        let start = std::time::Instant::now();
        s.tool("subhost-stop slow").run();
        assert!(start.elapsed().as_secs() < 15, "{:?}", start.elapsed());
        assert_eq!(s.state("slow"), "stopped");
    });
}

/// Root inside changed the host's own subhost-init by /proc/1/exe, and wrote to its descriptors.
#[test]
fn nobody_inside_reaches_into_pid_1() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        let init = format!("{}/subhost-init", tools_dir());
        let mode = || s.host(&format!("stat -c '%a %U' {init}"));
        let was = mode();
        s.tool("subhost-start w").silent();
        for attack in [
            "chmod 4755 /proc/1/exe",
            "chown 33 /proc/1/exe",
            "cat /proc/1/environ",
            "readlink /proc/1/fd/1",
            ": >/proc/1/fd/1",
        ] {
            let out = s.enter("w", attack).run();
            assert_ne!(out.code, 0, "{attack}: {out}");
        }
        assert_eq!(mode(), was);
        let caps = s.inside("w", "grep CapBnd /proc/self/status /proc/1/status");
        for line in caps.lines() {
            let bits = u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap();
            // SYS_MODULE 16, SYS_RAWIO 17, SYS_PTRACE 19, SYS_ADMIN 21, SYS_BOOT 22, MKNOD 27.
            for forbidden in [16, 17, 19, 21, 22, 27] {
                assert_eq!(bits >> forbidden & 1, 0, "{forbidden}: {line}");
            }
        }
        s.stop("w", &before);
    });
}

/// A layer called by a link showed $SUBHOST; a writable BIND of it let the inside write configs.
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
        let before = s.world();
        assert_eq!(s.inside("w", "ls -A /opt 2>/dev/null || :"), "");
        s.same(&before);
        let here = s.subhost.display().to_string();
        w.config(&format!("BIND={here}:/srv\n"));
        s.tool("subhost-start w").fails(5, &["BIND", &here, "ro"]);
        s.same(&before);
    });
}

/// The kernel calls a file by its own name: what was mounted by a link's could not be unmounted.
#[test]
fn an_image_may_be_called_by_a_link_and_be_deleted_while_it_is_up() {
    sandbox(|s| {
        let w = s.image("w", "ext4", "IMAGE=link.img\n");
        s.host("ln -s w.img opt/w/link.img");
        let before = s.world();
        s.tool("subhost-start w").silent();
        std::fs::rename(w.path("w.img"), w.path("old.img")).unwrap();
        s.stop("w", &before);
    });
}

/// Nobody took Ctrl-C where there was no command, and the terminal was raw.
#[test]
fn a_holding_subhost_in_the_foreground_can_be_left() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        let mut pty = s.pty("subhost-start -f w");
        eventually("it runs", || s.state("w") == "running");
        pty.keys("\x03");
        pty.wait();
        eventually("it hibernates", || s.state("w") == "hibernating");
        s.stop("w", &before);
    });
}

/// Its command was a zombie that only it could reap, and PID 1 waited for that.
#[test]
fn a_stopped_enter_keeps_nobody_from_stopping() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        let enter = s.tool("subhost-enter w -- sleep 1000").start();
        eventually("it sleeps", || s.runs("sleep 1000"));
        s.host(&format!("kill -STOP {}", enter.pid()));
        let start = std::time::Instant::now();
        s.stop("w", &before);
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        enter.wait();
    });
}

/// A record of PID 1 that could not be read meant that nothing ran: the network was taken from
/// under living processes.
#[test]
fn a_damaged_record_is_no_reason_to_tear_down() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.host("cp /run/subhost/w/init init; echo garbage >/run/subhost/w/init");
        s.tool("subhost-stop w").fails(5, &["/run/subhost/w/init"]);
        s.host("mv init /run/subhost/w/init");
        assert_eq!(s.inside("w", "hostname"), "w");
        s.stop("w", &before);
    });
}

/// TERM while a hook ran left a frozen plan and nothing of it.
#[test]
fn a_signal_waits_for_what_is_begun() {
    sandbox(|s| {
        s.overlay("w", "PREMOUNT='/bin/sleep 1'\n");
        let before = s.world();
        let start = s.tool("subhost-start w").start();
        eventually("the hook runs", || {
            s.test("[ -e /run/subhost/w/root.plan ]")
        });
        s.host(&format!("kill -TERM {}", start.pid()));
        assert_eq!(start.wait().code, 128 + 15);
        assert_eq!(s.state("w"), "running");
        s.stop("w", &before);
    });
}

/// A typo in --set went unnoticed where no config was read.
#[test]
fn a_typo_on_the_command_line_is_told_when_joining_too() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.tool("subhost-enter --set HOSTNAM=x w -- true")
            .fails(125, &["HOSTNAME"]);
        s.stop("w", &before);
    });
}

/// `LIVE=` was an error where `LOWER=` meant unset.
#[test]
fn an_empty_value_is_that_of_a_key_that_is_not_set() {
    sandbox(|s| {
        s.rbind(
            "w",
            "LIVE=\nREAD_ONLY=\nHOOK_TIMEOUT=\nRUN_AS=\nAUTOSTART=\nSTOP_TIMEOUT=\nNET=\n",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        assert_eq!(s.tool("subhost-config w LIVE").ok().text(), "live");
        s.stop("w", &before);
    });
}
