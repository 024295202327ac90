//! The log of RUN and INIT: what it holds, LOG_MAX, and that the inside cannot reach the file.

use crate::common::*;
use crate::{LOG, log};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

#[test]
fn what_run_prints_is_in_the_log() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN=\"/bin/sh -c 'echo to-out; echo to-err >&2; exec sleep 1000'\"\n",
        );
        let before = s.start("w");
        eventually("the log has both", || {
            log().contains("to-out") && log().contains("to-err")
        });
        let log_file = fs::metadata(LOG).unwrap();
        assert_eq!((log_file.uid(), log_file.mode() & 0o007), (0, 0));
        assert_eq!(s.state("w"), "running");
        s.stop("w", &before);
        assert_has(&log(), &["to-out"]);
    });
}

const MAX: u64 = 64 << 10;

/// A shell command that writes numbered lines as fast as it can.
const FLOOD: &str = "i=0; while :; do echo line of the flood $i; i=$((i + 1)); done";

fn stays_small(s: &Sandbox) {
    eventually("the log has been full once", || {
        !log().contains("flood 0\n") && log().contains("flood")
    });
    for _ in 0..50 {
        let size = fs::metadata(LOG).unwrap().len();
        assert!(size <= MAX, "{size}");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The flood blocks no tool.
    s.tool("subhost-list w").limit(2).ok();
    assert_eq!(s.inside("w", "echo here"), "here");
}

#[test]
fn a_flood_from_run_keeps_to_log_max() {
    sandbox(|s| {
        let config = format!("RUN=\"/bin/sh -c '{FLOOD}'\"\nLOG_MAX=64K\n").replace('$', "\\$");
        s.overlay("w", &config);
        let before = s.start("w");
        stays_small(s);
        s.stop("w", &before);
        // The log has whole lines in their order.
        let numbers: Vec<u64> = log()
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    });
}

#[test]
fn a_flood_on_an_inits_console_keeps_to_log_max() {
    sandbox(|s| {
        let config = format!("INIT=\"/bin/sh -c '{FLOOD}'\"\nSTOP=KILL\nLOG_MAX=64K\n");
        s.overlay("w", &config.replace('$', "\\$"));
        let before = s.start("w");
        stays_small(s);
        s.stop("w", &before);
    });
}

/// RUN once had the log file itself as its output, and could change its mode, owner and content.
#[test]
fn run_has_no_descriptor_of_the_log() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN=\"/bin/sh -c 'echo first; chmod 777 /proc/self/fd/1; chown 7 /proc/self/fd/2; \
             for i in 1 2; do : >/proc/self/fd/\\$i; done; ls -l /proc/self/fd/; sleep 1000'\"\n",
        );
        let before = s.start("w");
        eventually("it has said what it has open", || log().contains("2 -> "));
        assert_has(&log(), &["first", "1 -> pipe:", "2 -> pipe:"]);
        assert_lacks(&log(), &[LOG]);
        let meta = fs::metadata(LOG).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0o600));
        s.stop("w", &before);
    });
}

/// The log has all that RUN and its children write until RUN ends.
#[test]
fn nothing_written_before_the_end_is_lost() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN=\"/bin/sh -c 'i=0; while test \\$i -lt 2000; do echo number \\$i; i=\\$((i + 1)); done; \
             (echo of a child >&2)'\"\n",
        );
        s.tool("subhost-start w").silent();
        eventually("it has ended", || s.state("w") == "hibernating");
        assert_has(&log(), &["number 0\n", "number 1999\n", "of a child"]);
        assert_eq!(log().lines().count(), 2001);
        s.tool("subhost-stop w").silent();
    });
}
