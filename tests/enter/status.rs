//! The exit status is the command's; 125 to 127 are the tool's.

use crate::common::*;

#[test]
fn the_status_is_the_commands() {
    in_each_state(|s| {
        s.enter("w", "exit 0").silent();
        s.enter("w", "exit 7").fails(7, &[]);
        s.enter("w", "kill -9 $$").fails(137, &[]);
        s.enter("w", "kill -TERM $$").fails(143, &[]);
        s.tool("subhost-enter w -- /etc/passwd")
            .fails(126, &["/etc/passwd"]);
        s.tool("subhost-enter w -- /no/such")
            .fails(127, &["/no/such"]);
        s.tool("subhost-enter w -- nosuchcommand")
            .fails(127, &["nosuchcommand"]);
    });
}

#[test]
fn our_own_failures_are_125() {
    sandbox(|s| {
        let before = s.snapshot();
        s.tool("subhost-enter nosuch").fails(125, &["nosuch"]);
        s.tool("subhost-enter --no-such-option w").fails(125, &[]);
        s.tool("subhost-enter").fails(125, &[]);
        s.assert_same_now(&before);
    });
}

#[test]
fn an_enter_survives_the_tree_that_has_no_shell() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.write(
            "root/etc/passwd",
            "root:x:0:0:root:/root:/bin/nosuchshell\n",
        );
        let before = s.snapshot();
        let out = s.tool("subhost-enter w").input("").run();
        assert!([0, 125, 126, 127].contains(&out.code), "{out}");
        s.assert_same(&before);
    });
}
