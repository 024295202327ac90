//! `--set KEY=VALUE` of the command line.

use crate::common::*;

#[test]
fn settings_of_the_command_line_are_checked_too() {
    sandbox(|s| {
        s.rbind("w", "");
        let before = s.snapshot();
        s.tool("subhost-mount --set LOWWER=/x w")
            .fails(5, &["LOWWER", "LOWER"]);
        s.tool("subhost-mount --set NET=bridge w")
            .fails(5, &["NET"]);
        let out = s.tool("subhost-mount --set nothing w").run();
        assert!([2, 5].contains(&out.code), "{out}");
        s.assert_same(&before);
    });
}

/// A join reads no config, and once accepted a typo in `--set`.
#[test]
fn a_typo_on_the_command_line_is_told_when_joining_too() {
    started("", |s, _| {
        s.tool("subhost-enter --set HOSTNAM=x w -- true")
            .fails(125, &["HOSTNAME"]);
    });
}

#[test]
fn settings_of_one_run_are_kept_with_what_they_made() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-start --set HOSTNAME=other --set BRIDGES== w")
            .silent();
        assert_eq!(s.inside("w", "hostname"), "other");
        s.host("ip link show w0");
        s.stop("w", &before);
    });
}
