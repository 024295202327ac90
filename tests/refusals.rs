//! What bad input gets: a status, a message with the object and the remedy, and the world as before.

mod common;

use common::{Sandbox, Subhost, has, lacks, quote, sandbox, setting};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// Every way up refuses with `code` and `parts`, and the world is as before.
#[track_caller]
fn refused(s: &Sandbox, code: i32, parts: &[&str]) {
    let before = s.world();
    for tool in ["subhost-mount", "subhost-start"] {
        let out = s.tool(&format!("{tool} w")).fails(code, parts);
        has(&out.stderr, &[&format!("{tool}: w: ")]);
        lacks(&out.stderr, &["panicked", "os error"]);
        s.same(&before);
    }
    s.tool("subhost-enter w -- true").fails(125, parts);
    s.same(&before);
}

/// The same for what only the network's way up can see.
#[track_caller]
fn net_refused(s: &Sandbox, code: i32, parts: &[&str]) {
    let before = s.world();
    for tool in ["subhost-net", "subhost-start"] {
        let out = s.tool(&format!("{tool} w")).fails(code, parts);
        has(&out.stderr, &[&format!("{tool}: w: ")]);
        s.same(&before);
    }
    s.tool("subhost-enter w -- true").fails(125, parts);
    s.same(&before);
}

// Configs.

#[test]
fn a_typo_names_the_nearest_key() {
    sandbox(|s| {
        let w = s.bare("w", "# first\n\nLOWWER=/x\n");
        let place = format!("{}:3", w.path("config").display());
        refused(s, 5, &[&place, "LOWWER", "LOWER"]);
        w.config("HOSTNMAE=x\n");
        refused(s, 5, &["config:1", "HOSTNMAE", "HOSTNAME"]);
        w.config("lower=/x\n");
        refused(s, 5, &["config:1", "lower", "LOWER"]);
    });
}

#[test]
fn what_a_shell_would_act_on_is_refused_with_its_place() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        for bad in [
            "X_A=$(touch MARK)",
            "X_A=`touch MARK`",
            "X_A=x; touch MARK",
            "X_A=x & touch MARK",
            "X_A=x | touch MARK",
            "X_A=*",
            "X_A=~",
            "X_A=(a b)",
            "X_A=a b",
            "X_A=$NOT_SET_ABOVE",
            "X_A='not closed",
            "if true",
        ] {
            w.config(&format!("X_OK=1\n{}\n", bad.replace("MARK", "/run/mark")));
            let before = s.world();
            let out = s.tool("subhost-mount w").fails(5, &["config:2", "^"]);
            lacks(&out.stderr, &["panicked"]);
            s.same(&before);
        }
        assert!(!Path::new("/run/mark").exists());
    });
}

#[test]
fn values_without_meaning_are_refused_by_key() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        for (line, key) in [
            ("READ_ONLY=maybe", "READ_ONLY"),
            ("READ_ONLY=yes\nVOLATILE=yes", "VOLATILE"),
            ("STOP_TIMEOUT=soon", "STOP_TIMEOUT"),
            ("RAM_SIZE=much", "RAM_SIZE"),
            ("NET=bridge", "NET"),
            ("BRIDGES=br0=zz:zz", "BRIDGES"),
            ("BRIDGES=br0=01:00:5e:00:00:01", "BRIDGES"),
            ("BRIDGES=br0\nADDR0=192.0.2.300/24", "ADDR0"),
            ("BRIDGES=br0\nADDR1=192.0.2.3/24", "ADDR1"),
            ("BRIDGES=br0\nMTU0=many", "MTU0"),
            ("BRIDGES=br0\nROUTES=192.0.2.0/24", "ROUTES"),
            ("STOP=SIGNONE", "STOP"),
            ("BIND=/srv:relative", "BIND"),
            ("HOSTNAME='two words'", "HOSTNAME"),
            ("LIVE=root", "LIVE"),
            ("LOWER=root", "LOWER"),
            ("LOWER=root/usr", "LOWER"),
            ("LOWER=live", "LOWER"),
            ("HOOK_TIMEOUT=0", "HOOK_TIMEOUT"),
            ("NET=host\nBRIDGES=br0", "BRIDGES"),
        ] {
            w.config(&format!("{line}\n"));
            let before = s.world();
            s.tool("subhost-mount w").fails(5, &["w: ", key]);
            s.same(&before);
        }
    });
}

