//! USERNS: root inside has no rights outside, and the files on disk keep their owners.

mod common;

use common::{Sandbox, Subhost, assert_has, assert_lacks, eventually, need, need_fs, sandbox};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The first id of a subhost's range, as `assigned` has it.
#[track_caller]
fn base(subhost: &Subhost) -> u32 {
    let assigned = subhost.read("assigned");
    let ids = assigned.lines().find_map(|line| line.strip_prefix("IDS="));
    ids.unwrap_or_else(|| panic!("no IDS in {assigned}"))
        .parse()
        .unwrap()
}

#[track_caller]
fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let path = path.as_ref();
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (meta.uid(), meta.gid())
}

/// Starts it, lets root inside do what root does with files, and judges by the disk: `disk` is where
/// the files of the root lie on the host while it is up.
#[track_caller]
fn files(s: &Sandbox, subhost: &Subhost, disk: &str) {
    let before = s.start("w");
    let base = base(subhost);
    let told = s.inside(
        "w",
        "cat /proc/self/uid_map; id -u; id -g
         echo x > /srv/x; chown 1000:2000 /srv/x; mkdir /srv/d; ln -s x /srv/l; chown -h 33:33 /srv/l
         echo y > /srv/y; rm /etc/hostname.none 2>/dev/null; chmod 4755 /srv/y; mv /srv/y /srv/z
         stat -c '%u %g %a %n' /srv/x /srv/z /srv/d /etc/passwd / /dev/null /etc/hosts",
    );
    let map: Vec<String> = told.split_whitespace().map(str::to_owned).take(5).collect();
    assert_eq!(map, ["0", &base.to_string(), "65536", "0", "0"]);
    assert_has(
        &told,
        &[
            "1000 2000 644 /srv/x",
            "0 0 4755 /srv/z",
            "0 0 755 /srv/d",
            "0 0 644 /etc/passwd",
            "0 0 755 /",
            "0 0 666 /dev/null",
            "0 0 644 /etc/hosts",
        ],
    );
    let live = subhost.path("live/srv");
    assert_eq!(owner(live.join("x")), (base + 1000, base + 2000));
    assert_eq!(owner(live.join("z")), (base, base));
    assert_eq!(owner(live.join("l")), (base + 33, base + 33));
    assert_eq!(owner(subhost.path("live/etc/passwd")), (base, base));
    let disk = subhost.path(disk).join("srv");
    assert_eq!(owner(disk.join("x")), (1000, 2000));
    assert_eq!(owner(disk.join("z")), (0, 0));
    assert_eq!(owner(disk.join("l")), (33, 33));
    let mode = fs::metadata(disk.join("z")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o4755);
    // PID 1 and who comes in are nobody's of the host.
    let pid = s.pid("w");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert_has(&status, &[&format!("Uid:\t{base}\t{base}\t{base}\t{base}")]);
    assert_has(&status, &[&format!("Gid:\t{base}\t{base}\t{base}\t{base}")]);
    let info = s.tool("subhost-info w").ok().text();
    assert_has(&info, &[&format!("Ids:           {base}-{}", base + 65535)]);
    s.stop("w", &before);
}

#[test]
fn files_of_an_overlay_keep_their_ids_on_disk() {
    sandbox(|s| files(s, &s.overlay("w", "USERNS=yes\n"), "root"));
}

#[test]
fn files_of_a_bind_keep_their_ids_on_disk() {
    sandbox(|s| files(s, &s.rbind("w", "USERNS=yes\n"), "root"));
}

#[test]
fn files_of_an_image_keep_their_ids_on_disk() {
    sandbox(|s| {
        if need(&["mkfs.ext4"]) && need_fs("ext4") {
            files(s, &s.image("w", "ext4", "USERNS=yes\n"), "mnt/root");
        }
    });
}

#[test]
fn files_of_a_volatile_root_are_gone() {
    sandbox(|s| {
        let w = s.overlay("w", "USERNS=yes\nVOLATILE=yes\n");
        files(s, &w, "work/upper");
        assert!(!w.exists("root/srv"));
    });
}

