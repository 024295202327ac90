//! Every system call that changes something, of every command: it fails, or its process is killed
//! at it. Each time the command says so with a status of the table, and what is left is nothing, or
//! what one stop clears.
#![cfg(target_arch = "x86_64")]

mod common;

use common::inject::{Blow, Call, traced};
use common::*;
use nix::errno::Errno;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// No command and no stop takes longer, whatever fails.
const LONG: Duration = Duration::from_secs(8);

/// A command, and what is true of it.
struct Verb {
    line: &'static str,
    /// What comes before it, each time.
    before: &'static [&'static str],
    /// The state after its success.
    state: &'static str,
    /// Its statuses.
    statuses: &'static [i32],
    /// It takes down: what it could not, the next stop does.
    down: bool,
}

const UP: &[i32] = &[0, 1, 5, 6, 75];
const ENTER: &[i32] = &[0, 125, 126, 127];

const START: Verb = Verb {
    line: "subhost-start w",
    before: &[],
    state: "running",
    statuses: UP,
    down: false,
};
const MOUNT: Verb = Verb {
    line: "subhost-mount w",
    state: "hibernating",
    ..START
};
const NET: Verb = Verb {
    line: "subhost-net w",
    state: "hibernating",
    ..START
};
const ENTER_BOOTS: Verb = Verb {
    line: "subhost-enter w -- true",
    state: "stopped",
    statuses: ENTER,
    ..START
};
const ENTER_JOINS: Verb = Verb {
    line: "subhost-enter w -- true",
    before: &["subhost-start w"],
    statuses: ENTER,
    ..START
};
const STOP: Verb = Verb {
    line: "subhost-stop w",
    before: &["subhost-start w"],
    state: "stopped",
    statuses: UP,
    down: true,
};
const STOP_SYNC: Verb = Verb {
    line: "subhost-stop --sync w",
    ..STOP
};
const KEEP: Verb = Verb {
    line: "subhost-stop --keep w",
    state: "hibernating",
    ..STOP
};
const MOUNT_DOWN: Verb = Verb {
    line: "subhost-mount -u w",
    before: &["subhost-mount w"],
    ..STOP
};
const NET_DOWN: Verb = Verb {
    line: "subhost-net -u w",
    before: &["subhost-net w"],
    ..STOP
};
const LIST: Verb = Verb {
    line: "subhost-list --json",
    before: &["subhost-start w"],
    ..START
};

/// What may go wrong with a call beside EIO.
fn errnos(name: &str) -> &'static [Errno] {
    match name {
        "mount" | "fsconfig" | "fsmount" => {
            &[Errno::EIO, Errno::EBUSY, Errno::ENOMEM, Errno::EPERM]
        }
        "move_mount" | "open_tree" | "mount_setattr" | "fsopen" => {
            &[Errno::EIO, Errno::ENOMEM, Errno::EPERM]
        }
        "umount2" => &[Errno::EIO, Errno::EBUSY, Errno::EPERM],
        "mkdir" | "mkdirat" | "mknodat" | "symlink" | "symlinkat" | "openat" | "write"
        | "pwrite64" | "rename" => &[Errno::EIO, Errno::ENOSPC, Errno::EPERM],
        "clone" | "clone3" | "vfork" => &[Errno::EAGAIN, Errno::ENOMEM],
        "unshare" | "setns" => &[Errno::EIO, Errno::ENOSPC, Errno::EPERM, Errno::ENOMEM],
        "sendto" | "sendmsg" => &[Errno::EIO, Errno::ENOBUFS, Errno::EPERM],
        "ioctl" => &[Errno::EIO, Errno::EBUSY, Errno::EPERM],
        "flock" => &[Errno::EIO, Errno::ENOLCK],
        "unlink" | "unlinkat" | "rmdir" => &[Errno::EIO, Errno::EBUSY, Errno::EROFS],
        _ => &[Errno::EIO, Errno::ENOMEM],
    }
}