#[test]
fn settings_of_the_command_line_are_checked_too() {
    sandbox(|s| {
        s.rbind("w", "");
        let before = s.world();
        s.tool("subhost-mount --set LOWWER=/x w")
            .fails(5, &["LOWWER", "LOWER"]);
        s.tool("subhost-mount --set NET=bridge w")
            .fails(5, &["NET"]);
        let out = s.tool("subhost-mount --set nothing w").run();
        assert!([2, 5].contains(&out.code), "{out}");
        s.same(&before);
    });
}

#[test]
fn a_config_that_others_can_write_is_refused() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.chmod("config", 0o666);
        refused(s, 5, &["config", "chmod"]);
        w.chmod("config", 0o620);
        chown(w.path("config"), None, Some(1000)).unwrap();
        refused(s, 5, &["config", "chmod"]);
        w.chmod("config", 0o600);
        chown(w.path("config"), Some(1000), None).unwrap();
        refused(s, 5, &["config", "chown"]);
    });
}

#[test]
fn a_bad_env_file_is_refused_and_not_shown() {
    sandbox(|s| {
        let w = s.rbind("w", "ENV_FILE='-none env'\n");
        let dir = w.dir.display().to_string();
        let before = s.world();
        let refused = |code: i32, parts: &[&str]| {
            for (line, code) in [
                ("subhost-start -v w", code),
                ("subhost-enter w -- true", 125),
            ] {
                let out = s.tool(line).fails(code, parts);
                has(&out.stderr, &["ENV_FILE: ", &dir]);
                lacks(&out.stderr, &["hunter", "unter2", "panicked"]);
                s.same(&before);
            }
        };
        refused(1, &["cannot read", "No such file"]);
        for (text, part) in [
            ("PASSWORD=hunter2 hunter3", "/w/env:2:18: a second word"),
            ("PASSWORD=\"a$hunter2\"", "env:2:12: ... is not set above"),
            ("hunter2", "env:2:1: ... without ="),
            ("PASSWORD='hunter2", "never closed"),
            ("PASSWORD=hunter2*", "env:2:17: unquoted"),
            // Other than in a message about a value.
            ("PATH=hunter2", "env:2:1: PATH is a variable that shells"),
        ] {
            w.write("env", &format!("hunter=1\n{text}\n"));
            refused(5, &[part]);
        }
        w.write("env", "PASSWORD=hunter2\n");
        w.chmod("env", 0o606);
        refused(5, &["can be written by others", "chmod go-w"]);
        let out = s.tool("subhost-config --check w").ok();
        has(
            &out.stderr,
            &["ENV_FILE: ", "can be read by others (mode 0606)"],
        );
        w.chmod("env", 0o600);
        s.tool("subhost-config --check w").silent();
        s.host("mkdir -m 777 opt/w/open; mv opt/w/env opt/w/open/; ln -s open/env opt/w/env");
        refused(5, &["w/open can be written by others"]);
        s.host("rm opt/w/env; mkfifo opt/w/env");
        refused(5, &["is not a regular file"]);
    });
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.chmod(".", 0o777);
        refused(s, 5, &["/w", "chmod"]);
        w.chmod(".", 0o700);
        fs::set_permissions(&s.subhost, fs::Permissions::from_mode(0o777)).unwrap();
        refused(s, 5, &[s.subhost.to_str().unwrap(), "chmod"]);
        fs::set_permissions(&s.subhost, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(s.subhost.join("defaults"), "X_A=1\n").unwrap();
        fs::set_permissions(
            s.subhost.join("defaults"),
            fs::Permissions::from_mode(0o666),
        )
        .unwrap();
        refused(s, 5, &["defaults", "chmod"]);
    });
}

