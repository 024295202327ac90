//! `subhost-check`: each kind of leftover is made, found, reported with its holder, and repaired where that needs no
//! force. What only looks like one stays.

mod common;

use common::{
    Background, Sandbox, Snapshot, assert_has, assert_lacks, eventually, quote, sandbox,
    sandbox_private,
};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The list `left` of `--json`, with the status.
fn look(s: &Sandbox, more: &str) -> (i32, Vec<Value>) {
    let out = s.tool(&format!("subhost-check --json {more}")).run();
    let all: Value =
        serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("not JSON: {e}: {out}"));
    assert!(!all["host"].as_array().unwrap().is_empty());
    (out.code, all["left"].as_array().unwrap().clone())
}

/// Nothing is missing and nothing left.
#[track_caller]
fn clean(s: &Sandbox) {
    let (code, left) = look(s, "");
    assert!(code == 0 && left.is_empty(), "{code}: {left:#?}");
}

/// Exactly one thing of this kind is left, and the status says so.
#[track_caller]
fn left(s: &Sandbox, kind: &str) -> Value {
    let (code, all) = look(s, "");
    let of: Vec<&Value> = all.iter().filter(|item| item["kind"] == kind).collect();
    assert!(code == 1 && of.len() == 1, "{code}, {kind}: {all:#?}");
    assert_eq!(of[0]["level"], "left");
    let text = s.tool("subhost-check").fails(1, &[]).stdout;
    assert_has(&text, &[kind, of[0]["object"].as_str().unwrap()]);
    of[0].clone()
}

/// Asserts that `--repair` removes all and says so, that the host is as before, and that a second one finds nothing.
#[track_caller]
fn repairs(s: &Sandbox, before: &Snapshot) {
    let (code, all) = look(s, "--repair");
    assert_eq!(code, 0, "{all:#?}");
    for item in &all {
        assert_eq!(item["outcome"], "repaired", "{item:#}");
    }
    s.assert_same(before);
    clean(s);
}

/// `--repair` leaves everything as it is.
#[track_caller]
fn does_not_touch(s: &Sandbox) {
    let before = s.snapshot();
    s.tool("subhost-check --repair").run();
    s.assert_same(&before);
}

#[track_caller]
fn holder(item: &Value, pid: i32, command: &str) {
    let holders = item["holders"].as_array().unwrap();
    let held = holders
        .iter()
        .any(|held| held["pid"] == pid && held["command"] == command);
    assert!(held, "no {command} ({pid}) in {item:#}");
}

/// A program in the background, once its namespaces are made.
fn background(s: &Sandbox, script: &str, command: &str) -> Background {
    let run = s.sh(script).start();
    let comm = format!("/proc/{}/comm", run.pid());
    eventually(command, || {
        fs::read_to_string(&comm).is_ok_and(|name| name.trim() == command)
    });
    run
}

fn end(mut run: Background) {
    run.kill();
    run.wait();
}

#[test]
fn a_clean_host_is_clean() {
    sandbox(|s| {
        let before = s.snapshot();
        clean(s);
        s.tool("subhost-check -q").silent();
        let out = s.tool("subhost-check").ok();
        assert_has(&out.stdout, &["host: ", "left: nothing"]);
        assert_eq!(out.stderr, "");
        let all = s.tool("subhost-check -v").ok().stdout;
        assert_has(
            &all,
            &["kernel", "overlay", "veth", "loop devices", "subhost-init"],
        );
        s.assert_same_now(&before);
        s.tool("subhost-check --repair").ok();
        s.assert_same_now(&before);
        s.tool("subhost-check --nosuch").fails(2, &["nosuch"]);
        s.tool_s("subhost-check -q").silent();
    });
}

#[test]
fn without_subhosts_there_is_nothing_to_find() {
    sandbox(|s| {
        fs::remove_dir(&s.subhost).unwrap();
        let out = s.tool("subhost-check").ok();
        assert_has(&out.stdout, &["there is no", "left: nothing"]);
        fs::write(&s.subhost, "").unwrap();
        s.tool("subhost-check").fails(1, &[]);
        fs::remove_file(&s.subhost).unwrap();
        s.host("mkdir -m 777 opt");
        let out = s.tool("subhost-check").fails(1, &[]);
        assert_has(&out.stdout, &["missing", "chmod go-w"]);
    });
}

