//! Keys and values: an unknown key, a value without meaning, an empty value, `defaults`.

use crate::common::*;
use std::fs;

#[test]
fn a_typo_names_the_nearest_key() {
    sandbox(|s| {
        let w = s.bare("w", "# first\n\nLOWWER=/x\n");
        let place = format!("{}:3", w.path("config").display());
        assert_refused(s, 5, &[&place, "LOWWER", "LOWER"]);
        w.config("HOSTNMAE=x\n");
        assert_refused(s, 5, &["config:1", "HOSTNMAE", "HOSTNAME"]);
        w.config("lower=/x\n");
        assert_refused(s, 5, &["config:1", "lower", "LOWER"]);
    });
}

#[test]
fn values_without_meaning_are_refused_by_key() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        for (line, key) in [
            ("READ_ONLY=maybe", "READ_ONLY"),
            ("READ_ONLY=yes\nVOLATILE=yes", "VOLATILE"),
            ("STOP_TIMEOUT=soon", "STOP_TIMEOUT"),
            ("RAM_SIZE=much", "RAM_SIZE"),
            ("NET=bridge", "NET"),
            ("BRIDGES=br0=zz:zz", "BRIDGES"),
            ("BRIDGES=br0=01:00:5e:00:00:01", "BRIDGES"),
            ("BRIDGES=br0\nADDR0=192.0.2.300/24", "ADDR0"),
            ("BRIDGES=br0\nADDR1=192.0.2.3/24", "ADDR1"),
            ("BRIDGES=br0\nMTU0=many", "MTU0"),
            ("BRIDGES=br0\nROUTES=192.0.2.0/24", "ROUTES"),
            ("STOP=SIGNONE", "STOP"),
            ("BIND=/srv:relative", "BIND"),
            ("HOSTNAME='two words'", "HOSTNAME"),
            ("LIVE=root", "LIVE"),
            ("LOWER=root", "LOWER"),
            ("LOWER=root/usr", "LOWER"),
            ("LOWER=live", "LOWER"),
            ("HOOK_TIMEOUT=0", "HOOK_TIMEOUT"),
            ("NET=host\nBRIDGES=br0", "BRIDGES"),
        ] {
            w.config(&format!("{line}\n"));
            let before = s.snapshot();
            s.tool("subhost-mount w").fails(5, &["w: ", key]);
            s.assert_same(&before);
        }
    });
}

#[test]
fn a_broken_defaults_is_named() {
    sandbox(|s| {
        s.rbind("w", "");
        fs::write(s.subhost.join("defaults"), "X_A=1\nLOWWER=x\n").unwrap();
        assert_refused(s, 5, &["defaults:2", "LOWWER"]);
    });
}

/// An empty value means that the key is unset; `LIVE=` was once an error.
#[test]
fn an_empty_value_is_that_of_a_key_that_is_not_set() {
    sandbox(|s| {
        s.rbind(
            "w",
            "LIVE=\nREAD_ONLY=\nHOOK_TIMEOUT=\nRUN_AS=\nAUTOSTART=\nSTOP_TIMEOUT=\nNET=\n",
        );
        let before = s.start("w");
        assert_eq!(s.tool("subhost-config w LIVE").ok().text(), "live");
        s.stop("w", &before);
    });
}

#[test]
fn later_settings_win() {
    sandbox(|s| {
        let defaults = s.subhost.join("defaults");
        fs::write(
            &defaults,
            "X_A=defaults\nX_B=defaults\nX_C=defaults\nRAM_SIZE=10M\n",
        )
        .unwrap();
        set_mode(&defaults, 0o600);
        s.bare("w", "X_B=config\nX_C=config\n");
        let get = |words: &str| s.tool(&format!("subhost-config {words}")).ok().text();
        assert_eq!(get("w X_A"), "defaults");
        assert_eq!(get("w X_B"), "config");
        assert_eq!(get("--set X_C=line w X_C"), "line");
        assert_eq!(get("w X_C"), "config", "--set is for one run");
        assert_eq!(get("w RAM_SIZE"), "10M");
        assert_eq!(get("--set RAM_SIZE=20M w RAM_SIZE"), "20M");
        // SUBHOST is the only variable of the environment that the tools read.
        let out = s.tool("subhost-config w X_A").env("X_A", "environment");
        assert_eq!(out.ok().text(), "defaults");
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
