//! `subhost-stop`: STOP, STOP_TIMEOUT, processes that do not end, and who holds the root.

use crate::common::*;
use std::path::Path;
use std::time::{Duration, Instant};

/// A service that writes to /root/got which signal ended it.
const SERVICE: &str = "for n in TERM USR1 HUP; do trap \"echo $n >/root/got; exit 0\" $n; done\n\
                       echo ready >/root/ready; while :; do sleep 0.05; done";

/// Starts and stops a subhost with the service. Returns the signal that the service received.
fn stopped_with(s: &Sandbox, config: &str, stopper: &str) -> String {
    let w = s.overlay("w", &format!("RUN=/svc\n{config}"));
    w.script("root/svc", SERVICE);
    w.script("root/stopper", stopper);
    let before = s.start("w");
    eventually("the service runs", || w.exists("root/root/ready"));
    s.stop("w", &before);
    w.read("root/root/got").trim().to_owned()
}

#[test]
fn stop_asks_run_with_term_unless_told_otherwise() {
    sandbox(|s| assert_eq!(stopped_with(s, "", "exit"), "TERM"));
    sandbox(|s| assert_eq!(stopped_with(s, "STOP=USR1\n", "exit"), "USR1"));
    sandbox(|s| assert_eq!(stopped_with(s, "STOP=SIGUSR1\n", "exit"), "USR1"));
}

#[test]
fn stop_may_be_a_command_inside() {
    sandbox(|s| {
        let stopper = "[ \"$1\" = 'two words' ] && kill -USR1 $(pidof svc)";
        let got = stopped_with(s, "STOP=\"/stopper 'two words'\"\n", stopper);
        assert_eq!(got, "USR1");
    });
}

#[test]
fn what_ignores_stop_is_killed_when_its_time_is_over() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\nSTOP_TIMEOUT=1s\n");
        w.script(
            "root/svc",
            "trap '' TERM HUP; echo x >/root/ready; while :; do sleep 0.05; done",
        );
        let before = s.start("w");
        eventually("the service runs", || w.exists("root/root/ready"));
        let start = Instant::now();
        s.tool("subhost-stop --sync w").ok();
        let took = start.elapsed();
        assert!(took > Duration::from_millis(900), "no grace: {took:?}");
        assert!(took < Duration::from_secs(10), "too long: {took:?}");
        s.assert_same_now(&before);
    });
}

#[test]
fn what_run_leaves_behind_is_asked_too() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\n");
        w.script("root/svc", "setsid /daemon & sleep 1000");
        w.script("root/daemon", SERVICE);
        let before = s.start("w");
        eventually("the daemon runs", || w.exists("root/root/ready"));
        s.stop("w", &before);
        // The service is sent SIGTERM and SIGHUP together.
        assert_has("TERM\nHUP\n", &[&w.read("root/root/got")]);
    });
}

#[test]
fn without_grace_stop_is_quick() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\nSTOP_TIMEOUT=50s\n");
        w.script(
            "root/svc",
            "trap '' TERM HUP; echo x >/root/ready; while :; do sleep 0.05; done",
        );
        let before = s.start("w");
        eventually("the service runs", || w.exists("root/root/ready"));
        s.tool("subhost-stop -k --sync w").limit(10).ok();
        s.assert_same_now(&before);
    });
}

#[test]
fn nothing_inside_outlives_its_subhost() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let daemon = "(setsid sh -c 'trap \"\" HUP TERM; sleep 1000 & sleep 1000' >/dev/null 2>&1 </dev/null &); true";
        s.inside("w", daemon);
        s.assert_same(&before);
        s.tool("subhost-start w").silent();
        s.inside("w", daemon);
        eventually("the daemon runs", || s.runs("sleep 1000"));
        assert_eq!(s.state("w"), "running");
        s.tool("subhost-stop -k --sync w").ok();
        s.assert_same_now(&before);
    });
}

#[test]
fn stop_names_who_sits_in_live() {
    started("", |s, _| {
        let live = s.subhost.join("w/live");
        let mut holder = s.sh("exec sleep 1000").cwd(&live).start();
        let pid = holder.pid().to_string();
        s.tool("subhost-stop w").fails(1, &["live", &pid, "sleep"]);
        assert_eq!(s.state("w"), "hibernating");
        assert_eq!(
            s.host("ip netns list"),
            "",
            "the network stays up for nobody"
        );
        assert!(holder.runs());
        holder.kill();
        holder.wait();
    });
}

