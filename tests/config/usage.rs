//! Command lines: unknown subhosts, unknown options, `--help`, `--version`.

use crate::common::*;

#[test]
fn no_such_subhost() {
    sandbox(|s| {
        let before = s.snapshot();
        for tool in ["mount", "net", "start", "stop", "info", "config"] {
            s.tool(&format!("subhost-{tool} nosuch"))
                .fails(4, &[&format!("subhost-{tool}: nosuch")]);
        }
        s.assert_same_now(&before);
    });
}

#[test]
fn wrong_usage() {
    sandbox(|s| {
        let before = s.snapshot();
        for tool in ["mount", "net", "start", "stop", "list", "info", "config"] {
            s.tool(&format!("subhost-{tool} --no-such-option"))
                .fails(2, &["--no-such-option"]);
            let help = s.tool(&format!("subhost-{tool} --help")).ok();
            assert_has(&help.stdout, &["--help", "-S"]);
            let version = s.tool(&format!("subhost-{tool} --version")).ok();
            assert_has(&version.stdout, &[env!("CARGO_PKG_VERSION")]);
        }
        for tool in ["mount", "net", "start", "stop", "info", "config"] {
            s.tool(&format!("subhost-{tool}")).fails(2, &[]);
        }
        s.assert_same_now(&before);
    });
}

/// Runs `--help` as root without CAP_SYS_ADMIN, as in a container.
#[test]
fn help_needs_no_rights() {
    sandbox(|s| {
        let without = |line: &str| s.sh(&format!("exec setpriv --bounding-set=-sys_admin {line}"));
        assert_has(&without("subhost-enter --help").ok().stdout, &["Usage:"]);
    });
}
