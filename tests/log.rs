//! The log of what runs in the background: kept to a size, and out of the hands of the inside.

mod common;

use common::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const LOG: &str = "/var/log/subhost/w.log";
const MAX: u64 = 64 << 10;

fn log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}

/// Writes numbered lines as fast as it can.
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
    // Nobody has to wait for it.
    s.tool("subhost-list w").limit(2).ok();
    assert_eq!(s.inside("w", "echo here"), "here");
}

#[test]
fn a_flood_from_run_keeps_to_log_max() {
    sandbox(|s| {
        let config = format!("RUN=\"/bin/sh -c '{FLOOD}'\"\nLOG_MAX=64K\n").replace('$', "\\$");
        s.overlay("w", &config);
        let before = s.world();
        s.tool("subhost-start w").silent();
        stays_small(s);
        s.stop("w", &before);
        // Whole lines, one after another.
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
        let before = s.world();
        s.tool("subhost-start w").silent();
        stays_small(s);
        s.stop("w", &before);
    });
}

/// RUN had the host's file as its output, and could change its mode, its owner, what was in it, and
/// how it was written.
#[test]
fn run_has_no_descriptor_of_the_log() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN=\"/bin/sh -c 'echo first; chmod 777 /proc/self/fd/1; chown 7 /proc/self/fd/2; \
             for i in 1 2; do : >/proc/self/fd/\\$i; done; ls -l /proc/self/fd/; sleep 1000'\"\n",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("it has said what it has open", || log().contains("2 -> "));
        has(&log(), &["first", "1 -> pipe:", "2 -> pipe:"]);
        lacks(&log(), &[LOG]);
        let meta = fs::metadata(LOG).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0o600));
        s.stop("w", &before);
    });
}

/// All of what it wrote, also at its end and by others than itself.
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
        has(&log(), &["number 0\n", "number 1999\n", "of a child"]);
        assert_eq!(log().lines().count(), 2001);
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn less_than_64k_is_refused() {
    sandbox(|s| {
        s.overlay("w", "LOG_MAX=10K\n");
        s.tool("subhost-start w")
            .fails(5, &["config:", "LOG_MAX", "64K"]);
    });
}