fn open_to_all(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_tree_that_others_can_reach_is_refused() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        open_to_all(&s.base);
        open_to_all(&s.subhost);
        w.chmod(".", 0o755);
        refused(s, 5, &["chmod 700", w.dir.to_str().unwrap()]);
        // Either of the two directories is enough.
        w.chmod(".", 0o700);
        s.tool("subhost-mount w").silent();
        s.tool("subhost-stop w").silent();
        w.chmod(".", 0o755);
        fs::set_permissions(&s.subhost, fs::Permissions::from_mode(0o700)).unwrap();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn an_upper_that_others_can_reach_is_refused() {
    sandbox(|s| {
        open_to_all(&s.base);
        let open = s.base.join("open");
        fs::create_dir(&open).unwrap();
        open_to_all(&open);
        for name in ["up", "work"] {
            fs::create_dir(open.join(name)).unwrap();
            open_to_all(&open.join(name));
        }
        s.overlay(
            "w",
            &format!("UPPER={0}/up\nWORK={0}/work\n", open.display()),
        );
        refused(s, 5, &["chmod", open.to_str().unwrap()]);
    });
}

#[test]
fn a_broken_defaults_is_named() {
    sandbox(|s| {
        s.rbind("w", "");
        fs::write(s.subhost.join("defaults"), "X_A=1\nLOWWER=x\n").unwrap();
        refused(s, 5, &["defaults:2", "LOWWER"]);
    });
}

// Names.

#[test]
fn names_that_are_none_are_refused() {
    sandbox(|s| {
        let before = s.world();
        let long = "n".repeat(65);
        for name in [
            "-w", ".w", "..", "a/b", "a b", "ü", "control", "defaults", "", &long,
        ] {
            let out = s.tool("subhost-mount --").arg(name).run();
            assert!([2, 4, 5].contains(&out.code), "{out}");
            assert!(!out.stderr.is_empty(), "{out}");
            s.tool("subhost-enter --")
                .args([name, "--", "true"])
                .fails(125, &[]);
        }
        s.same_now(&before);
    });
}

#[test]
fn no_such_subhost() {
    sandbox(|s| {
        let before = s.world();
        for tool in ["mount", "net", "start", "stop", "info", "config"] {
            s.tool(&format!("subhost-{tool} nosuch"))
                .fails(4, &[&format!("subhost-{tool}: nosuch")]);
        }
        s.same_now(&before);
    });
}

#[test]
fn wrong_usage() {
    sandbox(|s| {
        let before = s.world();
        for tool in ["mount", "net", "start", "stop", "list", "info", "config"] {
            s.tool(&format!("subhost-{tool} --no-such-option"))
                .fails(2, &["--no-such-option"]);
            let help = s.tool(&format!("subhost-{tool} --help")).ok();
            has(&help.stdout, &["--help", "-S"]);
            let version = s.tool(&format!("subhost-{tool} --version")).ok();
            has(&version.stdout, &[env!("CARGO_PKG_VERSION")]);
        }
        for tool in ["mount", "net", "start", "stop", "info", "config"] {
            s.tool(&format!("subhost-{tool}")).fails(2, &[]);
        }
        s.same_now(&before);
    });
}

#[test]
fn a_host_end_that_does_not_fit_is_refused_with_the_arithmetic() {
    sandbox(|s| {
        s.bridge("br0");
        let before = s.world();
        let long = s.overlay("fifteen-letters", "BRIDGES=br0\n");
        s.tool("subhost-start fifteen-letters")
            .fails(5, &["fifteen-letters0", "16", "LINK"]);
        s.same(&before);
        long.config("BRIDGES=br0\nLINK=short\n");
        s.tool("subhost-net fifteen-letters").silent();
        s.host("ip link show short0");
        s.tool("subhost-stop --sync fifteen-letters").silent();
        s.same_now(&before);
        // Eleven cables: the name fits with one digit and not with two.
        let w = s.overlay("fourteen-lette", "BRIDGES='= = = = = = = = = = ='\n");
        s.tool("subhost-net fourteen-lette")
            .fails(5, &["fourteen-lette10", "LINK"]);
        s.same(&before);
        w.config("BRIDGES='= = = = = = = = = ='\n");
        s.tool("subhost-net fourteen-lette").silent();
        s.tool("subhost-stop --sync fourteen-lette").silent();
        s.same_now(&before);
    });
}

// What the host lacks.

#[test]
fn a_missing_root_or_layer_is_named() {
    sandbox(|s| {
        let w = s.bare("w", "");
        refused(s, 1, &[w.path("root").to_str().unwrap(), "make it"]);
        assert!(!w.exists("root"), "a root was made");
        w.config("LOWER='/no/such /no/other'\n");
        w.mkdir("root");
        refused(s, 1, &["/no/such"]);
        assert!(!Path::new("/no").exists());
        w.config("LOWER=\"$SUBHOST/layers/base\"\nUPPER=/no/upper\n");
        s.layer("base");
        refused(s, 1, &["/no/upper", "mkdir it"]);
    });
}

#[test]
fn a_missing_or_useless_image_is_named() {
    sandbox(|s| {
        let w = s.bare("w", "IMAGE=no.img\n");
        refused(s, 1, &["no.img"]);
        w.write("no.img", "this is no file system");
        refused(s, 1, &["no.img"]);
        fs::write(w.path("no.img"), vec![0; 1 << 20]).unwrap();
        refused(s, 1, &["no.img"]);
        w.mkdir("dir.img");
        w.config("IMAGE=dir.img\n");
        refused(s, 1, &["dir.img"]);
        assert!(s.world().loops().is_empty());
    });
}

#[test]
fn an_image_without_root_and_work_is_refused() {
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        s.host("mkdir m; mount -o loop opt/w/w.img m; mv m/root m/tree; umount m");
        refused(s, 1, &["image", "/root"]);
        let layer = s.layer("base");
        w.config(&setting("LOWER", &[layer]));
        s.host("mount -o loop opt/w/w.img m; mkdir m/root; rmdir m/work; umount m");
        refused(s, 1, &["image", "/work"]);
        assert!(s.world().loops().is_empty());
    });
}

