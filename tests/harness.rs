//! The harness itself: a sandbox leaves the machine alone, a snapshot shows what is left behind, signals are at
//! their defaults, and the table of `tests/README.md` names a test for each key.

mod common;

use common::{assert_has, assert_lacks, eventually, sandbox, sandbox_private};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use subhost::config::keys::{KEYS, NUMBERED, PREFIXES};

#[test]
fn the_host_sees_nothing_of_a_sandbox() {
    sandbox(|s| {
        s.host("mkdir m; mount -t tmpfs t m; ip link add br0 type bridge; ip netns add x");
        let host = std::fs::read_to_string(format!("/proc/{}/mountinfo", std::process::id()));
        assert_lacks(&host.unwrap(), &[s.base.to_str().unwrap()]);
        assert_has(&s.host("ip netns list; ls /sys/class/net"), &["x", "br0"]);
        assert_has(&s.host("findmnt -no PROPAGATION /run"), &["shared"]);
    });
    sandbox_private(|s| {
        assert_has(&s.host("findmnt -no PROPAGATION /run"), &["private"]);
    });
}

#[test]
fn the_world_sees_every_leftover() {
    sandbox(|s| {
        let leave = |subject: &str, make: &str, clear: &str| {
            let before = s.snapshot();
            s.host(make);
            assert_has(&before.diff(&s.snapshot()), &[subject, "+ "]);
            s.host(clear);
            s.assert_same(&before);
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
        let before = s.snapshot();
        let w = s.rbind("w", "");
        let root = w.path("root");
        let root = root.display();
        assert_has(&s.host(&format!("chroot {root} id web")), &["extra"]);
        s.image("i", "ext4", "");
        s.assert_same_now(&before);
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
        s.assert_same(&before);
    });
}

/// What `make check &`, nohup(1) and an ignored SIGPIPE do to the caller of the tests reaches no program that a test
/// runs.
#[test]
fn signals_are_at_their_defaults_whatever_the_caller_ignores() {
    const INSIDE: &str = "SUBHOST_TEST_IGNORES";
    let ignored = "grep SigIgn: /proc/self/status";
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().unwrap();
        let test = "signals_are_at_their_defaults_whatever_the_caller_ignores";
        let script =
            format!("trap '' HUP INT QUIT TERM PIPE; exec \"$0\" --exact {test} --nocapture");
        let run = Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .arg(program)
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(
            run.status.success(),
            "{told}{}",
            String::from_utf8_lossy(&run.stderr)
        );
        assert_has(&told, &["1 passed"]);
        return;
    }
    // The inner run: its own signals are ignored, and those of what it runs are not.
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    let mask = ours
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"))
        .unwrap();
    // HUP 1, INT 2, QUIT 3, TERM 15.
    let asked = 1 | 1 << 1 | 1 << 2 | 1 << 14;
    assert_eq!(
        u64::from_str_radix(mask, 16).unwrap() & asked,
        asked,
        "{mask}"
    );
    sandbox(|s| {
        let none = |line: &str| {
            let mask = line.rsplit('\t').next().unwrap();
            // 32 and 33 belong to the C library: its posix_spawn(3) ignores them in every child.
            let ignored = u64::from_str_radix(mask, 16).unwrap() & !0x1_8000_0000;
            assert_eq!(ignored, 0, "{line}");
        };
        none(&s.host(ignored));
        none(&s.sh(ignored).ok().text());
        let mut pty = s.pty_sh(ignored);
        pty.expect("SigIgn:");
        none(&pty.expect("\r\n"));
        assert_eq!(pty.wait(), 0);
    });
}

/// The table of `tests/README.md`: which test proves which key.
fn table_of_keys() -> BTreeMap<String, String> {
    let text = fs::read_to_string("tests/README.md").unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"))
        .filter_map(|(key, rest)| Some((key, rest.strip_suffix("` |")?)))
        .filter(|(_, test)| test.contains("::"))
        .map(|(key, test)| (key.to_owned(), test.to_owned()))
        .collect()
}

#[test]
fn each_key_has_a_test_in_the_table() {
    let table = table_of_keys();
    let keys: Vec<String> = KEYS
        .iter()
        .map(|(key, _)| (*key).to_owned())
        .chain(NUMBERED.iter().map(|key| format!("{key}0")))
        .chain(PREFIXES.iter().map(|key| format!("{key}NAME")))
        .collect();
    for key in &keys {
        assert!(
            table.contains_key(key),
            "tests/README.md names no test for {key}"
        );
    }
    for (key, test) in &table {
        assert!(keys.contains(key), "tests/README.md: there is no key {key}");
        let (file, name) = test.split_once("::").unwrap();
        let path = Path::new("tests").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{key}: {file}: {e}"));
        assert!(
            text.contains(&format!("#[test]\nfn {name}() {{\n")),
            "{key}: no test {name} in {file}"
        );
        // The helper that a test calls may set the key.
        let set = key.trim_end_matches("NAME").trim_end_matches('0');
        assert!(text.contains(set), "{key}: {file} does not name it");
    }
}