#[test]
fn the_network_is_its_own() {
    sandbox(|s| {
        s.bridge("br0");
        s.host("ip addr add 192.0.2.1/24 dev br0");
        s.overlay(
            "w",
            "USERNS=yes\nBRIDGES=br0\nADDR0=192.0.2.10/24\nGATEWAY=192.0.2.1\n",
        );
        let before = s.start("w");
        s.inside("w", "ping -c 1 -W 5 192.0.2.1");
        // Root inside has CAP_NET_ADMIN where it counts.
        s.inside(
            "w",
            "ip link set eth0 mtu 1400; ip addr add 192.0.2.11/24 dev eth0
             echo 1 > /proc/sys/net/ipv4/ip_forward; cat /sys/class/net/eth0/mtu",
        );
        assert_has(&s.host("ip -n w link show eth0"), &["mtu 1400"]);
        // It hibernates, and is the same afterwards.
        s.tool("subhost-stop --keep w").silent();
        assert_eq!(s.state("w"), "hibernating");
        s.tool("subhost-start w").silent();
        assert_has(&s.host("ip -n w link show eth0"), &["mtu 1400"]);
        s.inside("w", "ip link set eth0 mtu 1300");
        s.stop("w", &before);
    });
}

#[test]
fn each_has_ids_of_its_own_for_good() {
    sandbox(|s| {
        let names = ["a", "b", "c"];
        let all = names.map(|name| s.overlay(name, "USERNS=yes\n"));
        for name in names {
            s.tool(&format!("subhost-mount {name}")).silent();
        }
        let bases = all.each_ref().map(base);
        for (index, one) in bases.iter().enumerate() {
            for other in &bases[..index] {
                assert!(one.abs_diff(*other) >= 65536, "{bases:?}");
            }
        }
        let registry = fs::read_to_string("/var/lib/subhost/ids").unwrap();
        for (subhost, base) in all.iter().zip(bases) {
            assert_has(&registry, &[&format!("{base} {:?}\n", subhost.dir)]);
        }
        s.tool("subhost-stop a b c").silent();
        s.tool("subhost-mount c").silent();
        assert_eq!(base(&all[2]), bases[2]);
        s.tool("subhost-stop c").silent();
        // One that came from elsewhere with a range that is another's here, and one whose is free.
        let free = bases[2] + 10 * 65536;
        for (name, wanted, gets_it) in [("d", bases[0], false), ("e", free, true)] {
            let subhost = s.overlay(name, "USERNS=yes\n");
            subhost.write("assigned", &format!("IDS={wanted}\n"));
            s.tool(&format!("subhost-mount {name}")).silent();
            assert_eq!(base(&subhost) == wanted, gets_it, "{name}");
            assert_eq!(subhost.read("assigned").lines().count(), 1);
            s.tool(&format!("subhost-stop {name}")).silent();
        }
    });
}