#[test]
fn a_missing_bridge_is_named_with_the_remedy() {
    sandbox(|s| {
        let w = s.overlay("w", "BRIDGES='= br9'\n");
        net_refused(s, 1, &["br9", "ip link add br9 type bridge"]);
        s.host("ip link add notbridge type veth peer name other");
        w.config("BRIDGES=notbridge\n");
        net_refused(s, 1, &["notbridge", "bridge"]);
    });
}

#[test]
fn a_missing_namespace_is_named() {
    sandbox(|s| {
        s.overlay("w", "NET=netns:nosuch\n");
        net_refused(s, 1, &["nosuch"]);
    });
}

#[test]
fn a_missing_bind_source_is_named() {
    sandbox(|s| {
        s.overlay("w", "BIND=/no/such:/mnt\n");
        let before = s.world();
        s.tool("subhost-start w").fails(1, &["/no/such"]);
        s.same(&before);
        assert!(!Path::new("/no").exists());
    });
}

// What is somebody else's.

#[test]
fn an_upper_in_use_by_another_subhost_is_refused() {
    sandbox(|s| {
        let v = s.overlay("v", "");
        let upper = v.path("root");
        let start = s.world();
        s.tool("subhost-mount v").silent();
        let config = format!(
            "LOWER=\"$SUBHOST/layers/base\"\nUPPER={}\nWORK={}\n",
            upper.display(),
            v.path("work2").display()
        );
        v.mkdir("work2");
        let w = s.bare("w", &config);
        refused(s, 1, &[upper.to_str().unwrap(), "v"]);
        // By another path to the same directory, too.
        s.host("mkdir -m 700 other; mount --bind opt/v other");
        w.config(&config.replace(
            upper.to_str().unwrap(),
            s.base.join("other/root").to_str().unwrap(),
        ));
        refused(s, 1, &["v"]);
        s.host("umount other");
        s.tool("subhost-stop --sync v").silent();
        s.same_now(&start);
    });
}

