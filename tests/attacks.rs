//! Attacks by root inside: each program in `tests/attacks/` tries one escape or one harm, and must fail in a subhost
//! of the defaults. Without a subhost it must succeed, or its failure would prove nothing. A few say why they cannot.

mod common;

use common::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program, static so that it runs in any tree.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("attacks");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
        let output = Command::new("sh")
            .args(["-ec", "cc -static -O1 -std=gnu17 -Wall -Wextra -Werror -Wno-missing-field-initializers -o \"$1\" \"$2\"/*.c", "sh"])
            .args([&program, &sources])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cc: {errors}");
        program
    })
}

/// What an attack is, as the program lists it.
struct Attack {
    proof: String,
    what: String,
}

fn attacks() -> BTreeMap<String, Attack> {
    let output = Command::new(program()).arg("list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let [name, proof, what, _] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let attack = Attack {
            proof: proof.to_owned(),
            what: what.to_owned(),
        };
        (name.to_owned(), attack)
    };
    let all: BTreeMap<_, _> = text.lines().map(line).collect();
    assert_eq!(all.len(), text.lines().count(), "a name is there twice");
    all
}

/// Name, outcome and detail of each attack of a run.
type Outcomes = BTreeMap<String, (String, String)>;

fn outcomes(text: &str) -> Outcomes {
    let line = |line: &str| {
        let words: Vec<&str> = line.trim_end().split('\t').collect();
        let [name, outcome, detail] = words[..] else {
            return None;
        };
        let outcome = (outcome.to_owned(), detail.to_owned());
        Some((name.to_owned(), outcome))
    };
    text.lines().filter_map(line).collect()
}

/// Asserts that `outcomes` has all of `names`, and that all were as `expected`.
#[track_caller]
fn all_are(expected: &str, place: &str, outcomes: &Outcomes, names: &[&str]) {
    let all = attacks();
    let missing = ("not run".to_owned(), String::new());
    let (mut wrong, mut table) = (Vec::new(), String::new());
    for name in names {
        let (outcome, detail) = outcomes.get(*name).unwrap_or(&missing);
        if outcome != expected {
            wrong.push(*name);
        }
        let what = &all[*name].what;
        writeln!(table, "{name:20} {outcome:8} {what}: {detail}").unwrap();
    }
    println!("{place}\n{table}");
    let lines: Vec<&str> = table
        .lines()
        .filter(|line| {
            wrong
                .iter()
                .any(|name| line.starts_with(&format!("{name} ")))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{place}: should be {expected}:\n{}",
        lines.join("\n")
    );
}

/// What the host has that attacks look for: a file, disks, an interface.
struct Host {
    settings: String,
    base: PathBuf,
}

impl Drop for Host {
    fn drop(&mut self) {
        let script = "losetup -d $(cat disks)";
        let _ = Command::new("sh")
            .args(["-c", script])
            .current_dir(&self.base)
            .status();
    }
}

impl Host {
    /// Puts the program and device nodes into `tree`.
    fn new(s: &Sandbox, tree: &Path) -> Self {
        fs::copy(program(), tree.join("attacks")).unwrap();
        fs::create_dir(tree.join("planted")).unwrap();
        let tree = quote(tree.to_str().unwrap());
        let settings = s.host(&format!(
            "mkdir outside; echo canary >outside/canary
             yes canary | head -c 1M >disk; truncate -s 4M ext4; mkfs.ext4 -q ext4
             disk=$(losetup -f --show disk); echo $disk >disks
             ext4=$(losetup -f --show ext4); echo $ext4 >>disks
             node() {{ mknod {tree}/planted/$1 b $(stat -c '0x%t 0x%T' $2); }}
             node disk $disk; node ext4 $ext4; mknod {tree}/planted/kmsg c 1 11
             ip link add attackhost type bridge
             number=$(stat -c '0x%t:0x%T' $disk)
             echo \"canary=$PWD/outside/canary link=attackhost disk=$((${{number%:*}})):$((${{number#*:}}))\""
        ));
        let base = s.base.clone();
        Self { settings, base }
    }

    /// The same as a line for a shell.
    fn line(&self, script: &str) -> String {
        let (program, settings) = (program().display(), &self.settings);
        format!("{program} host {settings} -- sh -ec {}", quote(script))
    }

    /// A script of the host's, with all that it has to be found: `$ATTACKS` are the settings.
    fn run(&self, s: &Sandbox, script: &str) -> Run {
        s.sh(&self.line(script))
            .cwd(&s.base.join("outside"))
            .limit(120)
    }
}

fn names<'a>(all: &'a BTreeMap<String, Attack>, proof: &str) -> Vec<&'a str> {
    let of = all.iter().filter(|(_, attack)| attack.proof == proof);
    of.map(|(name, _)| name.as_str()).collect()
}

