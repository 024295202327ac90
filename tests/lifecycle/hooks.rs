//! Hooks: their order, their environment, their failures and their time.

use crate::common::*;
use std::fs;

const PHASES: [&str; 6] = [
    "PREMOUNT",
    "POSTMOUNT",
    "PRENET",
    "POSTNET",
    "PRESTOP",
    "POSTSTOP",
];

/// Writes `script` as `$SUBHOST/hook`. Returns the config lines that make it the hook of each phase.
pub fn hooks(s: &Sandbox, script: &str) -> String {
    write_script(s.subhost.join("hook"), script);
    PHASES
        .map(|phase| format!("{phase}=\"$SUBHOST/hook\"\n"))
        .concat()
}

#[test]
fn hooks_run_in_order_and_know_the_config() {
    sandbox(|s| {
        let script =
            "echo \"$PHASE|$NAME|$SUBHOST|$LIVE|$NETNS|$X_MINE|$HOSTNAME\" >>$SUBHOST/seen";
        let lines = hooks(s, script);
        s.overlay(
            "w",
            &format!("{lines}X_MINE='my own'\nHOSTNAME=w.example.org\n"),
        );
        let before = s.start("w");
        s.stop("w", &before);
        let seen = fs::read_to_string(s.subhost.join("seen")).unwrap();
        let subhost = s.subhost.display();
        assert_eq!(seen.lines().count(), PHASES.len(), "{seen}");
        for (line, phase) in seen.lines().zip(PHASES) {
            let (first, rest) = line.split_once('|').unwrap();
            assert_eq!(first.to_uppercase(), phase, "{seen}");
            assert_has(
                rest,
                &[
                    &format!("w|{subhost}|{subhost}/w/live|"),
                    "|my own|w.example.org",
                ],
            );
            assert!(
                rest.split('|').nth(3).unwrap().ends_with('w'),
                "NETNS: {line}"
            );
        }
    });
}

#[test]
fn hooks_see_what_their_phase_has() {
    sandbox(|s| {
        let script = "if [ -e $LIVE/bin/sh ]; then live=yes; else live=no; fi\n\
                      if ip netns list | grep -q w; then net=yes; else net=no; fi\n\
                      echo $live $net >>$SUBHOST/seen";
        let lines = hooks(s, &format!("PATH={}\n{script}", HOST_PATH));
        s.overlay("w", &lines);
        let before = s.start("w");
        s.stop("w", &before);
        let seen = fs::read_to_string(s.subhost.join("seen")).unwrap();
        let seen: Vec<&str> = seen.lines().collect();
        assert_eq!(seen[..4], ["no no", "yes no", "yes no", "yes yes"]);
        assert_eq!(seen[4..], ["yes yes", "no no"]);
    });
}

#[test]
fn a_hook_that_fails_stops_the_way_up_and_undoes_it() {
    for failing in ["PREMOUNT", "POSTMOUNT", "PRENET", "POSTNET"] {
        sandbox(move |s| {
            hooks(s, "echo told >&2; exit 3");
            s.cabled("w", &format!("{failing}=\"$SUBHOST/hook\"\n"));
            let before = s.snapshot();
            let out = s.tool("subhost-start w").fails(1, &["3"]);
            assert_has(&out.stderr.to_uppercase(), &[failing, "/OPT/HOOK"]);
            s.assert_same(&before);
            s.enter("w", "true").fails(125, &["hook"]);
            s.assert_same(&before);
        });
    }
}

#[test]
fn a_hook_that_fails_never_stops_the_way_down() {
    sandbox(|s| {
        hooks(s, "exit 3");
        s.overlay(
            "w",
            "PRESTOP=\"$SUBHOST/hook\"\nPOSTSTOP=\"$SUBHOST/hook\"\n",
        );
        let before = s.start("w");
        let out = s.tool("subhost-stop --sync w").run();
        assert_has(&out.stderr.to_uppercase(), &["PRESTOP", "POSTSTOP"]);
        s.assert_same_now(&before);
    });
}

#[test]
fn a_hook_that_hangs_is_ended_with_what_it_started() {
    sandbox(|s| {
        hooks(s, "/bin/sleep 1000 & /bin/sleep 1000");
        s.overlay("w", "POSTMOUNT=\"$SUBHOST/hook\"\nHOOK_TIMEOUT=1s\n");
        let before = s.snapshot();
        let out = s.tool("subhost-start w").limit(15).run();
        assert!([1, 6].contains(&out.code), "{out}");
        assert_has(&out.stderr.to_uppercase(), &["POSTMOUNT", "HOOK_TIMEOUT"]);
        s.assert_same(&before);
    });
}

/// `subhost-enter` that boots also runs the hooks of the stop.
#[test]
fn an_enter_that_boots_runs_the_hooks_of_the_way_down() {
    sandbox(|s| {
        s.host("printf '#!/bin/sh\\necho $PHASE >>%s/phases\\n' $PWD >hook; chmod 755 hook");
        let hook = s.base.join("hook");
        s.overlay(
            "w",
            &format!("POSTNET={0}\nPRESTOP={0}\nPOSTSTOP={0}\n", hook.display()),
        );
        s.enter("w", "true").ok();
        assert_eq!(s.host("cat phases"), "postnet\nprestop\npoststop");
    });
}

/// A stop closes the namespace on another CPU; the hook afterwards may use all of them.
#[test]
fn a_hook_after_a_stop_has_all_processors() {
    sandbox(|s| {
        let w = s.cabled("w", "POSTSTOP=hook\n");
        w.script(
            "hook",
            "grep Cpus_allowed: /proc/self/status >$SUBHOST/cpus",
        );
        let before = s.start("w");
        s.stop("w", &before);
        let all = s.host("grep Cpus_allowed: /proc/self/status");
        assert_eq!(s.host("cat opt/cpus"), all);
    });
}
