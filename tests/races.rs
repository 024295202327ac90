//! Many commands at once, and any of them killed at any moment: each ends with a status of the table,
//! there is one PID 1 at most, and one stop leaves the host as it was.

mod common;

use common::*;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Chance that is the same in each run, so that what fails can be seen again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The living PID 1s of ours that see this sandbox.
fn inits(s: &Sandbox) -> Vec<i32> {
    let base = s.base.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let read = |name| fs::read(entry.path().join(name)).unwrap_or_default();
        let command = read("cmdline");
        let program = command.split(|b| *b == 0).next().unwrap_or_default();
        let sees = || String::from_utf8_lossy(&read("mountinfo")).contains(base);
        // What it has just forked is still called by its name.
        let is_first = || {
            let status = String::from_utf8_lossy(&read("status")).into_owned();
            let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            pids.is_some_and(|pids| pids.split_whitespace().last() == Some("1"))
        };
        if program.ends_with(b"/subhost-init") && is_first() && sees() {
            found.push(pid);
        }
    }
    found
}

/// What each verb may say while the others are at work. 75: somebody's enter booted it, or it runs
/// and cannot be taken down by halves; 3: it does not run at the moment; over 128: it was stopped,
/// and the command inside with it.
const AT_ONCE: &[(&str, &[i32])] = &[
    ("subhost-start --wait 50 w", &[0, 75]),
    ("subhost-stop --wait 50 w", &[0]),
    ("subhost-enter --wait 50 w -- true", &[0, 129, 137, 143]),
    (
        "subhost-enter -j --wait 50 w -- true",
        &[0, 3, 129, 137, 143],
    ),
    ("subhost-mount --wait 50 w", &[0]),
    ("subhost-net --wait 50 w", &[0]),
    ("subhost-list -o state --wait 50 w", &[0]),
    ("subhost-start --wait 50 w", &[0, 75]),
    ("subhost-stop --keep --wait 50 w", &[0]),
    ("subhost-mount -u --wait 50 w", &[0, 75]),
    ("subhost-net -u --wait 50 w", &[0, 75]),
    ("subhost-stop -k --sync --wait 50 w", &[0]),
    ("subhost-info --wait 50 w", &[0, 3]),
];

#[test]
fn everything_at_once_to_one_subhost() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay(
            "w",
            "BRIDGES=br0\nADDR0=192.0.2.10/24\nRUN='/bin/sleep 1000'\n",
        );
        let before = s.snapshot();
        let mut dice = Dice(7);
        for round in 0..rounds(2, 40) {
            let all: Vec<_> = (0..50)
                .map(|_| {
                    let (line, codes) = AT_ONCE[dice.below(AT_ONCE.len() as u64) as usize];
                    (s.tool(line), codes)
                })
                .map(|(run, codes)| (run.start(), codes))
                .collect();
            let end = AtomicBool::new(false);
            let wrong = std::thread::scope(|scope| {
                let most = scope.spawn(|| {
                    let mut most = Vec::new();
                    while !end.load(Ordering::Relaxed) {
                        let now = inits(s);
                        if now.len() > most.len() {
                            most = now;
                        }
                    }
                    most
                });
                let mut wrong = String::new();
                for (run, codes) in all {
                    let out = run.wait();
                    if !codes.contains(&out.code) {
                        wrong += &format!("{out}\n");
                    }
                }
                end.store(true, Ordering::Relaxed);
                let most = most.join().unwrap();
                if most.len() > 1 {
                    wrong += &format!("at one time there were the PID 1s {most:?}");
                }
                wrong
            });
            assert!(wrong.is_empty(), "round {round}: {wrong}");
            // What list says is so.
            let state = s.state("w");
            assert_eq!(inits(s).len(), usize::from(state == "running"), "{state}");
            match state.as_str() {
                // Of many namespaces that end at once the kernel takes the last after seconds.
                "stopped" => {
                    eventually("nothing is left", || before.diff(&s.snapshot()).is_empty())
                }
                "running" | "hibernating" => {}
                other => panic!("it is {other}"),
            }
            s.tool("subhost-stop --sync w").silent();
            // The links of earlier stops, which did not wait, go when the kernel comes to it.
            eventually("nothing is left", || before.diff(&s.snapshot()).is_empty());
        }
    });
}

#[test]
fn many_subhosts_on_one_bridge() {
    sandbox(|s| {
        s.bridge("br0");
        let names: Vec<String> = (0..rounds(40, 200)).map(|i| format!("w{i}x")).collect();
        for name in &names {
            s.overlay(name, "BRIDGES=br0\n");
        }
        let before = s.snapshot();
        for round in ["subhost-start", "subhost-stop"] {
            let all: Vec<_> = names
                .iter()
                .map(|name| s.tool(&format!("{round} {name}")).start())
                .collect();
            for one in all {
                let out = one.wait();
                assert_eq!(out.code, 0, "{out}");
                assert!(out.stderr.is_empty(), "{out}");
            }
            let up = if round == "subhost-start" {
                names.len()
            } else {
                0
            };
            assert_eq!(inits(s).len(), up);
            let ports = s.json("ip -j link show master br0");
            assert!(ports.as_array().unwrap().len() >= up, "{ports}");
        }
        s.assert_same(&before);
    });
}