#[test]
fn what_the_host_lacks_is_told_with_its_price() {
    sandbox(|s| {
        s.host("mount -t tmpfs -o size=1M t /var/log");
        s.host(
            "grep -v '\\<erofs$' /proc/filesystems >known; mount --bind known /proc/filesystems",
        );
        let out = s.tool("subhost-check").run();
        assert_has(
            &out.stdout,
            &["missing  erofs", "no images", "CONFIG_EROFS_FS"],
        );
        assert_has(&out.stdout, &["note     room for logs"]);
        assert_eq!(out.code, 0, "rbinds and overlays work: {out}");
        s.host("umount /proc/filesystems; mkdir elsewhere; cp $PWD/known elsewhere");
        let tool = Path::new(common::tools_dir()).join("subhost-check");
        let copy = s.base.join("elsewhere/subhost-check");
        fs::copy(tool, &copy).unwrap();
        let out = s.sh(&format!("exec {}", copy.display())).run();
        // It may be installed on this very host.
        if !["/usr/local/sbin", "/usr/sbin"]
            .iter()
            .any(|dir| Path::new(dir).join("subhost-init").exists())
        {
            assert_eq!(out.code, 1, "{out}");
            assert_has(
                &out.stdout,
                &["missing  subhost-init", "nothing can be booted"],
            );
        }
    });
}

#[test]
fn what_is_up_is_not_left() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("hib", "BRIDGES='br0 ='\n");
        s.image("img", "ext4", "");
        s.rbind("on", "BRIDGES=br0\nADDR0=192.0.2.10/24\n");
        s.overlay("vol", "VOLATILE=yes\n");
        let sys = s.rbind("sys", "INIT='/bin/busybox init'\n");
        // Without one it tries shells on terminals that are not there, again and again.
        sys.write("root/etc/inittab", "::once:/bin/sleep 1000\n");
        let before = s.snapshot();
        s.tool("subhost-mount hib vol").silent();
        s.tool("subhost-net hib").silent();
        s.tool("subhost-start on img sys").silent();
        eventually("its init has run it", || s.runs("sleep 1000"));
        let up = s.snapshot();
        clean(s);
        s.tool("subhost-check -q --repair").silent();
        s.assert_same(&up);
        s.tool("subhost-stop --keep on img sys").silent();
        clean(s);
        s.tool("subhost-stop --sync --all").silent();
        s.assert_same(&before);
    });
}

#[test]
fn what_is_not_ours_is_left_alone() {
    sandbox(|s| {
        s.overlay("w", "");
        s.image("img", "ext4", "");
        s.host(
            "truncate -s 1M file; losetup -f file; ip netns add other; : >/run/netns/stranger
             ip link add w0 type veth peer name w1; ip link set w1 alias 'subhost of mine'
             mkdir mine; mount -t tmpfs mine mine; mkdir opt/layers/x; mount -t tmpfs y opt/layers/x",
        );
        let held = background(s, "exec unshare -mn sleep 1000", "sleep");
        clean(s);
        does_not_touch(s);
        // On a place of ours it is worth telling, and no more.
        s.host("mkdir opt/w/live; mount -t tmpfs mine opt/w/live");
        let (code, all) = look(s, "--repair");
        assert_eq!((code, all.len()), (0, 1), "{all:#?}");
        assert_eq!(
            (&all[0]["kind"], &all[0]["level"]),
            (&"mount".into(), &"note".into())
        );
        does_not_touch(s);
        end(held);
        s.host("losetup -d $(losetup -nO NAME -j file)");
    });
}

