//! Subhosts of an ordinary user. Most of this is tried by whoever runs the tests: root makes a user in a
//! sandbox, and others are one.

mod common;

use common::{
    Run, Sandbox, User, assert_has, assert_lacks, eventually, first_subid, need, sandbox, user,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn ends(pid: i32) -> impl FnMut() -> bool {
    // A zombie has left its namespaces. The command line is gone earlier, with the memory.
    move || {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    }
}

#[test]
fn one_command_boots_and_leaves_nothing() {
    user(|u| {
        u.overlay("w", "");
        let seen = u.inside(
            "w",
            "id -u; id -g; hostname; ps -o pid,args; echo ok >/dev/null",
        );
        assert_has(&seen, &["0\n0\nw\n", "subhost-init"]);
        u.is_gone();
        u.enter("w", "exit 7").fails(7, &[]);
        u.enter("w", "kill -TERM $$").fails(143, &[]);
        u.tool("subhost-enter w -- /no/such")
            .fails(127, &["/no/such"]);
        let text = u.enter("w", "tr a-c A-C").input("abc").ok().text();
        assert_eq!(text, "ABC");
    });
}

#[test]
fn a_whole_life() {
    user(|u| {
        let dir = u.overlay("w", "RUN='sleep 1000'\n");
        u.tool("subhost-mount w").silent();
        assert_eq!(u.state("w"), "hibernating");
        u.tool("subhost-net w").silent();
        u.tool("subhost-start w").silent();
        u.tool("subhost-start w").silent();
        assert_eq!(u.state("w"), "running");
        let info = u.tool("subhost-info w").ok().stdout;
        assert_has(&info, &["running", "overlay"]);
        let inside = u.tool("subhost-enter -j -u web w -- sh -c");
        let seen = inside.arg("id -un; ps -o args; pwd").ok().stdout;
        assert_has(&seen, &["web\n", "sleep 1000", "/home/web"]);
        assert_eq!(u.inside("w", "ip -o link | wc -l"), "1");
        // The mounts are in the user's mount namespace alone.
        assert!(!dir.join("live/bin").exists());
        u.tool("subhost-mount -u w").fails(75, &["running"]);
        u.tool("subhost-stop --keep w").silent();
        assert_eq!(u.state("w"), "hibernating");
        u.tool("subhost-start w").silent();
        u.tool("subhost-stop w").silent();
        assert_eq!(u.state("w"), "stopped");
        u.tool("subhost-enter -j w").fails(3, &["not running"]);
    });
}

#[test]
fn a_tree_of_its_own_and_binds() {
    user(|u| {
        let dir = u.rbind(
            "w",
            "BIND=\"$SUBHOST/w/share:/srv\"\nNET=host\nTMPFS=/mnt\n",
        );
        fs::create_dir(dir.join("share")).unwrap();
        u.own();
        u.inside(
            "w",
            "echo a >/srv/file; echo b >/root/file; touch /mnt/c; ls /sys/class/net",
        );
        assert_eq!(fs::read_to_string(dir.join("share/file")).unwrap(), "a\n");
        assert_eq!(
            fs::read_to_string(dir.join("root/root/file")).unwrap(),
            "b\n"
        );
        assert!(!dir.join("root/mnt/c").exists());
        let host = u.sh("readlink /proc/self/ns/net").ok().text();
        assert_eq!(u.inside("w", "readlink /proc/self/ns/net"), host);
        u.tool("subhost-start w").silent();
        assert_eq!(u.inside("w", "readlink /proc/self/ns/net"), host);
        u.enter("w", "echo >/proc/sys/kernel/hostname")
            .fails(1, &["Read-only"]);
        u.tool("subhost-stop w").silent();
    });
}

/// The whole of the overlay works, and what other users inside make is of the subordinate ids.
#[test]
fn files_and_their_owners() {
    user(|u| {
        let dir = u.overlay("w", "");
        u.inside(
            "w",
            "rm -r /srv /etc/hostname; mv /home /house; mkdir /srv; touch /root/mine
             chown web:extra /srv; touch /opt; chown 65534 /opt",
        );
        let seen = u.inside(
            "w",
            "ls -d /home; ls /srv /house; ls -ldn /srv /opt; exit 0",
        );
        assert_has(&seen, &["web", " 1000 ", " 2000 ", " 65534 "]);
        assert_lacks(&seen, &["/home\n"]);
        assert!(u.subhost.join("layers/base/home/web").exists());
        let root = dir.join("root");
        assert_eq!(u.owner(&root.join("root/mine")), (u.uid, u.gid()));
        let (uid, gid) = u.owner(&root.join("srv"));
        assert_eq!(gid - uid, 1000);
        assert_eq!(u.owner(&root.join("opt")).0 - uid, 65534 - 1000);
        assert!(![u.uid, 0, 1000].contains(&uid));
        // Read-only and volatile roots see the same.
        for set in ["READ_ONLY=yes", "VOLATILE=yes"] {
            let line = format!("subhost-enter --set {set} w -- ls /house");
            assert_eq!(u.tool(&line).ok().text(), "web");
        }
    });
}

#[test]
fn the_subordinate_ids_are_used() {
    sandbox(|s| {
        let u = s.user("ann", 1500);
        let before = s.snapshot();
        let dir = u.overlay("w", "");
        u.inside("w", "touch /x; chown web:extra /x");
        let first = first_subid(1500) - 1;
        let owner = u.owner(&dir.join("root/x"));
        assert_eq!(owner, (first + 1000, first + 2000));
        s.assert_same(&before);
    });
}

/// A setuid file gives root inside, which is the user outside.
#[test]
fn setuid_inside() {
    user(|u| {
        let dir = u.overlay("w", "");
        let copy = "for file in $(command -v id) $(ldd $(command -v id) | grep -o '/[^ ]*'); do
                        mkdir -p .$(dirname $file); cp -L $file .$file
                    done; cp -L $(command -v id) id";
        u.sh(&format!("cd {}; {copy}", dir.join("root").display()))
            .ok();
        fs::set_permissions(dir.join("root/id"), fs::Permissions::from_mode(0o4755)).unwrap();
        let told = u.tool("subhost-enter -u web w -- /id -u").ok();
        assert_eq!(told.text(), "0");
    });
}

#[test]
fn a_terminal() {
    user(|u| {
        u.overlay("w", "");
        let mut pty = u.pty("subhost-enter w");
        pty.expect("you are its init");
        pty.line("tty; stty size; echo $((40 + 2))");
        pty.expect("/dev/pts/0");
        pty.expect("33 77");
        pty.expect("42");
        pty.line("exit 5");
        assert_eq!(pty.wait(), 5);
        pty.restored();
        u.is_gone();
        u.tool("subhost-start w").silent();
        let mut pty = u.pty("subhost-enter w");
        pty.expect("joined");
        pty.line("sleep 100");
        std::thread::sleep(std::time::Duration::from_millis(100));
        pty.keys("\x03");
        pty.line("echo $((40 + 2)); exit 6");
        pty.expect("42");
        assert_eq!(pty.wait(), 6);
        u.tool("subhost-stop w").silent();
    });
}

#[test]
fn an_own_init() {
    user(|u| {
        let dir = u.overlay("w", "INIT=/sbin/init\nSTOP_TIMEOUT=10s\n");
        fs::create_dir(dir.join("root/etc")).unwrap();
        let inittab = "::sysinit:/bin/touch /run/begun\n::respawn:/bin/sleep 1000\n";
        fs::write(dir.join("root/etc/inittab"), inittab).unwrap();
        u.own();
        u.tool("subhost-start w").silent();
        eventually("its init works", || {
            u.inside("w", "ls /run; ps -o args").contains("begun")
        });
        u.tool("subhost-stop w").silent();
        assert_eq!(u.state("w"), "stopped");
    });
}

#[test]
fn the_world_stays_while_something_is_up() {
    user(|u| {
        u.overlay("w", "");
        u.overlay("v", "");
        u.tool("subhost-mount w").silent();
        let holder = u.holder().unwrap();
        u.tool("subhost-start v").silent();
        u.tool("subhost-stop w").silent();
        assert_eq!(u.holder(), Some(holder));
        assert!(!ends(holder)());
        u.tool("subhost-stop v").silent();
        eventually("its holder ends", ends(holder));
    });
}

/// With its holder what is mounted is gone; processes are found and ended all the same.
#[test]
fn a_killed_holder() {
    user(|u| {
        u.overlay("w", "RUN='sleep 1001'\n");
        u.overlay("v", "");
        u.tool("subhost-start w").silent();
        u.tool("subhost-mount v").silent();
        let pid = u.tool("subhost-list -o pid w").ok().text();
        let pid: i32 = pid.parse().unwrap();
        let holder = u.holder().unwrap();
        kill(Pid::from_raw(holder), Signal::SIGKILL).unwrap();
        eventually("its holder ends", ends(holder));
        assert_eq!(u.state("w"), "running");
        assert_eq!(u.state("v"), "broken");
        assert_ne!(u.holder(), Some(holder));
        u.tool("subhost-start v").silent();
        assert_eq!(u.inside("v", "echo up"), "up");
        u.tool("subhost-stop v w").silent();
        eventually("PID 1 ends", ends(pid));
    });
}

/// A tool that is killed in the middle leaves no process that holds namespaces.
#[test]
fn a_killed_tool() {
    user(|u| {
        u.overlay("w", "");
        let mut entered = u.enter("w", "echo in; sleep 1002").start();
        let mut holder = None;
        eventually("it is in", || {
            holder = u.holder();
            holder.is_some() && u.state("w") == "running"
        });
        entered.kill();
        entered.wait();
        eventually("what it booted ends", || u.state("w") != "running");
        u.tool("subhost-stop w").silent();
        eventually("its holder ends", ends(holder.unwrap()));
    });
}

#[test]
fn many_at_once() {
    user(|u| {
        for name in ["a", "b", "c", "d"] {
            u.overlay(name, "");
        }
        for _ in 0..3 {
            let runs = ["a", "b", "c", "d"].map(|name| u.enter(name, "hostname").start());
            let texts = runs.map(|run| run.wait());
            for (text, name) in texts.iter().zip(["a", "b", "c", "d"]) {
                assert_eq!((text.code, text.text().as_str()), (0, name), "{text}");
            }
        }
    });
}

#[test]
fn two_users_do_not_meet() {
    sandbox(|s| {
        let (ann, bob) = (s.user("ann", 1500), s.user("bob", 1600));
        let before = s.snapshot();
        ann.overlay("w", "RUN='sleep 1003'\n");
        bob.overlay("w", "");
        ann.tool("subhost-start w").silent();
        assert_eq!(bob.state("w"), "stopped");
        assert_eq!(
            bob.inside("w", "ps -o args | grep -c '[s]leep 1003'; exit 0"),
            "0"
        );
        bob.tool("subhost-stop w").silent();
        assert_eq!(ann.state("w"), "running");
        assert!(!s.test("subhost-list"));
        // Root's own of the same name is a third one.
        s.overlay("w", "");
        assert_eq!(s.state("w"), "stopped");
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --sync w").silent();
        ann.tool("subhost-stop w").silent();
        ann.is_gone();
        bob.is_gone();
        s.assert_same(&before);
    });
}

#[test]
fn what_needs_root_is_refused_by_name() {
    user(|u| {
        u.overlay("w", "");
        for (set, parts) in [
            ("BRIDGES=br0", &["cable", "need root"][..]),
            ("MEMORY=10M", &["MEMORY", "the user may manage"][..]),
            ("LOWER=/", &["no mount may lie below a layer"][..]),
            ("USERNS=yes", &["ids of its own", "USERNS"][..]),
        ] {
            let line = format!("subhost-enter --set {set} w -- true");
            u.tool(&line).fails(125, parts);
            u.is_gone();
        }
        u.tool("subhost-enter --set USERNS=auto w -- true").silent();
        let dir = u.bare("image", "");
        fs::write(dir.join("image.img"), [0; 4096]).unwrap();
        u.own();
        u.tool("subhost-mount image")
            .fails(1, &["image.img", "loop devices need root"]);
        u.is_gone();
    });
}

/// A user without subordinate ids gets a message that names what is missing.
#[test]
fn a_user_without_ids() {
    sandbox(|s| {
        let u = s.user("ann", 1500);
        let before = s.snapshot();
        u.overlay("w", "");
        s.host(": >/etc/subgid");
        u.tool("subhost-list")
            .fails(1, &["/etc/subgid", "ann", "65536"]);
        s.host("echo ann:300000:65536 >/etc/subgid; : >/etc/subuid");
        u.tool("subhost-enter w")
            .fails(125, &["/etc/subuid", "ann:"]);
        s.host("echo ann:300000:100 >/etc/subuid");
        u.tool("subhost-start w").fails(1, &["/etc/subuid"]);
        // By number it is the same.
        s.host("echo 1500:150000000:65536 >/etc/subuid; cp /etc/subuid /etc/subgid");
        assert_eq!(u.inside("w", "id -u"), "0");
        s.host("mount --bind /dev/null /usr/bin/newuidmap");
        u.tool("subhost-list").fails(1, &["newuidmap"]);
        s.host("umount /usr/bin/newuidmap");
        u.is_gone();
        s.assert_same(&before);
    });
}

/// No setting that somebody else could have written, and no tree that serves others.
#[test]
fn trust() {
    sandbox(|s| {
        let (u, bob) = (s.user("ann", 1500), s.user("bob", 1600));
        let before = s.snapshot();
        let dir = u.overlay("w", "");
        let config = dir.join("config");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
        u.tool("subhost-mount w").fails(5, &["config", "others"]);
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        // A stranger's config, in our directory and behind a link: all strangers look alike inside.
        let theirs = bob.overlay("w", "");
        for dir in [&bob.home, &bob.subhost, &theirs] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(theirs.join("config"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(&config).unwrap();
        symlink(theirs.join("config"), &config).unwrap();
        u.tool("subhost-mount w").fails(5, &["belongs to uid"]);
        // $SUBHOST of somebody else, below his home, and below what all may write.
        let line = format!("subhost-list -S {}", bob.subhost.display());
        u.tool(&line).fails(5, &["belongs to uid 1600"]);
        s.host("mkdir -m 777 all; mkdir -m 700 all/ann; chown 1500:1500 all/ann");
        let line = format!("subhost-list -S {}/all/ann", s.base.display());
        u.tool(&line).fails(5, &["written by others"]);
        // A tree that others reach.
        let open = u.overlay("open", "");
        for dir in [&u.home, &u.subhost, &open, &open.join("root")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        u.tool("subhost-mount open")
            .fails(5, &["other users of the host can reach"]);
        u.is_gone();
        s.assert_same(&before);
    });
}

/// The state is where nobody else can put anything.
#[test]
fn a_runtime_directory_of_somebody_elses() {
    sandbox(|s| {
        // Of a number that no other test has: /tmp is everybody's.
        let u = s.user("eve", 1777);
        u.overlay("w", "");
        s.host("rm -r /run/user/1777; rm -rf /tmp/subhost-1777");
        let before = s.snapshot();
        u.tool("subhost-start w").silent();
        let meta = fs::metadata("/tmp/subhost-1777").unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (1777, 0o700));
        u.tool("subhost-stop w").silent();
        eventually("it is gone", || !Path::new("/tmp/subhost-1777").exists());
        for made in [
            "mkdir -m 700 /tmp/subhost-1777",
            "mkdir -m 777 /tmp/subhost-1777; chown 1777 /tmp/subhost-1777",
            "ln -s /run /tmp/subhost-1777",
        ] {
            s.host(made);
            u.tool("subhost-start w").fails(1, &["/tmp/subhost-1777"]);
            s.host("rm -rf /tmp/subhost-1777");
        }
        // A runtime directory of another user, as `su` leaves it in the environment, is not used.
        let run = u.tool("subhost-list").env("XDG_RUNTIME_DIR", "/run");
        run.ok();
        eventually("it is gone", || !Path::new("/tmp/subhost-1777").exists());
        s.assert_same(&before);
    });
}

/// Without -S and SUBHOST: by the XDG base directories.
#[test]
fn where_things_are_by_default() {
    user(|u| {
        u.overlay("w", "RUN='echo hello'\n");
        let said = |log: &Path| {
            eventually("it has written its log", || {
                fs::read_to_string(log).is_ok_and(|text| text == "hello\n")
            });
        };
        let run = |script: &str| u.sh(&format!("unset SUBHOST; {script}")).ok();
        run("mkdir -p ~/.local/share; mv ~/subhosts ~/.local/share/subhost");
        run("subhost-start w; subhost-config w UPPER");
        said(&u.home.join(".local/state/subhost/w.log"));
        run("subhost-stop w; [ $(subhost-enter w -- hostname) = w ]");
        run("cd ~/.local; [ $(subhost-enter -S share/subhost w -- id -u) = 0 ]");
        let other = "export XDG_DATA_HOME=$HOME/x XDG_STATE_HOME=$HOME/y";
        run(&format!("mv ~/.local/share ~/x; {other}; subhost-start w"));
        said(&u.home.join("y/subhost/w.log"));
        run(&format!("{other}; subhost-stop w"));
    });
}

/// The check reports nothing of other users.
#[test]
fn the_check() {
    sandbox(|s| {
        let u = s.user("ann", 1500);
        s.overlay("root", "");
        s.tool("subhost-start root").silent();
        let before = s.snapshot();
        u.overlay("w", "");
        let told = u.tool("subhost-check").run();
        assert_has(&told.stdout, &["loop devices", "left: nothing"]);
        assert_lacks(&told.stdout, &["nothing can be booted", "user namespaces"]);
        u.tool("subhost-start w").silent();
        let told = u.tool("subhost-check --repair").run();
        assert_has(&told.stdout, &["left: nothing"]);
        assert_eq!(
            (u.state("w"), s.state("root")),
            ("running".into(), "running".into())
        );
        // With all state removed by hand, the user namespace ends, and the mounts with it.
        let pid = u.tool("subhost-list -o pid w").ok().text();
        u.sh(&format!(
            "kill -9 {pid}; rm -r /run/user/1500/subhost/run/w"
        ))
        .ok();
        u.is_gone();
        assert_has(&u.tool("subhost-check").run().stdout, &["left: nothing"]);
        s.assert_same(&before);
    });
}

/// The commands of subhost-cookbook(7), as they are there but for the network, which needs a way out.
#[test]
fn the_cookbook() {
    user(|u| {
        let script = common::recipe("Work without root").replace("echo NET=user >", ": >");
        let told = u.sh(&format!("set -eu; unset SUBHOST\n{script}")).ok();
        assert_has(&told.stdout, &["uid=0"]);
        u.is_gone();
    });
}

/// A host with a way out, a web server on an address of its own and another on its loopback.
fn with_network(uid: u32, test: impl FnOnce(&Sandbox, &User) + Send + 'static) {
    if !need(&["pasta", "slirp4netns", "newuidmap"]) {
        return;
    }
    sandbox(move |s| {
        // Of a number that no other test has.
        let u = s.user("ann", uid);
        s.host(
            "ip link add out type veth peer name far; ip link set out up; ip link set far up
             ip address add 192.0.2.10/24 dev out
             ip route add default via 192.0.2.1; ip address add 198.51.100.7/32 dev out
             mknod tun c 10 200; chmod 666 tun; mount --bind tun /dev/net/tun
             mkdir www; echo reached >www/index.html; printf 'nameserver 198.51.100.53\\n' >/etc/resolv.conf",
        );
        let serve = |at: &str| {
            let httpd = format!("exec busybox httpd -f -p {at}:8080 -h www");
            Run::host(&s.base, &httpd).start()
        };
        let mut servers = [serve("198.51.100.7"), serve("127.0.0.1")];
        eventually("the servers listen", || {
            s.host("ss -Hltn | grep -c :8080 || :") == "2"
        });
        let before = s.snapshot();
        test(s, &u);
        u.is_gone();
        s.assert_same(&before);
        for server in &mut servers {
            server.kill();
        }
        for server in servers {
            server.wait();
        }
    });
}

/// What a web server says. Not by busybox's wget, which a static one may not survive.
fn fetch(address: &str) -> String {
    let (host, port) = address.split_once(':').unwrap();
    format!(
        "{{ printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 1; }} | timeout 3 nc {host} {port} | grep -x reached"
    )
}

/// Reaches what the host reaches, and not the host's own loopback.
fn goes_out(s: &Sandbox, u: &User, helper: &str) {
    u.overlay("w", "NET=user\n");
    let seen = u.inside(
        "w",
        &format!("{}; cat /etc/resolv.conf", fetch("198.51.100.7:8080")),
    );
    assert_eq!(seen, "reached\nnameserver 10.0.2.3", "{helper}");
    u.is_gone();
    u.tool("subhost-net w").silent();
    let runs = |count: &str| {
        let count = count.to_owned();
        let pgrep = format!(
            "pgrep -c -u {} -f /usr/bin/{helper}.*/run/netns/[w] || :",
            u.uid
        );
        eventually("the helper runs or not", || s.host(&pgrep) == count);
    };
    runs("1");
    assert_eq!(u.state("w"), "hibernating");
    u.tool("subhost-start w").silent();
    for address in ["127.0.0.1", "10.0.2.2", "192.0.2.1", "192.0.2.10"] {
        let out = u.enter("w", &fetch(&format!("{address}:8080"))).run();
        assert_ne!(out.code, 0, "{helper}, {address}: {out}");
    }
    // Nobody comes in.
    u.tool("subhost-enter w -- sh -c")
        .arg("echo reached >/srv/index.html; httpd -p 8081 -h /srv")
        .ok();
    assert_eq!(u.inside("w", &fetch("127.0.0.1:8081")), "reached");
    assert_eq!(s.host("ss -Hltn | grep -c :8081 || :"), "0");
    assert!(!s.test("busybox wget -q -T 2 -O - http://127.0.0.1:8081"));
    // A helper that has died is missed, and started anew.
    u.tool("subhost-stop --keep w").silent();
    s.host(&format!(
        "pkill -KILL -u {} -f /usr/bin/{helper}.*/run/netns/[w]",
        u.uid
    ));
    eventually("it is missed", || u.state("w") == "broken");
    u.tool("subhost-start w").silent();
    eventually("it is reached again", || {
        u.enter("w", &fetch("198.51.100.7:8080")).run().text() == "reached"
    });
    u.tool("subhost-stop w").silent();
    runs("0");
    let line = "subhost-enter --set DNS=192.0.2.53 w -- cat /etc/resolv.conf";
    assert_eq!(u.tool(line).ok().text(), "nameserver 192.0.2.53");
}

#[test]
fn network_by_pasta() {
    with_network(1701, |s, u| {
        goes_out(s, u, "pasta");
    });
}

#[test]
fn network_by_slirp4netns() {
    with_network(1702, |s, u| {
        s.host("mount --bind /dev/null /usr/bin/pasta");
        goes_out(s, u, "slirp4netns");
        s.host("umount /usr/bin/pasta");
    });
}

#[test]
fn network_without_a_helper() {
    with_network(1703, |s, u| {
        u.overlay("w", "NET=user\n");
        s.overlay("w", "NET=user\n");
        s.tool("subhost-start w")
            .fails(1, &["works only without root", "BRIDGES"]);
        s.host(
            "mount --bind /dev/null /usr/bin/pasta; mount --bind /dev/null /usr/bin/slirp4netns",
        );
        u.tool("subhost-start w")
            .fails(1, &["pasta", "slirp4netns", "passt"]);
        s.host("umount /usr/bin/slirp4netns; umount /usr/bin/pasta; ip route delete default");
        u.tool("subhost-start w")
            .fails(1, &["pasta", "default route"]);
        s.host("ip route add default via 192.0.2.1; chmod 600 tun");
        u.tool("subhost-start w")
            .fails(1, &["/dev/net/tun", "chmod 666"]);
        let line = "subhost-start --set BRIDGES=br0 w";
        u.tool(line).fails(5, &["BRIDGES", "NET=user"]);
    });
}
