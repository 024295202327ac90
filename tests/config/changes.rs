//! A config that changes while its subhost is up.

use crate::common::*;
use std::fs;

#[test]
fn what_was_changed_in_the_config_waits_for_the_next_start() {
    started("", |s, w| {
        w.config("BRIDGES=\"=\"\n");
        assert_has(
            &s.tool("subhost-info w").ok().stdout.to_lowercase(),
            &["changed"],
        );
        assert!(!s.test("ip link show w0"));
        let out = s.tool("subhost-start w").ok();
        assert_has(&out.stderr, &["w"]);
        w.config("this is no config\n");
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-info w").ok();
    });
}

#[test]
fn run_is_read_anew_at_each_boot() {
    started("RUN='/bin/sleep 1001'\n", |s, w| {
        eventually("the first runs", || s.runs("sleep 1001"));
        w.config("RUN='/bin/sleep 1002'\n");
        s.tool("subhost-stop --keep w").silent();
        s.tool("subhost-start w").silent();
        eventually("the second runs", || s.runs("sleep 1002"));
    });
}

#[test]
fn an_invalid_config_of_a_running_one_hides_nothing() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.start("w");
        w.config("NO_SUCH=1\n");
        assert_eq!(s.state("w"), "running");
        fs::remove_file(w.path("config")).unwrap();
        assert_eq!(s.state("w"), "running");
        assert_has(&s.tool("subhost-list").ok().stdout, &["w ", "running"]);
        s.tool("subhost-stop --all --sync").silent();
        s.assert_same_now(&before);
    });
}