#[test]
fn rests_of_killed_commands_in_run() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.host("mkdir -p /run/subhost/w; : >/run/subhost/w/lock; : >/run/subhost/w/root.new");
        let item = left(s, "state");
        assert_eq!(
            (&item["subhost"], &item["repairable"]),
            (&"w".into(), &true.into())
        );
        repairs(s, &before);

        // A PID 1 that has ended, and a plan of an earlier boot.
        s.tool("subhost-start w").silent();
        s.host("cp -a /run/subhost/w was");
        s.tool("subhost-stop --sync w").silent();
        s.host("mkdir -p /run/subhost/w; cp was/init /run/subhost/w");
        assert_has(
            left(s, "state")["why"].as_str().unwrap(),
            &["PID 1", "ended"],
        );
        repairs(s, &before);
        s.host(
            "mkdir -p /run/subhost/w; cp was/init /run/subhost/w
             sed 's/\"boot\":\"[^\"]*\"/\"boot\": \"earlier\"/' was/root.plan >/run/subhost/w/root.plan",
        );
        assert_has(left(s, "state")["why"].as_str().unwrap(), &["earlier boot"]);
        repairs(s, &before);

        // Beside what is up, only the unfinished file goes.
        s.tool("subhost-mount w").silent();
        let up = s.snapshot();
        s.host(": >/run/subhost/w/net.new");
        assert_has(left(s, "state")["object"].as_str().unwrap(), &["net.new"]);
        repairs(s, &up);
        s.stop("w", &before);

        s.host(": >opt/w/assigned.new");
        assert_eq!(left(s, "file")["subhost"], "w");
        repairs(s, &before);
        assert!(!s.subhost.join("w/assigned.new").exists());
    });
}

#[test]
fn damaged_state_is_told_and_nothing_of_it_touched() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        for (file, damage) in [("root.plan", "{"), ("root.plan", "\\377"), ("init", "{")] {
            s.tool("subhost-start w").silent();
            let path = format!("/run/subhost/w/{file}");
            s.host(&format!("cp {path} was; printf '{damage}' >{path}"));
            let (code, all) = look(s, "");
            assert_eq!((code, all.len()), (1, 1), "{all:#?}");
            assert_eq!(
                (&all[0]["kind"], &all[0]["repairable"]),
                (&"state".into(), &false.into())
            );
            assert_has(&all[0].to_string(), &["remove the file"]);
            does_not_touch(s);
            s.host(&format!("cp was {path}; rm was"));
            s.stop("w", &before);
        }
    });
}

#[test]
fn claims_of_what_is_not_up() {
    sandbox(|s| {
        s.overlay("w", "");
        s.overlay("up", "");
        let before = s.snapshot();
        s.host("mkdir -p /run/subhost/.in-use");
        assert_has(left(s, "claim")["object"].as_str().unwrap(), &[".in-use"]);
        repairs(s, &before);
        s.host("mkdir -p /run/subhost/.in-use; ln -s w /run/subhost/.in-use/0:1:2");
        assert_eq!(left(s, "claim")["subhost"], "w");
        repairs(s, &before);
        s.host("mkdir -p /run/subhost/.in-use; ln -s '../odd' /run/subhost/.in-use/0:1:3");
        left(s, "claim");
        let (code, _) = look(s, "--repair");
        assert_eq!(code, 0);
        s.tool("subhost-mount up").silent();
        let up = s.snapshot();
        s.host("ln -s w /run/subhost/.in-use/0:1:2");
        left(s, "claim");
        repairs(s, &up);
        s.stop("up", &before);
    });
}

#[test]
fn half_built_is_stopped_but_not_under_a_commands_hands() {
    sandbox(|s| {
        s.overlay("w", "BRIDGES='='\n");
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-net w").silent();
        s.host("umount opt/w/live");
        let item = left(s, "half-built");
        assert_has(item["why"].as_str().unwrap(), &["missing", "live"]);
        repairs(s, &before);

        s.tool("subhost-mount w").silent();
        s.host("umount opt/w/live");
        let lock = background(s, "exec flock -F /run/subhost/w/lock sleep 1000", "sleep");
        eventually("it is locked", || {
            !s.test("flock -n /run/subhost/w/lock true")
        });
        clean(s);
        does_not_touch(s);
        assert_has(
            &s.tool("subhost-check -v").ok().stderr,
            &["w: skipped while a command works on it", "sleep"],
        );
        end(lock);
        eventually("nobody is at work", || look(s, "").0 == 1);
        repairs(s, &before);
    });
}

#[test]
fn a_command_at_work_is_waited_for_if_asked() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.host("umount opt/w/live");
        // Between the looks and the repair somebody takes it.
        let taker = s
            .sh("i=0; while [ $i -lt 40 ]; do flock /run/subhost/w/lock sleep 0.05; i=$((i + 1)); done")
            .start();
        let (_, all) = look(s, "--repair --wait 20");
        for item in &all {
            assert!(
                item["outcome"] == "repaired" || item["outcome"]["failed"].is_string(),
                "{item:#}"
            );
        }
        taker.wait();
        s.tool("subhost-check --repair -q").silent();
        s.assert_same(&before);
    });
}