#[test]
fn stop_may_end_holders_or_detach_from_them() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let live = s.subhost.join("w/live");
        let sit = || s.sh("exec sleep 1000").cwd(&live).start();

        s.tool("subhost-start w").silent();
        let holder = sit();
        s.tool("subhost-stop --kill-holders --sync w").ok();
        assert!(holder.wait().code > 128);
        s.assert_same(&before);

        s.tool("subhost-start w").silent();
        let mut holder = sit();
        let out = s.tool("subhost-stop -l w").run();
        assert_has(&out.stderr, &[&holder.pid().to_string()]);
        assert!(holder.runs());
        assert!(!s.test("findmnt opt/w/live"));
        holder.kill();
        holder.wait();
        s.assert_same(&before);
    });
}

#[test]
fn stop_never_ends_its_own_caller() {
    started("", |s, _| {
        let live = s.subhost.join("w/live");
        let out = s
            .sh("subhost-stop --kill-holders w; echo still here $?")
            .cwd(&live)
            .ok();
        assert_has(&out.stdout, &["still here 1"]);
    });
}

#[test]
fn a_stop_with_a_full_run_still_stops() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.start("w");
        s.host("mount -o remount,size=512k /run; cat /dev/zero >/run/full 2>/dev/null || true");
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-stop --sync w").ok();
        s.host("rm /run/full; mount -o remount,size=50% /run");
        assert!(!Path::new("/run/subhost").exists());
        assert_eq!(s.host("ip netns list; ls opt/w/live"), "");
        assert!(s.snapshot().lines("process").is_empty());
        assert_eq!(before.lines("link"), s.snapshot().lines("link"));
    });
}

/// STOP_TIMEOUT is for the STOP command and the SIGTERM after it together. After a STOP command that succeeds, the
/// remaining processes are sent SIGTERM; a subhost without RUN has none to wait for.
#[test]
fn a_stop_command_shares_the_time_and_the_rest_is_asked() {
    sandbox(|s| {
        s.overlay("w", "STOP=/bin/true\n");
        s.overlay("slow", "STOP='/bin/sleep 60'\nSTOP_TIMEOUT=8s\nRUN='/bin/sh -c \"trap : TERM; while :; do sleep 1; done\"'\n");
        s.tool("subhost-start w slow").silent();
        let start = std::time::Instant::now();
        s.tool("subhost-stop w").silent();
        assert!(
            start.elapsed().as_secs() < 20,
            "no RUN, so nothing to wait for"
        );
        let start = std::time::Instant::now();
        s.tool("subhost-stop slow").run();
        assert!(start.elapsed().as_secs() < 15, "{:?}", start.elapsed());
        assert_eq!(s.state("slow"), "stopped");
    });
}

/// The command of a stopped `subhost-enter` is a zombie that only the tool can reap. PID 1 does not wait for it.
#[test]
fn a_stopped_enter_keeps_nobody_from_stopping() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.start("w");
        let enter = s.tool("subhost-enter w -- sleep 1000").start();
        eventually("it sleeps", || s.runs("sleep 1000"));
        s.host(&format!("kill -STOP {}", enter.pid()));
        let start = std::time::Instant::now();
        s.stop("w", &before);
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        enter.wait();
    });
}

/// An unreadable record of PID 1 once counted as "nothing runs", and a stop removed the network of running processes.
#[test]
fn a_damaged_record_is_no_reason_to_tear_down() {
    started("", |s, _| {
        s.host("cp /run/subhost/w/init init; echo garbage >/run/subhost/w/init");
        s.tool("subhost-stop w").fails(5, &["/run/subhost/w/init"]);
        s.host("mv init /run/subhost/w/init");
        assert_eq!(s.inside("w", "hostname"), "w");
    });
}

/// A RUN that ignores STOP, and another process that does.
const DEAF: &str = "trap '' TERM HUP; sh -c \"trap '' TERM HUP; echo x >/root/ready; exec sleep 1002\" &\n\
                    while :; do sleep 0.05; done";