#[test]
fn what_cannot_be_mapped_is_refused_by_its_name_or_goes_without() {
    sandbox(|s| {
        // An overlay cannot be mapped.
        let w = s.rbind("w", "USERNS=yes\n");
        s.host(&format!(
            "cd {}; mkdir over up work; mount -t overlay o -o lowerdir=root,upperdir=up,workdir=work over",
            w.dir.display()
        ));
        w.config("USERNS=yes\nUPPER=over\n");
        let before = s.snapshot();
        let parts = ["map the ids of overlay on", "/over", "USERNS=no"];
        s.tool("subhost-start w").fails(1, &parts);
        s.assert_same_but_state(&before);
        w.config("USERNS=auto\nUPPER=over\n");
        let out = s.tool("subhost-start -v w").ok();
        assert_has(
            &out.stderr,
            &["continues without a user namespace", "overlay on"],
        );
        assert_has(&s.inside("w", "cat /proc/self/uid_map"), &["4294967295"]);
        assert_has(&s.tool("subhost-info w").ok().text(), &["the host's"]);
        s.stop("w", &before);
        // A mount below the tree is found as well.
        w.config("USERNS=yes\n");
        s.host(&format!("mount -t proc p {}/root/proc", w.dir.display()));
        let parts = ["map the ids of proc on", "/root/proc"];
        s.tool("subhost-mount w").fails(1, &parts);
        s.host(&format!("umount {0}/root/proc {0}/over", w.dir.display()));
        // What can, does.
        w.config("USERNS=auto\n");
        s.tool("subhost-start w").silent();
        assert_lacks(&s.inside("w", "cat /proc/self/uid_map"), &["4294967295"]);
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn what_the_host_gives_is_mapped() {
    sandbox(|s| {
        let w = s.overlay("w", "USERNS=yes\nBIND=\"given:/mnt given:/media:ro\"\n");
        w.mkdir("given");
        w.write("given/of-web", "");
        s.host(&format!("chown 1000:1000 {}/given/of-web", w.dir.display()));
        s.tool("subhost-start w").silent();
        let told = s.inside(
            "w",
            "stat -c '%u %g' /mnt/of-web /mnt; echo x > /mnt/new; cat /media/new",
        );
        assert_eq!(told, "1000 1000\n0 0\nx");
        assert_eq!(owner(w.path("given/new")), (0, 0));
        assert_ne!(s.enter("w", "echo x > /media/more").run().code, 0);
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn a_change_of_the_key_is_told_and_waits() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        s.tool("subhost-start w").silent();
        let changed = |answer| {
            assert_has(
                &s.tool("subhost-info w").ok().text(),
                &[&format!("Config changed: {answer}")],
            );
        };
        changed("no");
        w.config("USERNS=yes\n");
        changed("yes");
        assert_has(&s.inside("w", "cat /proc/self/uid_map"), &["4294967295"]);
        s.tool("subhost-stop --keep w").silent();
        let out = s.tool("subhost-start w").ok();
        assert_has(&out.stderr, &["changed since it was made"]);
        assert_has(&s.inside("w", "cat /proc/self/uid_map"), &["4294967295"]);
        s.tool("subhost-stop w").silent();
        s.tool("subhost-start w").silent();
        assert_lacks(&s.inside("w", "cat /proc/self/uid_map"), &["4294967295"]);
        changed("no");
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn users_and_terminals_inside_are_those_of_the_inside() {
    sandbox(|s| {
        s.overlay("w", "USERNS=yes\nRUN_AS=web\nRUN='sleep 1000'\n");
        s.tool("subhost-start w").silent();
        let sleeps = || s.inside("w", "ps -o user,args | grep '[s]leep 1000' || :");
        eventually("web sleeps", || sleeps().starts_with("web"));
        let told = s.tool("subhost-enter -u web w -- id").ok().text();
        assert_has(
            &told,
            &["uid=1000(web) gid=1000(web) groups=1000(web),2000(extra)"],
        );
        for user in ["root", "web"] {
            let line = format!("subhost-enter -t -u {user} w -- stat -c %u:%g /proc/self/fd/0 -L");
            let told = s.tool(&line).ok().text();
            assert_has(&told, &["0:5"]);
        }
        s.tool("subhost-stop w").silent();
        // Not running: who enters is its init.
        let told = s
            .tool("subhost-enter w -- sh -c")
            .arg("echo $$; cat /proc/self/uid_map")
            .ok();
        assert_lacks(&told.text(), &["4294967295"]);
        assert_eq!(s.state("w"), "stopped");
    });
}

#[test]
fn with_the_hosts_network_root_inside_changes_nothing_in_it() {
    sandbox(|s| {
        s.overlay("w", "USERNS=yes\nNET=host\n");
        s.tool("subhost-start w").silent();
        s.inside("w", "ls /sys/class/net/lo");
        s.enter("w", "ip link set lo down").run();
        assert_has(&s.host("ip link show lo"), &["UP"]);
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn privileges_of_files_are_those_of_the_inside() {
    if !need(&["setcap", "setpriv"]) {
        return;
    }
    sandbox(|s| {
        let w = s.bare("w", "USERNS=yes\nLOWER=/\n");
        w.mkdir("root");
        let before = s.start("w");
        let told = s.inside(
            "w",
            "cp /usr/bin/id /srv/id; chmod 4755 /srv/id
             setpriv --reuid 1000 --regid 1000 --clear-groups /srv/id -u
             cp /usr/bin/cat /srv/cat; setcap cap_net_raw+ep /srv/cat; getcap /srv/cat
             setpriv --reuid 1000 --regid 1000 --clear-groups /srv/cat /proc/self/status | grep CapEff",
        );
        assert_has(&told, &["0\n/srv/cat cap_net_raw=ep\n", "0000000000002000"]);
        s.stop("w", &before);
        // On disk they are root's of whoever has the file system.
        let told = s.host("getcap -n opt/w/root/srv/cat");
        assert_has(&told, &["cap_net_raw=ep"]);
        assert_lacks(&told, &["rootid"]);
    });
}

#[test]
fn a_process_that_nsenter_brings_in_is_like_any() {
    if !need(&["nsenter"]) {
        return;
    }
    sandbox(|s| {
        s.overlay("w", "USERNS=yes\n");
        s.tool("subhost-start w").silent();
        let look = "for n in user mnt net uts ipc pid cgroup; do readlink /proc/self/ns/$n; done
             cat /proc/self/uid_map; id -u; id -g; touch /srv/$1; stat -c %u:%g /srv/$1";
        let ours = s
            .tool("subhost-enter w -- sh -c")
            .arg(look)
            .arg("sh")
            .arg("a");
        let pid = s.pid("w");
        let theirs = s.host(&format!("nsenter -t {pid} -a /bin/sh -c '{look}' sh b"));
        assert_eq!(ours.ok().text(), theirs);
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn an_init_manages_its_cgroup() {
    sandbox(|s| {
        let w = s.overlay(
            "w",
            "USERNS=yes\nINIT=/sbin/tiny\nSTOP=TERM\nSTOP_TIMEOUT=5s\n",
        );
        w.script(
            "root/sbin/tiny",
            "mkdir /sys/fs/cgroup/mine && echo made\ntrap 'exit 0' TERM\nwhile :; do sleep 1000 & wait; done",
        );
        let before = s.start("w");
        if !s.inside("w", "ls /sys/fs/cgroup").is_empty() {
            let mine = || s.inside("w", "stat -c %u /sys/fs/cgroup/mine || :");
            eventually("it made a cgroup", || mine() == "0");
        }
        assert_eq!(s.inside("w", "stat -c %u:%g /dev/console"), "0:5");
        s.stop("w", &before);
    });
}

#[test]
fn what_does_not_work_then_is_said() {
    sandbox(|s| {
        s.overlay("w", "USERNS=yes\nNET=host\n");
        let out = s.tool("subhost-config --check w").ok();
        assert_has(&out.stderr, &["NET=host", "nothing in its network"]);
        s.tool("subhost-config --check --set NET=private w")
            .silent();
        s.overlay("v", "USERNS=perhaps\n");
        s.tool("subhost-mount v").fails(5, &["USERNS", "'perhaps'"]);
    });
}

#[test]
fn who_is_in_a_chroot_can_start_it_too() {
    sandbox(|s| {
        s.overlay("w", "USERNS=yes\n");
        let before = s.snapshot();
        s.host("mkdir jail; mount --rbind / jail; mount --make-rslave jail");
        let tools = common::tools_dir();
        for verb in ["subhost-start", "subhost-enter -T", "subhost-stop --sync"] {
            let script = format!(
                "SUBHOST={} chroot jail {tools}/{verb} w </dev/null",
                s.subhost.display()
            );
            s.host(&script);
        }
        s.host("umount -l jail; rmdir jail");
        s.assert_same(&before);
    });
}