#[test]
fn unrecorded_sets_are_noted_and_stopped() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        s.rbind("r", "");
        s.image("i", "ext4", "");
        let before = s.snapshot();
        s.sh("for n in w r i; do subhost-mount -n $n | sh; done; subhost-net -n w | sh")
            .ok();
        let (code, all) = look(s, "");
        assert_eq!((code, all.len()), (0, 4), "{all:#?}");
        for item in &all {
            assert_eq!(
                (&item["kind"], &item["level"]),
                (&"unrecorded".into(), &"note".into())
            );
        }
        s.tool("subhost-check -q").silent();
        repairs(s, &before);

        // A part of a set.
        s.tool("subhost-mount i").silent();
        s.tool("subhost-net w").silent();
        s.host("rm -r /run/subhost; ip link delete w0; ip link add br1 type bridge");
        let (code, all) = look(s, "");
        assert_eq!(
            (code, all.len()),
            (0, 1),
            "a bare namespace is no one's: {all:#?}"
        );
        s.host("ip netns delete w; ip link delete br1");
        repairs(s, &before);
    });
}

#[test]
fn what_runs_is_not_taken_down_for_want_of_a_record() {
    sandbox(|s| {
        s.bridge("br0");
        let w = s.overlay("w", "NET=host\n");
        let sys = s.overlay("sys", "INIT='/bin/busybox init'\nBRIDGES=br0\n");
        sys.write("root/etc/inittab", "::once:/bin/sleep 1000\n");
        let before = s.snapshot();
        // A network that a person makes for a subhost that runs with the host's.
        s.tool("subhost-start w").silent();
        w.config("BRIDGES=br0\n");
        s.sh("subhost-net -n w | sh").ok();
        let up = s.snapshot();
        clean(s);
        s.tool("subhost-check --repair").ok();
        s.assert_same(&up);
        assert_eq!(s.state("w"), "running");
        s.tool("subhost-stop --sync w").silent();
        s.assert_same(&before);

        // An init of the tree's own, whose record is lost.
        s.tool("subhost-start sys").silent();
        eventually("its init has run it", || s.runs("sleep 1000"));
        let pid = s.pid("sys");
        s.host("rm -r /run/subhost");
        let (code, all) = look(s, "");
        assert_eq!(code, 1);
        let sets: Vec<&Value> = all
            .iter()
            .filter(|item| item["kind"] == "unrecorded")
            .collect();
        assert_eq!(sets.len(), 2, "{all:#?}");
        for set in sets {
            assert_eq!(set["repairable"], false);
            holder(set, pid, "busybox");
        }
        does_not_touch(s);
        s.host(&format!("kill -9 {pid}"));
        eventually("it has ended", || {
            !Path::new(&format!("/proc/{pid}/exe")).exists()
        });
        repairs(s, &before);
    });
}

#[test]
fn layers_that_are_files_and_what_is_strange_in_run() {
    sandbox(|s| {
        s.layer("base");
        if !common::need(&["mkfs.erofs"]) || !common::need_fs("erofs") {
            return;
        }
        s.host("mkfs.erofs opt/layers/one.erofs opt/layers/base >/dev/null 2>&1");
        let l = s.bare("l", "LOWER=$SUBHOST/layers/one.erofs\n");
        l.mkdir("root");
        let before = s.snapshot();
        s.tool("subhost-mount l").silent();
        clean(s);
        s.host("rm /run/subhost/l/root.plan /run/subhost/l/lock; rm -r /run/subhost/.in-use");
        let (_, all) = look(s, "--repair");
        assert!(!all.is_empty());
        clean(s);
        eventually("the loop device is gone", || {
            s.snapshot().loops().is_empty()
        });
        s.assert_same(&before);
        s.host("mkdir -p /run/subhost/l/lower0 /run/subhost/l/mine");
        assert_has(
            left(s, "state")["why"].as_str().unwrap(),
            &["mine is not ours"],
        );
        does_not_touch(s);
        s.host("rmdir /run/subhost/l/mine");
        repairs(s, &before);
    });
}