const VERBS: &[&str] = &[
    "subhost-mount",
    "subhost-net",
    "subhost-start",
    "subhost-stop",
    "subhost-stop --keep",
    "subhost-mount -u",
    "subhost-net -u",
];

#[test]
fn a_lock_goes_with_its_holder_and_a_stuck_one_is_named() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.script("hook", "echo $$ >$SUBHOST/hook.pid; exec /bin/sleep 1000");
        w.config("PREMOUNT=hook\n");
        let before = s.snapshot();
        let mut start = s.tool("subhost-start w").start();
        eventually("the hook runs", || s.runs("/bin/sleep 1000"));
        let pid = start.pid().to_string();
        s.host(&format!("kill -STOP {pid}"));
        for verb in VERBS {
            let begin = Instant::now();
            s.tool(&format!("{verb} --wait 0.2 w"))
                .fails(75, &[&pid, "subhost-start"]);
            assert!(
                begin.elapsed() < Duration::from_secs(2),
                "{:?}",
                begin.elapsed()
            );
        }
        s.tool("subhost-enter --wait 0.2 w -- true")
            .fails(125, &[&pid, "subhost-start"]);
        start.kill();
        s.host("kill -9 $(cat opt/hook.pid)");
        start.wait();
        w.config("");
        s.tool("subhost-stop --wait 0 w").ok();
        s.tool("subhost-start --wait 0 w").silent();
        s.stop("w", &before);
    });
}

/// Two trees have a subhost of one name, and /run has one place for both: the second is refused, by
/// whatever verb, as long as anything of the first is up.
#[test]
fn subhosts_of_one_name_in_two_trees() {
    sandbox(|s| {
        s.overlay("w", "BRIDGES==\n");
        s.host("mkdir -p other/w/root; chmod 700 other; echo LOWER=$PWD/opt/layers/base >other/w/config");
        let here = s.subhost.to_str().unwrap();
        let there = s.base.join("other");
        let there = there.to_str().unwrap();
        let before = s.snapshot();
        for up in ["subhost-start w", "subhost-stop --keep w"] {
            s.tool(up).silent();
            let with = s.snapshot();
            for verb in VERBS {
                let out = s.tool(&format!("{verb} -S {there} w")).fails(5, &[here]);
                assert_lacks(&out.stderr, &["panicked"]);
                s.assert_same_now(&with);
            }
            s.tool(&format!("subhost-enter -S {there} w -- true"))
                .fails(125, &[here]);
            let line = format!("subhost-enter -j -S {there} w -- true");
            let join = s.tool(&line).run();
            assert!([3, 125].contains(&join.code), "{join}");
            s.assert_same_now(&with);
            for verb in [
                "subhost-start --all",
                "subhost-stop --all",
                "subhost-stop -k -l --kill-holders --all",
            ] {
                s.tool(&format!("{verb} -S {there}")).run();
                s.assert_same_now(&with);
            }
            let list = s.tool(&format!("subhost-list -S {there}")).ok();
            assert_lacks(&list.stdout, &["running", "hibernating"]);
            // The first is as it was, by all that can be asked.
            assert_eq!(
                s.state("w"),
                if up == "subhost-start w" {
                    "running"
                } else {
                    "hibernating"
                }
            );
        }
        s.stop("w", &before);
        s.tool(&format!("subhost-start -S {there} w")).silent();
        s.tool("subhost-start w").fails(5, &[there]);
        s.tool(&format!("subhost-stop --sync -S {there} w"))
            .silent();
        s.assert_same_now(&before);
    });
}