/// The same with PID 1 outside, its working directory as well, and everything a host has in /dev.
const CHROOT: &str = r#"
    mount --bind $TREE $TREE
    mount -t proc proc $TREE/proc
    mount -t sysfs sys $TREE/sys
    mount -t debugfs debug $TREE/sys/kernel/debug
    mount --bind $TREE/proc/bus $TREE/proc/bus; mount -o remount,bind,ro $TREE/proc/bus
    mkdir $TREE/dev/pts
    mount -t devpts -o newinstance,ptmxmode=666 pts $TREE/dev/pts
    ln -s pts/ptmx $TREE/dev/ptmx
    mknod $TREE/dev/kmsg c 1 11
    mknod $TREE/dev/null c 1 5
    unshare -u $PROGRAM chroot $TREE /attacks all $ATTACKS
    true # PID 1 must not become the program.
"#;

/// What the kernel or the machine has not cannot be attacked anywhere.
fn absent(name: &str, detail: &str) -> bool {
    let resource = |name| matches!(name, "unkillable" | "raise-limits");
    [
        "Function not implemented",
        "No such file or directory",
        "No such device",
        "Address family not supported by protocol",
        "Operation not supported",
    ]
    .iter()
    .any(|error| detail.ends_with(error))
        || (resource(name) && !has_capability(24))
}

fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("CapEff:")).unwrap();
    let set = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
    set & (1 << number) != 0
}

/// Asserts that all of a kind get through, but for what is not there at all.
#[track_caller]
fn proved(place: &str, outcomes: &Outcomes, names: &[&str]) {
    let (absent, there): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| {
        outcomes
            .get(**name)
            .is_some_and(|(outcome, detail)| outcome == "held" && absent(name, detail))
    });
    println!("not on this machine: {}", absent.join(" "));
    assert!(absent.len() * 5 < names.len(), "too much is absent");
    all_are("through", place, outcomes, &there);
}

#[test]
fn where_nothing_confines_them_attacks_succeed() {
    sandbox(|s| {
        let tree = s.layer("base");
        let host = Host::new(s, &tree);
        let all = attacks();
        let program = program().display();
        let chroot = format!(
            "export TREE={} PROGRAM={program}; exec unshare -mpif --propagation private sh -ec {} <canary",
            tree.display(),
            quote(CHROOT)
        );
        let output = host.run(s, &chroot).ok();
        proved(
            "in a chroot",
            &outcomes(&output.stdout),
            &names(&all, "chroot"),
        );
        // In cgroups of its own, whose limits are then its own to lift.
        let on_host = format!(
            "own() {{ for group in /sys/fs/cgroup/ /sys/fs/cgroup/*/; do $1 $group/own; echo 0 >$group/$2/cgroup.procs; done 2>/dev/null || :; }}
             for name in {}; do own mkdir own; {program} $name $ATTACKS || :; done; own : . ; own rmdir .",
            names(&all, "host").join(" ")
        );
        let output = host.run(s, &on_host).ok();
        proved(
            "on the host",
            &outcomes(&output.stdout),
            &names(&all, "host"),
        );
    });
}

/// All names.
fn each(all: &BTreeMap<String, Attack>) -> Vec<&str> {
    all.keys().map(String::as_str).collect()
}

/// The subhost `w` over a layer with the program and the planted nodes.
fn subhost(s: &Sandbox, config: &str) -> (Subhost, Host) {
    let w = s.overlay("w", config);
    let host = Host::new(s, &s.layer("base"));
    (w, host)
}

/// Runs a test under the defaults, and with a user namespace.
fn each_way(test: impl Fn(&Sandbox, &str) + Send + Sync + Copy + 'static) {
    for way in ["", "USERNS=yes\n"] {
        sandbox(move |s| test(s, way));
    }
}

#[test]
fn attacks_by_an_entered_command_fail() {
    each_way(|s, way| {
        let (_w, host) = subhost(s, way);
        s.tool("subhost-start w").silent();
        let before = s.snapshot();
        let output = host.run(s, "subhost-enter w -- /attacks all $ATTACKS").ok();
        let all = attacks();
        let names: Vec<&str> = each(&all);
        all_are(
            "held",
            &format!("entered {way}"),
            &outcomes(&output.stdout),
            &names,
        );
        s.assert_same(&before);
    });
}