#[test]
fn mounts_that_no_plan_and_no_settings_account_for() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let i = s.image("i", "ext4", "");
        let before = s.snapshot();
        s.tool("subhost-mount w i").silent();
        s.host("rm -r /run/subhost");
        fs::remove_file(w.path("config")).unwrap();
        fs::remove_file(i.path("config")).unwrap();
        let mut sits = background(s, "cd $SUBHOST/w/live && exec sleep 1000", "sleep");
        let (code, all) = look(s, "");
        assert_eq!(code, 1);
        let mounts: Vec<&Value> = all.iter().filter(|item| item["kind"] == "mount").collect();
        assert_eq!((all.len(), mounts.len()), (3, 3), "{all:#?}");
        for part in ["w/live", "i/live", "i/mnt"] {
            let found = mounts
                .iter()
                .find(|m| m["object"].as_str().unwrap().contains(part));
            let found = found.unwrap_or_else(|| panic!("no {part}: {all:#?}"));
            assert_has(found["remedy"].as_str().unwrap(), &["umount", part]);
            if part == "w/live" {
                holder(found, sits.pid(), "sleep");
            }
        }
        does_not_touch(s);
        sits.kill();
        sits.wait();
        s.host("umount opt/w/live opt/i/live opt/i/mnt");
        w.config("");
        i.config("");
        clean(s);
        s.assert_same(&before);
    });
}

#[test]
fn copies_in_other_mount_namespaces_name_their_process() {
    let copies = |s: &Sandbox| {
        s.overlay("w", "");
        s.image("i", "ext4", "");
        let odd = s.base.join("sl\u{1b}[1m");
        s.host(&format!(
            "cp -L \"$(command -v sleep)\" {}",
            quote(odd.to_str().unwrap())
        ));
        let before = s.snapshot();
        s.tool("subhost-mount w i").silent();
        let script = format!(
            "exec unshare -m --propagation private {} 1000",
            quote(odd.to_str().unwrap())
        );
        let mut held = background(s, &script, "sl\u{1b}[1m");
        clean(s);
        s.tool("subhost-stop w i").run();
        let inode = fs::read_link(format!("/proc/{}/ns/mnt", held.pid())).unwrap();
        let inode = inode
            .to_str()
            .unwrap()
            .trim_matches(|c: char| !c.is_ascii_digit());
        let (code, all) = look(s, "");
        assert_eq!(code, 1);
        let copies: Vec<&Value> = all.iter().filter(|item| item["kind"] == "copy").collect();
        assert_eq!((all.len(), copies.len()), (3, 3), "{all:#?}");
        for item in &copies {
            holder(item, held.pid(), "sl\\u{1b}[1m");
            assert_has(item["object"].as_str().unwrap(), &[inode]);
        }
        let out = s.tool("subhost-check --repair").fails(1, &[]).stdout;
        assert_has(
            &out,
            &["copy", "nsenter", &format!("pid {}", held.pid()), inode],
        );
        assert_lacks(&out, &["\u{1b}"]);
        assert!(held.runs());
        end(held);
        eventually("the loop device is gone", || {
            s.snapshot().loops().is_empty()
        });
        clean(s);
        s.assert_same(&before);
    };
    sandbox(copies);
    sandbox_private(copies);
}

#[test]
fn loop_devices_that_serve_no_mount() {
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        s.overlay("l", "");
        s.host("truncate -s 1M opt/layers/one.img; cp opt/layers/one.img user.img");
        let before = s.snapshot();
        let image = w.path("w.img");
        let image = image.display();
        s.host(&format!("losetup -f {image}"));
        let item = left(s, "loop");
        assert_eq!(
            (&item["subhost"], &item["repairable"]),
            (&"w".into(), &true.into())
        );
        repairs(s, &before);

        // A layer's file, and what is the user's own.
        s.host("losetup -f opt/layers/one.img; losetup -f user.img");
        assert_has(left(s, "loop")["object"].as_str().unwrap(), &["one.img"]);
        let (code, _) = look(s, "--repair");
        assert_eq!(code, 0);
        assert_eq!(s.snapshot().loops().len(), 1, "user.img");
        s.host("losetup -d $(losetup -nO NAME -j user.img)");

        // Somebody has it open.
        s.host(&format!("losetup -f {image}"));
        let device = s.host(&format!("losetup -nO NAME -j {image}"));
        let open = background(s, &format!("exec sleep 1000 <{device}"), "sleep");
        holder(&left(s, "loop"), open.pid(), "sleep");
        does_not_touch(s);
        end(open);
        repairs(s, &before);

        // Mounted somewhere, it is that mount which is told.
        s.host(&format!("mkdir m; mount -o loop {image} m"));
        let mount = left(s, "mount");
        assert_eq!(mount["subhost"], "w");
        does_not_touch(s);
        s.host("umount m; rmdir m");
        eventually("the loop device is gone", || {
            s.snapshot().loops().is_empty()
        });
        s.assert_same(&before);

        // Its subhost is up.
        s.tool("subhost-mount w").silent();
        s.host(&format!("losetup -rf {image}"));
        assert_eq!(left(s, "loop")["repairable"], false);
        does_not_touch(s);
        let free = format!("losetup -nO NAME,RO -j {image} | awk '$2 == 1 {{ print $1 }}'");
        s.host(&format!("losetup -d $({free})"));
        s.stop("w", &before);
    });
}