/// One of a subhost's processes is killed, at any moment of a start, an enter, a stop or of its life.
/// Then one stop clears everything; or one start completes it and a stop clears.
#[test]
fn killed_at_any_moment() {
    sandbox(|s| {
        s.bridge("br0");
        let w = s.overlay("w", "");
        let ours = "BRIDGES='br0 ='\nADDR0=192.0.2.10/24\nSTOP_TIMEOUT=1s\n";
        w.script(
            "root/sbin/loop",
            "trap 'exit 0' TERM; while :; do sleep 0.05; done",
        );
        let before = s.snapshot();
        let mut dice = Dice(11);
        let kinds = ["start", "enter", "join", "init", "logger", "stop"];
        for number in 0..rounds(42, 2000) {
            let kind = kinds[number % kinds.len()];
            let own = kind == "logger" || number % 5 == 0;
            let run = if own {
                "INIT=/sbin/loop\nSTOP=TERM\n"
            } else {
                "RUN='/bin/sleep 1000'\n"
            };
            w.config(&format!("{ours}{run}"));
            let up = ["join", "init", "logger", "stop"].contains(&kind);
            if up {
                s.tool("subhost-start w").silent();
            }
            let record = || fs::read_to_string("/run/subhost/w/init").unwrap_or_default();
            let pid_of = |key: &str| -> Option<i32> {
                let record: serde_json::Value = serde_json::from_str(&record()).ok()?;
                i32::try_from(record[key]["pid"].as_i64()?).ok()
            };
            let line = match kind {
                "start" => "subhost-start w",
                "enter" => "subhost-enter w -- sleep 0.02",
                "join" => "subhost-enter -j w -- sleep 0.02",
                "stop" => "subhost-stop w",
                _ => "subhost-list",
            };
            let (console, pid) = (pid_of("console"), pid_of("identity"));
            let mut tool = s.tool(line).start();
            std::thread::sleep(Duration::from_micros(dice.below(60_000)));
            let victim = match kind {
                "init" => pid,
                "logger" => console,
                _ => {
                    tool.kill();
                    None
                }
            };
            if let Some(victim) = victim {
                s.host(&format!("kill -9 {victim}"));
                let stat = format!("/proc/{victim}/stat");
                let lives = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
                eventually("it is dead", || !lives());
            }
            tool.wait();
            let case = format!("{number}: {kind} {run:?}");
            if number / kinds.len() % 2 == 1 {
                let start = s.tool("subhost-start w").limit(20).run();
                assert_eq!(start.code, 0, "{case}: {start}");
                assert_eq!(s.state("w"), "running", "{case}");
                assert!(inits(s).len() <= 1, "{case}: {:?}", inits(s));
            }
            let stop = s.tool("subhost-stop w").limit(20).run();
            assert_eq!(stop.code, 0, "{case}: {stop}");
            s.assert_same(&before);
        }
    });
}

/// Lines of /proc/PID/status and the number of descriptors: what must not grow.
fn size(pid: i32) -> (u64, u64, usize) {
    let dir = Path::new("/proc").join(pid.to_string());
    let status = fs::read_to_string(dir.join("status")).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let fds = fs::read_dir(dir.join("fd")).unwrap().count();
    (field("VmRSS"), field("Threads"), fds)
}

#[test]
fn enters_leave_nothing_in_pid_1() {
    sandbox(|s| {
        s.overlay("w", "");
        s.overlay("bad", "NO_SUCH_KEY=1\n");
        let start = s.start("w");
        let pid = s.pid("w");
        let mut pty = s.pty("subhost-enter w -- true");
        assert_eq!(pty.wait(), 0);
        s.enter("w", "true").ok();
        let (with, was) = (s.snapshot(), size(pid));
        for number in 0..rounds(150, 10_000) {
            match number % 5 {
                0 => s.tool("subhost-enter -j w -- true").ok().code,
                1 => s.tool("subhost-enter -t w -- true").ok().code,
                2 => {
                    s.tool("subhost-enter w -- no-such-program")
                        .fails(127, &[])
                        .code
                }
                3 => {
                    s.tool("subhost-enter -u nobody w -- sh -c")
                        .arg("sleep 0.01 & exit 7")
                        .fails(7, &[])
                        .code
                }
                _ => s.tool("subhost-start bad").fails(5, &["NO_SUCH_KEY"]).code,
            };
        }
        s.assert_same(&with);
        let is = size(pid);
        assert_eq!((was.1, was.2), (is.1, is.2), "threads and descriptors");
        assert!(is.0 <= was.0 + 64, "it had {} kB and has {}", was.0, is.0);
        s.stop("w", &start);
    });
}

/// Whoever joined a PID 1 that was not up yet was on the host, as root.
#[test]
fn nobody_joins_what_is_not_up() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.write("root/inside", "");
        let before = s.snapshot();
        for _ in 0..rounds(25, 500) {
            let start = s.tool("subhost-start w").start();
            let look = || {
                s.tool("subhost-enter -j w -- /bin/sh -c")
                    .arg("test -e /inside")
                    .start()
            };
            let mut joined = 0;
            while joined < 3 {
                let looks: Vec<_> = (0..3).map(|_| look()).collect();
                for output in looks.into_iter().map(Background::wait) {
                    // Not running yet, or inside.
                    assert!([0, 3].contains(&output.code), "{output}");
                    joined += usize::from(output.code == 0);
                }
            }
            assert_eq!(start.wait().code, 0);
            s.tool("subhost-stop -k w").silent();
        }
        s.assert_same(&before);
    });
}

/// A stop that was killed had asked PID 1 to end, and a start took it for one that goes on.
#[test]
fn a_start_after_a_stop_that_was_killed_goes_on() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/sbin/slow\n");
        w.script(
            "root/sbin/slow",
            "trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done",
        );
        let before = s.start("w");
        eventually("it listens", || s.runs("/sbin/slow"));
        std::thread::sleep(Duration::from_millis(100));
        let first = s.pid("w");
        let mut stop = s.tool("subhost-stop w").start();
        std::thread::sleep(Duration::from_millis(100));
        stop.kill();
        stop.wait();
        s.tool("subhost-start w").silent();
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(s.state("w"), "running");
        assert_ne!(s.pid("w"), first);
        s.tool("subhost-stop -k w").silent();
        s.assert_same(&before);
    });
}
