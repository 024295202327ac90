//! Syntax: what a shell would run or expand is refused with its line and column. `grammar.rs` compares what is
//! accepted with the shells themselves.

use crate::common::*;
use std::path::Path;

#[test]
fn what_a_shell_would_act_on_is_refused_with_its_place() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        for bad in [
            "X_A=$(touch MARK)",
            "X_A=`touch MARK`",
            "X_A=x; touch MARK",
            "X_A=x & touch MARK",
            "X_A=x | touch MARK",
            "X_A=*",
            "X_A=~",
            "X_A=(a b)",
            "X_A=a b",
            "X_A=$NOT_SET_ABOVE",
            "X_A='not closed",
            "if true",
        ] {
            w.config(&format!("X_OK=1\n{}\n", bad.replace("MARK", "/run/mark")));
            let before = s.snapshot();
            let out = s.tool("subhost-mount w").fails(5, &["config:2", "^"]);
            assert_lacks(&out.stderr, &["panicked"]);
            s.assert_same(&before);
        }
        assert!(!Path::new("/run/mark").exists());
    });
}

#[test]
fn control_characters_of_others_are_not_printed() {
    sandbox(|s| {
        let w = s.bare("w", "LOWER='/no/\u{1b}[2Jsuch'\n");
        w.mkdir("root");
        let before = s.snapshot();
        let out = s.tool("subhost-mount w").run();
        assert!([1, 5].contains(&out.code), "{out}");
        assert_lacks(&out.stderr, &["\u{1b}"]);
        s.assert_same(&before);
    });
}