#[test]
fn files_of_namespaces_that_never_were() {
    sandbox(|s| {
        s.overlay("w", "");
        s.host("mkdir -p /run/netns");
        let before = s.snapshot();
        s.host("mkdir -p /run/netns; : >/run/netns/w");
        let item = left(s, "netns");
        assert_eq!(
            (&item["subhost"], &item["object"]),
            (&"w".into(), &"/run/netns/w".into())
        );
        // An adder at work holds the lock.
        let lock = background(s, "exec flock -F /run/netns sleep 1000", "sleep");
        eventually("it is locked", || !s.test("flock -n /run/netns true"));
        does_not_touch(s);
        end(lock);
        eventually("the lock is free", || s.test("flock -n /run/netns true"));
        repairs(s, &before);
        s.host("echo text >/run/netns/w");
        clean(s);
        does_not_touch(s);
    });
}

#[test]
fn links_that_no_plan_has_and_who_holds_their_peers() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        let before = s.snapshot();
        let held = background(s, "exec unshare -n sleep 1000", "sleep");
        eventually("it has its namespace", || {
            fs::read_link(format!("/proc/{}/ns/net", held.pid())).unwrap()
                != fs::read_link("/proc/thread-self/ns/net").unwrap()
        });
        let pid = held.pid();
        s.host(&format!(
            "ip link add w0 type veth peer name eth0 netns {pid}; ip link set w0 alias subhost:w:0"
        ));
        let item = left(s, "link");
        assert_eq!(item["subhost"], "w");
        holder(&item, pid, "sleep");
        s.host("ip link set w0 alias mine");
        clean(s);
        s.host("ip link set w0 name gone7; ip link set gone7 alias subhost:w:0");

        // A running subhost accounts for its own link, and not for that one.
        s.tool("subhost-start w").silent();
        assert_has(left(s, "link")["object"].as_str().unwrap(), &["gone7"]);
        let (code, _) = look(s, "--repair");
        assert_eq!(code, 0);
        assert_lacks(&s.host("ip -o link"), &["gone7"]);
        assert_eq!(s.state("w"), "running");
        s.tool("subhost-stop --sync w").silent();
        end(held);

        // Held by a name.
        s.host("ip netns add other; ip link add w0 type veth peer name eth0 netns other; ip link set w0 alias subhost:w:0");
        assert_has(
            left(s, "link")["why"].as_str().unwrap(),
            &["/run/netns/other"],
        );
        let (code, _) = look(s, "--repair");
        assert_eq!(code, 0);
        s.host("ip netns delete other");
        clean(s);
        s.assert_same(&before);
    });
}

