//! AUTOSTART, `--auto` and `--all`.

use crate::common::*;

#[test]
fn what_starts_by_itself() {
    sandbox(|s| {
        s.overlay("one", "AUTOSTART=yes\n");
        s.overlay("two", "AUTOSTART='db web'\n");
        s.overlay("three", "");
        let before = s.snapshot();
        let states = || ["one", "two", "three"].map(|name| s.state(name));
        s.tool("subhost-start --auto").silent();
        let [one, _, three] = states();
        assert_eq!((one.as_str(), three.as_str()), ("running", "stopped"));
        s.tool("subhost-stop --all").silent();
        s.assert_same(&before);
        s.tool("subhost-start --auto=web").silent();
        let [_, two, three] = states();
        assert_eq!((two.as_str(), three.as_str()), ("running", "stopped"));
        s.tool("subhost-start --all").silent();
        assert_eq!(states(), ["running"; 3]);
        s.tool("subhost-stop --all --sync").silent();
        s.assert_same_now(&before);
    });
}

#[test]
fn a_broken_config_keeps_all_from_no_other() {
    sandbox(|s| {
        s.overlay("a", "");
        s.overlay("b", "NO_SUCH_KEY=1\n");
        s.overlay("c", "");
        let before = s.snapshot();
        s.tool("subhost-start --all")
            .fails(5, &["b", "NO_SUCH_KEY"]);
        assert_eq!(s.state("a"), "running");
        assert_eq!(s.state("c"), "running");
        s.tool("subhost-stop --all --sync").ok();
        s.assert_same_now(&before);
    });
}