#[test]
fn an_upper_in_use_by_an_overlay_made_by_hand_is_refused() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.mkdir("work2");
        s.host(
            "mkdir m; mount -t overlay mine m \
             -o lowerdir=opt/layers/base,upperdir=$PWD/opt/w/root,workdir=$PWD/opt/w/work2",
        );
        refused(s, 1, &[w.path("root").to_str().unwrap(), "m"]);
        assert!(s.base.join("m/bin/sh").exists());
    });
}

#[test]
fn an_image_in_use_is_refused() {
    sandbox(|s| {
        let v = s.image("v", "ext4", "");
        let image = v.path("v.img");
        let w = s.bare("w", &format!("IMAGE={}\n", image.display()));
        let start = s.world();
        s.tool("subhost-mount v").silent();
        refused(s, 1, &[image.to_str().unwrap(), "v"]);
        s.tool("subhost-stop --sync v").silent();
        s.same_now(&start);
        // Nor one that somebody has mounted by hand.
        s.host("mkdir m; mount -o loop opt/v/v.img m");
        refused(s, 1, &[image.to_str().unwrap()]);
        s.host("umount m");
        s.tool("subhost-mount w").silent();
        s.stop("w", &start);
        drop(w);
    });
}

/// Makes something foreign under our name: the way up refuses with `parts`, and neither that nor a
/// stop touches it.
#[track_caller]
fn foreign(s: &Sandbox, make: &str, tool: &str, parts: &[&str], clear: &str) {
    s.host(make);
    let with = s.world();
    for tool in [tool, "subhost-start"] {
        s.tool(&format!("{tool} w")).fails(1, parts);
        s.same(&with);
    }
    for tool in [
        "subhost-stop w",
        "subhost-stop -l --kill-holders w",
        &format!("{tool} -u w"),
    ] {
        s.tool(tool).run();
        s.same(&with);
    }
    s.host(clear);
}

#[test]
fn a_foreign_namespace_is_left_alone() {
    sandbox(|s| {
        s.overlay("w", "");
        let add = "ip netns add w; ip -n w link add br7 type bridge";
        foreign(
            s,
            add,
            "subhost-net",
            &["/run/netns/w"],
            "ip netns delete w",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

#[test]
fn a_foreign_link_is_left_alone() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        let net = |make: &str| {
            foreign(s, make, "subhost-net", &["w0"], "ip link delete w0");
        };
        net("ip link add w0 type bridge");
        net("ip link add w0 type veth peer name other");
        net("ip link add w0 type veth peer name other; ip link set w0 alias mine");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

#[test]
fn a_foreign_mount_is_left_alone() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.mkdir("live");
        let mount = |make: &str| {
            foreign(s, make, "subhost-mount", &["live"], "umount opt/w/live");
        };
        mount("mount -t tmpfs mine opt/w/live");
        mount("mount --bind opt/layers/base opt/w/live");
        mount(
            "mkdir -p u k; mount -t overlay mine opt/w/live -o lowerdir=opt/layers/base,upperdir=u,workdir=k",
        );
    });
}

#[test]
fn what_a_leftover_of_a_crash_needs_is_no_refusal() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        // A name without a namespace behind it, as a crash of anybody's between two calls leaves.
        s.host("touch /run/netns/w");
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

// Processes.

#[test]
fn a_run_that_cannot_be_executed_is_told_at_once() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN='/no/such --option'\n");
        let before = s.world();
        s.tool("subhost-start w").fails(1, &["/no/such"]);
        s.same(&before);
        w.config("RUN=/etc/passwd\n");
        s.tool("subhost-start w").fails(1, &["/etc/passwd"]);
        s.same(&before);
        w.config("RUN=/bin/true\nRUN_AS=nosuchuser\n");
        let out = s.tool("subhost-start w").run();
        assert!([1, 5].contains(&out.code), "{out}");
        has(&out.stderr, &["nosuchuser"]);
        s.same(&before);
        w.config("RUN=/bin/true\nRUN_DIR=/no/dir\n");
        s.tool("subhost-start w").fails(1, &["/no/dir"]);
        s.same(&before);
        w.config("INIT=/no/init\n");
        s.tool("subhost-start w").fails(1, &["/no/init"]);
        s.same(&before);
    });
}