#[test]
fn a_namespace_with_our_cables_and_no_plan() {
    sandbox(|s| {
        s.bridge("br0");
        let w = s.overlay("w", "BRIDGES=br0\n");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        s.host("rm -r /run/subhost");
        w.config("NET=host\n");
        let (code, all) = look(s, "");
        assert_eq!(code, 1);
        let kinds: Vec<&str> = all
            .iter()
            .map(|item| item["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["link", "netns"], "{all:#?}");
        assert_has(all[1]["remedy"].as_str().unwrap(), &["ip netns delete w"]);
        s.host("ip netns delete w");
        w.config("BRIDGES=br0\n");
        eventually("the kernel has taken the cable", || look(s, "").0 == 0);
        s.assert_same(&before);
    });
}

#[test]
fn cgroups_of_what_does_not_run() {
    sandbox(|s| {
        s.overlay("w", "");
        let tops = s.host("findmnt -nro TARGET -t cgroup,cgroup2");
        let v2 = s.host("findmnt -nro TARGET -t cgroup2");
        if v2.is_empty() {
            return common::skip("no cgroup v2");
        }
        let v2 = v2.lines().next().unwrap();
        let before = s.snapshot();
        s.host(&format!("mkdir -p {v2}/slice/subhost.w/deep/er"));
        assert_eq!(left(s, "cgroup")["subhost"], "w");
        s.tool("subhost-check --repair -q").silent();
        s.host(&format!("rmdir {v2}/slice"));
        s.assert_same(&before);

        s.host(&format!("mkdir {v2}/subhost.w"));
        let held = background(
            s,
            &format!("echo 0 >{v2}/subhost.w/cgroup.procs; exec sleep 1000"),
            "sleep",
        );
        let item = left(s, "cgroup");
        assert_eq!(item["repairable"], false);
        holder(&item, held.pid(), "sleep");
        does_not_touch(s);
        end(held);
        repairs(s, &before);

        if let Some(v1) = tops.lines().find(|top| *top != v2) {
            s.host(&format!("mkdir {v1}/subhost.w"));
            left(s, "cgroup");
            repairs(s, &before);
        }
    });
}

#[test]
fn a_pid_1_that_nobody_knows_is_ended() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        s.rbind("on", "");
        let before = s.snapshot();
        s.tool("subhost-start on w").silent();
        let (on, pid) = (s.pid("on"), s.pid("w"));
        s.host("rm -r /run/subhost/w");
        let item = left(s, "process");
        assert_eq!(item["subhost"], "w");
        holder(&item, pid, "subhost-init");
        let (code, all) = look(s, "--repair");
        assert_eq!(code, 0, "{all:#?}");
        eventually("it is gone", || {
            !Path::new(&format!("/proc/{pid}")).exists()
        });
        assert_eq!(s.pid("on"), on);
        // Only its record is lost: root and network stay.
        s.tool("subhost-start w").silent();
        s.host("rm /run/subhost/w/init");
        left(s, "process");
        assert_eq!(look(s, "--repair").0, 0);
        assert_eq!(s.state("w"), "hibernating");
        s.tool("subhost-stop --sync on w").silent();
        clean(s);
        s.assert_same(&before);
    });
}

/// Another container, or another test, with a /run of its own: its processes, mounts and links are
/// not ours to judge, though it has the same $SUBHOST.
#[test]
fn another_run_is_another_world() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let script = "mount -t tmpfs mine /run; subhost-start w && rm -r /run/subhost && \
                      echo up >$SUBHOST/up; exec sleep 1000";
        let held = background(
            s,
            &format!(
                "exec unshare -mn --propagation private sh -c {}",
                quote(script)
            ),
            "sleep",
        );
        assert!(s.subhost.join("up").exists());
        let inits = || {
            let all = s.snapshot();
            let all = all.lines("process").iter();
            all.filter(|line| line.contains("subhost-init")).count()
        };
        assert_eq!(inits(), 1);
        let (_, all) = look(s, "--repair");
        assert!(all.iter().all(|item| item["kind"] == "copy"), "{all:#?}");
        assert_eq!(inits(), 1, "another world's PID 1 was killed");
        // There it is one that nobody knows.
        let there = format!("exec nsenter -t {} -m -n subhost-check --json", held.pid());
        let out = s.sh(&there).run();
        assert_has(&out.stdout, &["\"process\""]);
        s.sh(&format!("{there} --repair")).run();
        assert_eq!(inits(), 0);
        end(held);
        s.host("rm opt/up");
        eventually("its mounts are gone", || look(s, "").1.is_empty());
        s.assert_same(&before);
    });
}

