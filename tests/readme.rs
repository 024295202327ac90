//! The commands of the README and of subhost-cookbook(7) are run as they are written there.

mod common;

use common::{Sandbox, assert_has, need, recipe, recipes, sandbox, tools_dir};
use std::fs;
use std::path::Path;

/// The ```sh blocks of the README, in order.
fn blocks() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    for part in text.split("```sh\n").skip(1) {
        blocks.push(part.split("```").next().unwrap().to_owned());
    }
    blocks
}

/// The one block that has `part` in it.
fn block(part: &str) -> String {
    let found: Vec<String> = blocks().into_iter().filter(|b| b.contains(part)).collect();
    assert_eq!(found.len(), 1, "blocks with '{part}': {found:#?}");
    found.into_iter().next().unwrap()
}

/// As typed by root, on a host where the tools are installed already.
fn as_root(block: &str) -> String {
    let lines = block.replace("sudo ", "");
    let lines = lines.lines().filter(|line| !line.starts_with("make "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// A host with an empty /opt, the tools where `make install` puts them, and a `debootstrap` that
/// makes a small tree. `script` runs on it, with `input` for its standard input.
fn run(s: &Sandbox, script: &str, input: &str) -> String {
    let path = format!("{}:{}", s.base.join("bin").display(), common::HOST_PATH);
    let out = s
        .sh(&format!("set -eu\n{script}"))
        .without("SUBHOST")
        .env("PATH", &path)
        .input(input)
        .ok();
    assert!(out.stderr.is_empty(), "success is silent: {out}");
    out.stdout
}

fn host(s: &Sandbox) {
    let tree = s.base.join("tree");
    fs::rename(s.layer("tree"), &tree).unwrap();
    s.host(&format!(
        "mount -t tmpfs -o mode=755 tmpfs /opt
        mount --bind {} /usr/local/sbin
        mkdir bin
        printf '#!/bin/sh\\nexec sleep 1000\\n' >tree/usr/sbin/nginx
        printf '%s\\n' '#!/bin/sh' 'for dir; do :; done' 'mkdir -p $dir' \\
            'cp -a {}/. $dir' >bin/debootstrap
        chmod 755 tree/usr/sbin/nginx bin/debootstrap",
        tools_dir(),
        tree.display()
    ));
}

#[test]
fn a_first_one_and_a_real_one() {
    if !need(&["ip", "install", "tee"]) {
        return;
    }
    sandbox(|s| {
        host(s);
        let before = s.snapshot();
        let first = block("subhost-start try");
        assert_has(
            &first,
            &[
                "make && sudo make install\n",
                "subhost-list\n",
                "subhost-stop try",
            ],
        );
        let typed = "echo changed >/etc/changed; ps ax | wc -l; exit\n";
        let out = run(s, &as_root(&first), typed);
        let row = out.lines().find(|line| line.starts_with("try "));
        assert_has(
            row.unwrap_or_else(|| panic!("no try: {out}")),
            &["running", "overlay"],
        );
        let kept = Path::new("/opt/subhost/try/root/etc/changed");
        assert_eq!(fs::read_to_string(kept).unwrap(), "changed\n");
        assert!(!Path::new("/etc/changed").exists());
        s.assert_same(&before);

        // What the README shows of the table is what it is.
        let heading = out.lines().find(|line| line.starts_with("NAME ")).unwrap();
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        let shown = readme
            .lines()
            .find(|line| line.starts_with("NAME "))
            .unwrap();
        assert_eq!(words(shown), words(heading));
    });
}

/// Lines of a config.
fn is_config(block: &str) -> bool {
    block.lines().filter(|line| !line.is_empty()).all(|line| {
        let key = line.split('=').next().unwrap_or_default();
        line.contains('=')
            && key
                .chars()
                .all(|c| c.is_ascii_uppercase() || "_0".contains(c))
    })
}

/// All tasks of subhost-cookbook(7), one after the other on one host.
#[test]
fn the_cookbook() {
    if !need(&["ip", "install", "mkfs.ext4"]) {
        return;
    }
    sandbox(|s| {
        host(s);
        s.host("mount -t tmpfs -o mode=755 tmpfs /srv; echo www-data:x:33:33::/var:/bin/sh >>tree/etc/passwd");
        let before = s.snapshot();
        for (task, block) in recipes() {
            match task.as_str() {
                // A line of cron's, and what tests/rootless.rs does.
                "Run a job from cron" | "Work without root" => continue,
                // It is a file.
                "Make a bridge at boot" => continue,
                "Look at what a user's subhost mounted" => continue,
                _ if is_config(&block) => {
                    fs::create_dir_all("/opt/subhost/scratch/root").unwrap();
                    fs::write("/opt/subhost/scratch/config", &block).unwrap();
                    run(s, "subhost-config -q --check scratch", "");
                    fs::remove_dir_all("/opt/subhost/scratch").unwrap();
                    continue;
                }
                _ => {}
            }
            // What finds faults has a status that says so.
            let finds = [
                "Find out why a subhost is broken or invalid",
                "Look for leftovers",
            ];
            let script = match finds.contains(&task.as_str()) {
                false => block,
                true => {
                    let lines = block.lines().map(|line| format!("{line} || [ $? != 2 ]\n"));
                    lines.collect()
                }
            };
            println!("{task}:\n{script}");
            let out = run(s, &script, "");
            match task.as_str() {
                "Give a subhost an address on a bridge" => {
                    assert_has(&out, &["192.0.2.10/24", "2001:db8::10/64"]);
                }
                "Run a service" => {
                    assert_has(&out, &["running"]);
                    assert_eq!(s.json("ip -j link show web0")[0]["master"], "br0");
                    assert_has(&s.host("ip -n web route"), &["default via 192.0.2.1"]);
                    let inside =
                        |command: &str| run(s, &format!("subhost-enter web -- {command}"), "");
                    assert_eq!(inside("cat /etc/resolv.conf"), "nameserver 192.0.2.53\n");
                    assert_has(&inside("ps"), &["sleep 1000"]);
                    assert_eq!(run(s, "subhost-config web AUTOSTART", ""), "yes\n");
                }
                "Open a shell, or run a command inside" if script.contains("tr a-c") => {
                    assert_has(&out, &["uid=33(www-data)", "ABC"])
                }
                "Keep writes in memory" => {
                    assert!(!Path::new("/opt/subhost/web/root/etc/forgotten").exists());
                }
                "Keep a root in an image" => {
                    assert_has(&run(s, "subhost-enter disk -- ls /", ""), &["kept"]);
                }
                "Give a service a password" => {
                    let variables = run(s, "subhost-enter web -- env", "");
                    assert_has(&variables, &["DB_PASSWORD=swordfish"]);
                }
                "Limit what a subhost uses" => assert_has(&out, &["MEMORY=512M", "CPUS=1.5"]),
                _ => {}
            }
        }
        run(s, "subhost-stop --all --sync; ip link delete br0", "");
        s.assert_same_now(&before);
    });
}

#[test]
fn they_compose() {
    sandbox(|s| {
        host(s);
        run(
            s,
            "install -d -m 700 /opt/subhost; mkdir -m 755 -p /opt/subhost/web/root
            debootstrap /opt/subhost/layers/base
            echo 'LOWER=$SUBHOST/layers/base' >/opt/subhost/web/config",
            "",
        );
        let before = s.snapshot();
        let state = || run(s, "subhost-list -o state web", "");

        let line = recipe("Keep root and network without processes");
        for _ in 0..2 {
            let out = run(
                s,
                &line,
                "sleep 500 & readlink /proc/$PPID/exe; echo $PPID\n",
            );
            assert!(out.ends_with("1\n"), "its parent is PID 1: {out}");
            assert_eq!(state(), "hibernating\n");
            assert!(!s.runs("sleep 500"));
        }
        run(s, "subhost-stop --sync web", "");
        s.assert_same_now(&before);

        let script = recipe("Use subhosts in scripts");
        assert_has(&script, &["subhost-start web", "while read"]);
        assert_eq!(run(s, &script, ""), "web is running\n");
        s.assert_same(&before);

        // Each of its lines by itself as well: nothing is up now.
        for line in script.lines() {
            run(s, line, "");
            run(s, "subhost-stop --sync web", "");
            s.assert_same_now(&before);
        }
    });
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the documents say there is, is there.
#[test]
fn files_and_pages() {
    let mut pages = 0;
    for name in [
        "README.md",
        "SECURITY.md",
        "docs/comparison.md",
        "contrib/README.md",
    ] {
        let path = root().join(name);
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if !target.contains("://") {
                let there = path.parent().unwrap().join(target);
                assert!(there.exists(), "{name}: no {target}");
            }
        }
        for part in text.split("`man subhost").skip(1) {
            let page = format!("subhost{}.", part.split('`').next().unwrap());
            let mut entries = fs::read_dir(root().join("man")).unwrap();
            let begins =
                |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&page);
            assert!(
                entries.any(|entry| begins(&entry.unwrap())),
                "{name}: no page {page}"
            );
            pages += 1;
        }
    }
    assert!(pages > 5);
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 80, "it is one screen");
    assert_has(&readme, &["sudo make demo", "sudo make check"]);
}