#[test]
fn what_a_stop_kills_is_said_and_kept() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\nSTOP_TIMEOUT=1s\n");
        w.script("root/svc", DEAF);
        s.tool("subhost-start w").silent();
        eventually("the service runs", || w.exists("root/root/ready"));
        let out = s.tool("subhost-stop --keep w").ok();
        assert_has(
            &out.stderr,
            &[
                "subhost-stop: w: warning: killed after 1 s: ",
                "svc (pid ",
                "sleep (pid ",
            ],
        );
        assert_eq!(s.column("w", "last"), "signal:9");
        let info = s.tool("subhost-info w").run().stdout;
        assert_has(&info, &["killed after STOP_TIMEOUT: ", "svc (pid "]);
        let json = s.tool("subhost-info --json w").run().stdout;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(
            json["last"]["killed"].as_array().unwrap().len() >= 2,
            "{json}"
        );
        // The next run has another end.
        w.script("root/svc", "exit 0");
        s.tool("subhost-start w").silent();
        eventually("it has ended", || s.column("w", "last") == "exit:0");
        s.tool("subhost-stop w").silent();
    });
}

/// RUN has ended as it was asked; what it left behind has not. LAST is the end of RUN.
#[test]
fn what_a_stop_kills_beside_run_leaves_the_status_of_run() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\nSTOP_TIMEOUT=1s\n");
        w.script(
            "root/svc",
            "trap 'exit 7' TERM; sh -c \"trap '' TERM HUP; echo x >/root/ready; exec sleep 1002\" &\n\
             while :; do sleep 0.05; done",
        );
        s.tool("subhost-start w").silent();
        eventually("the service runs", || w.exists("root/root/ready"));
        let out = s.tool("subhost-stop --keep w").ok();
        assert_has(&out.stderr, &["killed after 1 s: sleep (pid "]);
        assert_lacks(&out.stderr, &["svc"]);
        assert_eq!(s.column("w", "last"), "exit:7");
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn stop_timeout_can_be_set_for_one_stop() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\nSTOP_TIMEOUT=60s\n");
        w.script("root/svc", DEAF);
        let took = |config: &str, line: &str| {
            w.config(config);
            s.host("rm -f opt/w/root/root/ready");
            s.tool("subhost-start w").silent();
            eventually("the service runs", || w.exists("root/root/ready"));
            let start = Instant::now();
            s.tool(line).limit(30).ok();
            start.elapsed()
        };
        let shorter = took(
            "RUN=/svc\nSTOP_TIMEOUT=60s\n",
            "subhost-stop --set STOP_TIMEOUT=1s w",
        );
        assert!(shorter < Duration::from_secs(10), "{shorter:?}");
        // Also longer than PID 1 was told at its boot.
        let longer = took(
            "RUN=/svc\nSTOP_TIMEOUT=500ms\n",
            "subhost-stop --set STOP_TIMEOUT=3s w",
        );
        assert!(longer > Duration::from_millis(2900), "{longer:?}");
        s.tool("subhost-stop --set STOP_TIMEOUT=soon w")
            .fails(5, &["STOP_TIMEOUT", "'soon' is not a duration"]);
    });
}

#[test]
fn on_a_terminal_stop_says_what_it_waits_for() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\nSTOP_TIMEOUT=4s\n");
        w.script("root/svc", DEAF);
        s.tool("subhost-start w").silent();
        eventually("the service runs", || w.exists("root/root/ready"));
        let mut pty = s.pty("subhost-stop --keep w");
        pty.expect("waiting for svc (pid ");
        pty.expect("kills in ");
        pty.expect("killed after 4 s");
        assert_eq!(pty.wait(), 0);
        // Elsewhere nobody reads it.
        s.tool("subhost-stop w").silent();
        s.host("rm opt/w/root/root/ready");
        s.tool("subhost-start w").silent();
        eventually("the service runs", || w.exists("root/root/ready"));
        assert_lacks(&s.tool("subhost-stop w").ok().stderr, &["waiting"]);
    });
}

/// busybox as an init wants USR2; as a command it wants TERM like any other.
#[test]
fn run_is_asked_by_term_whatever_its_name() {
    sandbox(|s| {
        s.overlay("w", "RUN='/bin/busybox sleep 1000'\n");
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --keep w").silent();
        assert_eq!(s.column("w", "last"), "signal:15");
        s.tool("subhost-stop w").silent();
    });
}