/// A container that shares the host's network has its own subhosts' links there.
#[test]
fn links_of_another_run_in_our_network_are_not_ours() {
    sandbox(|s| {
        s.overlay("w", "BRIDGES='='\n");
        s.overlay("hib", "BRIDGES='='\n");
        let before = s.snapshot();
        let script = "mount -t tmpfs mine /run; mkdir /run/netns; subhost-start w && \
                      subhost-net hib && echo up >$SUBHOST/up; exec sleep 1000";
        let held = background(
            s,
            &format!(
                "exec unshare -m --propagation private sh -c {}",
                quote(script)
            ),
            "sleep",
        );
        assert!(s.subhost.join("up").exists());
        let links = || s.host("ip -o link | grep -c 'alias subhost:' || :");
        assert_eq!(links(), "2");
        let (_, all) = look(s, "--repair");
        assert!(all.iter().all(|item| item["kind"] == "copy"), "{all:#?}");
        assert_eq!(links(), "2");
        s.sh(&format!(
            "exec nsenter -t {} -m subhost-stop --all",
            held.pid()
        ))
        .ok();
        end(held);
        s.host("rm opt/up");
        s.assert_same(&before);
    });
}

/// A cable that a mount of its namespace elsewhere keeps is found with that place.
#[test]
fn a_namespace_mounted_elsewhere_keeps_a_link() {
    sandbox_private(|s| {
        s.overlay("w", "BRIDGES='='\n");
        let before = s.snapshot();
        s.tool("subhost-net w").silent();
        // On another file: a mount on the name itself goes when that is removed.
        s.host(": >opt/kept");
        let script = "mount --bind /run/netns/w $SUBHOST/kept; exec sleep 1000";
        let held = background(
            s,
            &format!(
                "exec unshare -m --propagation private sh -c {}",
                quote(script)
            ),
            "sleep",
        );
        s.tool("subhost-stop w").silent();
        let item = left(s, "link");
        let inode = fs::read_link(format!("/proc/{}/ns/mnt", held.pid())).unwrap();
        let inode = inode
            .to_str()
            .unwrap()
            .trim_matches(|c: char| !c.is_ascii_digit());
        assert_has(item["object"].as_str().unwrap(), &["gone"]);
        assert_has(
            item["why"].as_str().unwrap(),
            &["opt/kept of mount namespace", inode],
        );
        assert_eq!(look(s, "--repair").0, 0);
        end(held);
        s.host("rm opt/kept");
        clean(s);
        s.assert_same(&before);
    });
}

/// What cannot be repaired keeps nothing else from it.
#[test]
fn one_failure_does_not_stop_the_others() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.host("umount opt/w/live; mount -t tmpfs mine opt/w/live");
        s.host("mkdir /run/subhost/a /run/subhost/z; : >/run/subhost/z/lock");
        let (code, all) = look(s, "--repair");
        assert_eq!((code, all.len()), (1, 3), "{all:#?}");
        for item in &all {
            match item["subhost"].as_str().unwrap() {
                "w" => assert_has(item["outcome"]["failed"].as_str().unwrap(), &["not ours"]),
                _ => assert_eq!(item["outcome"], "repaired"),
            }
        }
        assert_has(&s.host("findmnt -no SOURCE opt/w/live"), &["mine"]);
        s.tool("subhost-check -q --repair").fails(1, &[]);
        s.host("umount opt/w/live");
        repairs(s, &before);
    });
}

/// A tool that is killed at any moment leaves nothing that a check does not see and clear.
#[test]
fn kills_at_random_are_cleared() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        s.image("i", "ext4", "");
        let before = s.snapshot();
        let kill = |line: &str, micros: u64| {
            let mut run = s.tool(line).start();
            std::thread::sleep(std::time::Duration::from_micros(micros));
            run.kill();
            run.wait();
            let out = s.tool("subhost-check -q --repair").run();
            assert_eq!(out.code, 0, "{line} killed after {micros} us: {out}");
            if s.state(line.split(' ').nth(1).unwrap()) == "stopped" {
                s.assert_same(&before);
            }
            s.tool("subhost-check -q").silent();
        };
        for round in 0..common::rounds(6, 150) {
            let micros = 400 * (round as u64 % 50);
            for name in ["w", "i"] {
                kill(&format!("subhost-start {name}"), micros);
                // What is whole is no debris: it hibernates or runs.
                s.tool(&format!("subhost-start {name}")).silent();
                kill(&format!("subhost-stop {name}"), micros);
                s.tool(&format!("subhost-stop --sync {name}")).silent();
                s.assert_same(&before);
            }
        }
    });
}