/// A subhost with two cables, an address, a route, a bind and hooks; its root of the kind. Without a hook a start makes
/// the network beside the root: so it does of two kinds.
fn make(s: &Sandbox, kind: &str) -> Subhost {
    s.bridge("br0");
    s.bridge("br1");
    s.host("mkdir data; printf '#!/bin/sh\\nexit 0\\n' >hook; chmod 755 hook");
    let base = s.base.display();
    let config = format!(
        "BRIDGES=\"br0 br1\"\nADDR0=192.0.2.2/24\nADDR1=\"198.51.100.2/24 2001:db8::2/64\"\n\
         GATEWAY=192.0.2.1\nDNS=192.0.2.1\nBIND={base}/data:/data\nRUN='/bin/sleep 1000'\n"
    );
    let config = match kind {
        "overlay" | "image" => config,
        _ => format!("{config}POSTNET={base}/hook\nPRESTOP={base}/hook\n"),
    };
    match kind {
        "overlay" => s.overlay("w", &config),
        "userns" => s.overlay("w", &format!("{config}USERNS=yes\n")),
        "init" => {
            let init = config.replace("RUN='/bin/sleep 1000'", "INIT=/sbin/tiny\nSTOP=TERM");
            let w = s.overlay("w", &init);
            w.script(
                "root/sbin/tiny",
                "trap 'exit 0' TERM\nwhile :; do sleep 1000 & wait; done",
            );
            w
        }
        "rbind" => {
            let w = s.rbind("w", &config);
            // The host's own mounts below it, which must come through all of it.
            s.host("mount -t tmpfs of-host data; mount -t tmpfs of-host opt/w/root/mnt");
            w
        }
        "image" => s.image("w", "ext4", &config),
        "layers" => {
            let from = s.layer("base");
            let file = s.base.join("layer.img");
            s.host(&format!(
                "truncate -s 24M layer.img; mkfs.ext4 -q -d {} layer.img",
                from.display()
            ));
            let layer = setting("LOWER", &[file]);
            let w = s.bare("w", &format!("{config}{layer}VOLATILE=yes\n"));
            w.mkdir("root");
            w
        }
        other => panic!("no kind {other}"),
    }
}

/// Which of the calls are struck: all, or every so many, not always the same for all sweeps.
fn chosen(calls: &[Call], every: usize, seed: usize) -> Vec<Call> {
    let chosen = calls.iter().enumerate();
    chosen
        .filter(|(index, _)| (index + seed).is_multiple_of(every))
        .map(|(_, call)| *call)
        .collect()
}

/// What comes after a blow, before the stop that must clear all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Stop,
    Start,
    Repair,
}

struct Sweep<'a> {
    s: &'a Sandbox,
    verb: &'a Verb,
    clean: Snapshot,
    wrong: String,
    blows: usize,
    messages: std::collections::BTreeSet<String>,
}