/// They are made side by side: neither waits for what the other says.
#[test]
fn of_root_and_network_both_are_told_what_is_wrong() {
    sandbox(|s| {
        let w = s.overlay("w", "BRIDGES=br9\n");
        w.mkdir("live");
        s.host("mount -t tmpfs strange opt/w/live");
        let before = s.world();
        let parts = ["a mount point: tmpfs mounted from strange", "no bridge br9"];
        s.tool("subhost-start w").fails(1, &parts);
        s.same(&before);
        s.tool("subhost-enter w -- true").fails(125, &parts);
        s.same(&before);
        s.host("umount opt/w/live");
        // The other way round: each undoes what the other has made.
        let before = s.world();
        s.tool("subhost-start w").fails(1, &parts[1..]);
        s.same(&before);
        s.bridge("br9");
        s.host("mount -t tmpfs strange opt/w/live");
        let before = s.world();
        s.tool("subhost-start w").fails(1, &parts[..1]);
        s.same(&before);
    });
}

#[test]
fn what_was_mounted_before_a_start_that_fails_stays() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/no/such\n");
        let start = s.world();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-start w").fails(1, &["/no/such"]);
        assert!(w.exists("live/bin/sh"));
        assert_eq!(s.host("ip netns list"), "");
        s.stop("w", &start);
    });
}

#[test]
fn without_privilege_one_is_told_so() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        // The tools may lie where nobody else can reach them.
        let dir = s.base.join("tools");
        fs::create_dir(&dir).unwrap();
        open_to_all(&s.base);
        open_to_all(&dir);
        s.host(&format!(
            "mount --bind {} tools",
            quote(common::tools_dir())
        ));
        let before = s.world();
        for tool in ["mount w", "net w", "start w", "stop w"] {
            let line = format!(
                "exec setpriv --reuid=65534 --regid=65534 --clear-groups {}/subhost-{tool}",
                dir.display()
            );
            s.sh(&line).fails(1, &["root"]);
        }
        let line = format!(
            "exec setpriv --reuid=65534 --regid=65534 --clear-groups {}/subhost-enter w -- true",
            dir.display()
        );
        s.sh(&line).fails(125, &["root"]);
        s.same_now(&before);
        assert!(!w.exists("live/bin"));
    });
}

#[test]
fn a_lock_that_is_held_is_waited_for_and_then_named() {
    sandbox(|s| {
        let hook = s.subhost.join("hook");
        fs::write(&hook, "#!/bin/sh\nPATH=/bin:/usr/bin\nsleep 5\n").unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        s.overlay("w", "PREMOUNT=\"$SUBHOST/hook\"\n");
        let before = s.world();
        let first = s.tool("subhost-start w").start();
        common::eventually("the hook runs", || {
            s.world()
                .lines("process")
                .iter()
                .any(|p| p.ends_with("sleep 5"))
        });
        s.tool("subhost-start --wait 0 w")
            .fails(75, &["w", &first.pid().to_string(), "subhost-start"]);
        s.tool("subhost-start w").silent();
        assert_eq!(first.wait().code, 0);
        s.stop("w", &before);
    });
}

