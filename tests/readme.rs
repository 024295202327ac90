//! The README's commands are run as they are written there.

mod common;

use common::{Sandbox, has, need, sandbox, tools_dir};
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
        let before = s.world();
        let first = block("subhost-start try");
        has(
            &first,
            &[
                "sudo make && sudo make install\n",
                "subhost-list\n",
                "subhost-stop try",
            ],
        );
        let typed = "echo changed >/etc/changed; ps ax | wc -l; exit\n";
        let out = run(s, &as_root(&first), typed);
        let row = out.lines().find(|line| line.starts_with("try "));
        has(
            row.unwrap_or_else(|| panic!("no try: {out}")),
            &["running", "overlay"],
        );
        let kept = Path::new("/opt/subhost/try/root/etc/changed");
        assert_eq!(fs::read_to_string(kept).unwrap(), "changed\n");
        assert!(!Path::new("/etc/changed").exists());
        s.same(&before);

        // The next block goes on where the first has ended.
        let real = block("debootstrap");
        has(&real, &["ip link add br0", "subhost-start web"]);
        run(s, &as_root(&real), "");
        let ip = s.host("ip -n web address show eth0; ip -n web route");
        has(
            &ip,
            &["192.0.2.10/24", "2001:db8::10/64", "default via 192.0.2.1"],
        );
        assert_eq!(s.json("ip -j link show web0")[0]["master"], "br0");
        let inside = |command: &str| run(s, &format!("subhost-enter web -- {command}"), "");
        assert_eq!(inside("cat /etc/resolv.conf"), "nameserver 192.0.2.53\n");
        has(&inside("ps"), &["sleep 1000"]);
        assert_eq!(run(s, "subhost-config web AUTOSTART", ""), "yes\n");
        run(s, "subhost-stop --sync web; ip link delete br0", "");
        s.same_now(&before);
    });
}

#[test]
fn they_compose() {
    sandbox(|s| {
        host(s);
        run(
            s,
            "install -d -m 700 /opt/subhost; mkdir -m 755 -p /opt/subhost/w/root
            debootstrap /opt/subhost/layers/base
            echo 'LOWER=$SUBHOST/layers/base' >/opt/subhost/w/config",
            "",
        );
        let before = s.world();
        let state = || run(s, "subhost-list -o state w", "");

        // `subhost-mount w && subhost-net w && subhost-enter w`, as it stands in the text.
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let line = "subhost-mount w && subhost-net w && subhost-enter w";
        has(&fs::read_to_string(text).unwrap(), &[&format!("`{line}`")]);
        for _ in 0..2 {
            let out = run(
                s,
                line,
                "sleep 500 & readlink /proc/$PPID/exe; echo $PPID\n",
            );
            assert!(out.ends_with("1\n"), "its parent is PID 1: {out}");
            assert_eq!(state(), "hibernating\n");
            assert!(!s.runs("sleep 500"));
        }
        run(s, "subhost-stop --sync w", "");
        s.same_now(&before);

        let script = block("tr a-c A-C");
        has(
            &script,
            &[
                "x=$(subhost-start w)",
                "subhost-mount -n w | sh",
                "while read",
            ],
        );
        let out = run(s, &format!("{script}\necho \"<$x>\""), "");
        assert_eq!(out, "ABCw is running\n<>\n");
        run(s, "subhost-stop --sync w", "");
        s.same_now(&before);

        // Each of its lines by itself as well: nothing is up now.
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            run(s, line, "");
            run(s, "subhost-stop --sync w", "");
            s.same_now(&before);
        }
    });
}

/// What the README says there is, is there.
#[test]
fn files_and_tools() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("README.md")).unwrap();
    for part in text.split("](").skip(1) {
        let target = part.split(')').next().unwrap();
        if !target.contains("://") {
            assert!(root.join(target).exists(), "no {target}");
        }
    }
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `subhost-"));
    let mut count = 0;
    for row in rows {
        let tool = row.split([' ', '`']).next().unwrap();
        let page = root.join(format!("man/subhost-{tool}.8"));
        assert!(page.exists(), "no {}", page.display());
        count += 1;
    }
    assert_eq!(count, subhost::cli::commands().len());
}