impl Sweep<'_> {
    /// Soon, or what differs.
    fn differs(&self, from: &Snapshot, patience: Duration) -> Option<String> {
        let end = Instant::now() + patience;
        loop {
            let diff = from.diff(&self.s.snapshot_now());
            if diff.is_empty() {
                return None;
            }
            if Instant::now() > end {
                return Some(diff);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What fails on the way down stops nothing else on it: root and network are not both left.
    fn goes_on(&mut self, call: Call, blow: Blow, output: &Output) {
        let about = ["umount2", "sendto", "recvfrom"].contains(&call.name);
        if !self.verb.line.starts_with("subhost-stop w") || !about {
            return;
        }
        let diff = self.clean.diff(&self.s.snapshot_now());
        let left = |of: &str, what: &str| {
            diff.lines()
                .any(|line| line.starts_with(of) && line.contains(what))
        };
        if left("mount: +", "/live ") && left("netns: +", "w") && !left("process: +", "") {
            self.complain("it stopped in the middle", &call, blow, output, &diff);
        }
    }

    fn complain(&mut self, what: &str, call: &Call, blow: Blow, output: &Output, more: &str) {
        let _ = writeln!(
            self.wrong,
            "## {what}: {} {} of {} {blow:?}\n{output}\n{more}\n",
            call.name, call.number, call.process
        );
    }

    /// What a kill left is found by subhost-check and taken away, or it is whole.
    fn repair(&mut self, call: Call, blow: Blow, output: &Output) {
        let check = self.s.tool("subhost-check --repair").run();
        let state = self.s.state("w");
        let left = match state.as_str() {
            "stopped" => self.differs(&self.clean, Duration::from_secs(10)),
            "hibernating" | "running" => None,
            _ => Some(String::new()),
        };
        if check.code != 0 || left.is_some() {
            let more = format!("{state}\n{check}\n{}", left.unwrap_or_default());
            self.complain(
                "subhost-check does not clear it",
                &call,
                blow,
                output,
                &more,
            );
        }
    }

    /// One blow, and whether one may go on.
    fn strike(&mut self, call: Call, blow: Blow, after: After) -> bool {
        for line in self.verb.before {
            self.s.tool(line).silent();
        }
        let before = self.s.snapshot();
        let start = Instant::now();
        let run = traced(self.s.tool(self.verb.line), Some((call, blow)));
        let output = run.output;
        if start.elapsed() > LONG {
            let took = format!("{:?}", start.elapsed());
            self.complain("took too long", &call, blow, &output, &took);
        }
        self.blows += usize::from(run.struck);
        // Threads are killed with their tool. Of a command inside and of PID 1, enter tells so.
        let killed = matches!(blow, Blow::Kill) && output.code == 137;
        // What enter cannot take down it says, and has the status of what it ran.
        let told = self.verb.statuses == ENTER && !output.stderr.is_empty();
        match output.code {
            _ if killed => {}
            0 if told => {}
            0 => {
                let state = self.s.state("w");
                // PID 1 or what it runs can be killed when the tool has done its part.
                let ended = matches!(blow, Blow::Kill) && state == "hibernating";
                if !ended && state != self.verb.state {
                    self.complain("success, but it is not so", &call, blow, &output, &state);
                }
            }
            code => {
                let said = output
                    .stderr
                    .lines()
                    .all(|line| line.starts_with("subhost-"));
                if !self.verb.statuses.contains(&code) || output.stderr.is_empty() || !said {
                    self.complain("a wrong status or no message", &call, blow, &output, "");
                }
                self.goes_on(call, blow, &output);
                for line in output.stderr.lines() {
                    self.messages.insert(format!("{}: {line}", call.name));
                }
                let patience = Duration::from_millis(if self.verb.down { 0 } else { 150 });
                if !self.verb.down
                    && let Some(diff) = self.differs(&before, patience)
                    // A lock that cannot be taken may be another's: its file stays.
                    && !(call.name == "flock" && diff.lines().all(|line| line.contains("/run/subhost")))
                {
                    let state = self.s.state("w");
                    if state != "broken" {
                        self.complain(
                            &format!("failed, and left something that is called {state}"),
                            &call,
                            blow,
                            &output,
                            &diff,
                        );
                    }
                }
            }
        }
        if after == After::Repair {
            self.repair(call, blow, &output);
        }
        if after == After::Start {
            let mut again = self.s.tool("subhost-start w").run();
            // Killed was PID 1 or RUN, after the tool had done its part: a start may find it still running.
            if output.code == 0 && again.code == 0 && self.s.state("w") == "hibernating" {
                again = self.s.tool("subhost-start w").run();
            }
            if again.code != 0 || self.s.state("w") != "running" {
                self.complain(
                    "a start does not complete it",
                    &call,
                    blow,
                    &output,
                    &again.to_string(),
                );
            }
        }
        let start = Instant::now();
        let stop = self.s.tool("subhost-stop --sync w").run();
        if start.elapsed() > LONG {
            let took = format!("{:?}", start.elapsed());
            self.complain("the stop took too long", &call, blow, &output, &took);
        }
        let left = self.differs(&self.clean, Duration::from_secs(10));
        if stop.code == 0 && left.is_none() {
            return true;
        }
        let more = format!("{stop}\n{}", left.unwrap_or_default());
        self.complain("one stop does not clear it", &call, blow, &output, &more);
        self.s.tool("subhost-stop -k --sync w").run();
        self.differs(&self.clean, Duration::from_secs(1)).is_none()
    }
}

fn sweep(kind: &'static str, verb: &'static Verb, every: usize, kills: bool) {
    if !need(&["ip", "mkfs.ext4"]) {
        return;
    }
    sandbox(move |s| {
        let _w = make(s, kind);
        // MACs, work directories and mount points are made once and stay.
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --sync w").silent();
        let clean = s.snapshot();
        for line in verb.before {
            s.tool(line).silent();
        }
        // What the kernel still holds of the last command for a moment makes for further calls, which are not made
        // each time: a blow at one of them would not fall.
        std::thread::sleep(Duration::from_millis(100));
        let calls = traced(s.tool(verb.line), None).calls;
        s.tool("subhost-stop --sync w").silent();
        s.assert_same(&clean);
        let mut sweep = Sweep {
            s,
            verb,
            clean,
            wrong: String::new(),
            blows: 0,
            messages: Default::default(),
        };
        let every = rounds(every, 1);
        let start = Instant::now();
        for (index, call) in chosen(&calls, every, calls.len()).into_iter().enumerate() {
            let blows: Vec<Blow> = if kills {
                vec![Blow::Kill]
            } else {
                let all = errnos(call.name);
                let few = &all[index % all.len()..][..1];
                let some = if rounds(0, 1) == 1 { all } else { few };
                some.iter().map(|errno| Blow::Fail(*errno)).collect()
            };
            for (turn, blow) in blows.into_iter().enumerate() {
                let began = Instant::now();
                let after = match (index + turn) % 3 {
                    0 if kills => After::Start,
                    1 if kills => After::Repair,
                    _ => After::Stop,
                };
                // A busy machine makes some calls in another order or number: the blow falls at the next try.
                let blows = sweep.blows;
                for _ in 0..3 {
                    if !sweep.strike(call, blow, after) {
                        panic!("cannot go on:\n{}", sweep.wrong);
                    }
                    if sweep.blows > blows {
                        break;
                    }
                }
                if std::env::var_os("SUBHOST_TELL").is_some() {
                    println!("  {call:?} {blow:?} {:?}", began.elapsed());
                }
            }
        }
        println!(
            "{kind}: {}: {} calls, {} {} in {:?}",
            verb.line,
            calls.len(),
            sweep.blows,
            if kills { "kills" } else { "faults" },
            start.elapsed()
        );
        if std::env::var_os("SUBHOST_TELL").is_some() {
            for message in &sweep.messages {
                println!("  {message}");
            }
        }
        // A call that only a busy machine makes, as one more look whether something has ended, may be missing
        // when it is its turn.
        assert!(
            sweep.blows * 10 + 20 >= chosen(&calls, every, calls.len()).len() * 9,
            "most blows must fall"
        );
        assert!(
            sweep.wrong.is_empty(),
            "{kind}: {}:\n{}",
            verb.line,
            sweep.wrong
        );
    });
}

macro_rules! sweeps {
    ($($name:ident: $kind:expr, $verb:expr, $faults:expr, $kills:expr;)*) => {
        mod faults { use super::*; $(#[test] fn $name() { sweep($kind, &$verb, $faults, false); })* }
        mod kills { use super::*; $(#[test] fn $name() { sweep($kind, &$verb, $kills, true); })* }
    };
}

// How many calls are passed over between two that are struck, faults and kills; none in full.
sweeps! {
    start_overlay: "overlay", START, 5, 6;
    start_rbind: "rbind", START, 14, 16;
    start_image: "image", START, 11, 13;
    start_layers: "layers", START, 12, 14;
    start_init: "init", START, 37, 41;
    stop_init: "init", STOP, 31, 31;
    start_userns: "userns", START, 6, 7;
    mount_userns: "userns", MOUNT, 2, 2;
    net_userns: "userns", NET, 5, 6;
    enter_boots_userns: "userns", ENTER_BOOTS, 25, 27;
    enter_joins_userns: "userns", ENTER_JOINS, 7, 9;
    mount_overlay: "overlay", MOUNT, 3, 3;
    mount_image: "image", MOUNT, 3, 3;
    mount_layers: "layers", MOUNT, 2, 3;
    net: "rbind", NET, 4, 5;
    enter_boots: "overlay", ENTER_BOOTS, 15, 17;
    enter_boots_image: "image", ENTER_BOOTS, 21, 23;
    enter_joins: "overlay", ENTER_JOINS, 5, 8;
    stop_overlay: "overlay", STOP, 5, 7;
    stop_rbind: "rbind", STOP, 13, 13;
    stop_image: "image", STOP, 9, 9;
    stop_layers: "layers", STOP_SYNC, 11, 11;
    keep: "overlay", KEEP, 7, 9;
    mount_down: "layers", MOUNT_DOWN, 5, 7;
    net_down: "rbind", NET_DOWN, 5, 7;
    list: "overlay", LIST, 13, 17;
}