// Hostile trees.

/// All paths below `dir` with what they hold.
fn contents(dir: &Path) -> Vec<(PathBuf, Option<String>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            all.push((path.clone(), None));
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read_to_string(&path).ok()));
        }
    }
    all.sort();
    all
}

/// A tree whose `name` is a symlink to the same name in a directory of the host.
fn led_astray(s: &Sandbox, w: &Subhost, name: &str) {
    let outside = s.base.join("outside");
    let target = outside.join(name);
    if name.starts_with("etc/") {
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, "the host's\n").unwrap();
    } else {
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("resolv.conf"), "the host's\n").unwrap();
    }
    let link = w.path("root").join(name);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    if link.is_dir() {
        fs::remove_dir_all(&link).unwrap();
    } else {
        let _ = fs::remove_file(&link);
    }
    symlink(&target, &link).unwrap();
}

#[test]
fn links_in_a_tree_lead_nowhere_outside() {
    let names = [
        "proc",
        "sys",
        "dev",
        "run",
        "etc",
        "etc/resolv.conf",
        "etc/hosts",
        "etc/hostname",
        "mnt",
        "tmp",
        "etc/passwd",
        "etc/group",
    ];
    for name in names {
        sandbox(move |s| {
            let w = s.rbind(
                "w",
                "DNS=192.0.2.53\nHOSTNAME=changed\nBIND=/var/log:/mnt/deep\nTMPFS=/tmp/deep\nRUN=/bin/true\n",
            );
            led_astray(s, &w, name);
            let outside = s.base.join("outside");
            let was = contents(&outside);
            let before = s.world();
            // Refusing and working are both right, as long as nothing outside changes.
            for tool in [
                "subhost-enter w -- true",
                "subhost-enter -u web w -- true",
                "subhost-start w",
            ] {
                s.tool(tool).run();
                let points = s.host("findmnt -rno TARGET");
                lacks(&points, &["outside"]);
            }
            s.stop("w", &before);
            assert_eq!(contents(&outside), was, "{name}: the host was written to");
        });
    }
}

#[test]
fn users_are_not_read_through_a_link_to_the_host() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        led_astray(s, &w, "etc/passwd");
        fs::write(
            s.base.join("outside/etc/passwd"),
            "spy:x:4242:4242::/:/bin/sh\n",
        )
        .unwrap();
        let before = s.world();
        let out = s
            .tool("subhost-enter -u spy w -- id -u")
            .fails(125, &["spy"]);
        lacks(&out.stdout, &["4242"]);
        s.same(&before);
    });
}

#[test]
fn a_tree_with_pipes_and_loops_for_files_does_not_hang_us() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        s.host("cd opt/w/root/etc; rm passwd group; mkfifo passwd group; ln -s loop loop");
        let before = s.world();
        s.tool("subhost-enter -u web w -- true")
            .limit(15)
            .fails(125, &["web"]);
        s.same(&before);
        fs::remove_dir(w.path("root/proc")).unwrap();
        symlink("proc", w.path("root/proc")).unwrap();
        s.tool("subhost-enter w -- true").limit(15).run();
        s.stop("w", &before);
    });
}

#[test]
fn control_characters_of_others_are_not_printed() {
    sandbox(|s| {
        let w = s.bare("w", "LOWER='/no/\u{1b}[2Jsuch'\n");
        w.mkdir("root");
        let before = s.world();
        let out = s.tool("subhost-mount w").run();
        assert!([1, 5].contains(&out.code), "{out}");
        lacks(&out.stderr, &["\u{1b}"]);
        s.same(&before);
    });
}