#[test]
fn attacks_by_what_a_subhost_was_started_for_fail() {
    each_way(|s, way| {
        let (_w, host) = subhost(s, way);
        host.run(s, "subhost-start w --set \"RUN=/attacks all $ATTACKS\"")
            .ok();
        eventually("RUN has ended", || s.state("w") == "hibernating");
        let log = fs::read_to_string("/var/log/subhost/w.log").unwrap();
        let all = attacks();
        all_are(
            "held",
            &format!("started {way}"),
            &outcomes(&log),
            &each(&all),
        );
    });
}

#[test]
fn attacks_on_a_terminal_fail() {
    each_way(|s, way| {
        let (_w, host) = subhost(s, way);
        s.tool("subhost-start w").silent();
        let mut pty = s.pty_sh(&host.line("subhost-enter w -- /attacks all $ATTACKS; echo do''ne"));
        let text = pty.expect("done");
        assert_eq!(pty.wait(), 0);
        let all = attacks();
        all_are(
            "held",
            &format!("on a terminal {way}"),
            &outcomes(&text),
            &each(&all),
        );
    });
}

/// An init of the tree's own may call reboot(2), which in a pid namespace ends that and no more.
#[test]
fn attacks_below_an_init_of_the_trees_own_fail() {
    each_way(|s, way| {
        let (w, host) = subhost(s, &format!("INIT=/sbin/init\n{way}"));
        w.write("root/etc/inittab", "::once:/bin/sleep 1000\n");
        s.tool("subhost-start w").silent();
        let output = host.run(s, "subhost-enter w -- /attacks all $ATTACKS").ok();
        let all = attacks();
        let mut names = each(&all);
        names.retain(|name| *name != "reboot");
        let outcomes = outcomes(&output.stdout);
        all_are("held", &format!("with INIT {way}"), &outcomes, &names);
        all_are("through", "with INIT", &outcomes, &["reboot"]);
        s.enter("w", "reboot -f").run();
        eventually("the subhost has ended", || s.state("w") != "running");
    });
}

/// Waits for a watcher that another shell's script has started, and gives its one line.
fn watched(output: &str) -> (String, String) {
    outcomes(output)
        .remove("watch")
        .unwrap_or_else(|| panic!("no word from the watcher: {output}"))
}

#[test]
fn who_comes_in_cannot_be_caught() {
    each_way(|s, way| {
        let (_w, host) = subhost(s, way);
        s.tool("subhost-start w").silent();
        let output = host
            .run(
                s,
                "subhost-enter -T w -- /attacks watch until=/tmp/end $ATTACKS & sleep 0.1
                 for i in $(seq 60); do
                     subhost-enter -T w -- /bin/true
                     subhost-enter -T w -- /proc/self/exe >/dev/null 2>&1 || :
                     subhost-enter -T -u web w -- /bin/sh -c :
                 done
                 subhost-enter -T w -- /bin/touch /tmp/end
                 wait",
            )
            .run();
        let (outcome, detail) = watched(&output.stdout);
        println!("{detail}");
        assert_eq!(outcome, "held", "{output}");
        // The same eyes see who comes in without care.
        let tree = s.layer("base");
        let careless = format!(
            "cd /; export TREE={} PROGRAM={}
             exec unshare -mpf --propagation private sh -ec {}",
            tree.display(),
            program().display(),
            quote(CARELESS),
        );
        let output = host.run(s, &careless).run();
        assert_eq!(watched(&output.stdout).0, "through", "{output}");
    });
}

/// PID 1 and what it runs are the host's programs in a mere chroot; processes come in from the side.
const CARELESS: &str = r#"
    mount -t proc proc $TREE/proc
    unshare -u $PROGRAM chroot $TREE /attacks watch until=/tmp/end $ATTACKS & sleep 0.1
    for i in $(seq 60); do $PROGRAM list >/dev/null; done
    touch $TREE/tmp/end
    wait
"#;

#[test]
fn a_working_directory_is_inside() {
    each_way(|s, way| {
        let (w, host) = subhost(s, way);
        w.mkdir("root/root");
        s.tool("subhost-start w").silent();
        for fd in 0..24 {
            for (way, link) in [("self", false), ("1", false), ("self", true)] {
                let mut dir = format!("/proc/{way}/fd/{fd}");
                if link {
                    s.host(&format!(
                        "ln -sfn {dir} {}",
                        w.path("root/root/link").display()
                    ));
                    dir = "/root/link".to_owned();
                }
                let script =
                    format!("subhost-enter -w {dir} w -- /attacks working-directory $ATTACKS");
                let output = host.run(s, &script).run();
                let refused = output.stderr.contains("cannot change to the directory");
                let held = outcomes(&output.stdout)
                    .get("working-directory")
                    .is_some_and(|o| o.0 == "held");
                assert!(refused || held, "{output}");
            }
        }
    });
}
