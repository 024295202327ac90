//! `subhost-list`: the table, its columns, JSON, and the states.

use crate::common::*;
use serde_json::Value;
use std::fs;

pub fn json(s: &Sandbox, line: &str) -> Value {
    let out = s.tool(line).run();
    serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// Returns the object of one subhost in `subhost-list --json`.
fn listed(s: &Sandbox, name: &str) -> Value {
    let all = json(s, "subhost-list --json");
    let all = all.as_array().unwrap();
    all.iter().find(|o| o["name"] == name).unwrap().clone()
}

const COLUMNS: [&str; 8] = [
    "name", "state", "pid", "uptime", "address", "memory", "type", "last",
];

/// Runs `test` with four subhosts: `on` runs and has an address, `hib` hibernates, `off` is stopped, `bad` has an
/// invalid config.
pub fn four(test: impl FnOnce(&Sandbox) + Send + 'static) {
    sandbox(|s| {
        s.overlay("hib", "");
        s.image("off", "ext4", "");
        s.rbind("on", "BRIDGES='='\nADDR0=192.0.2.10/24\n");
        s.bare("bad", "NO_SUCH=1\n");
        let before = s.snapshot();
        s.tool("subhost-mount hib").silent();
        s.tool("subhost-start on").silent();
        test(s);
        s.tool("subhost-stop --sync on").silent();
        s.tool("subhost-stop --sync hib").silent();
        s.assert_same_now(&before);
    });
}

#[test]
fn the_table() {
    four(|s| {
        let out = s.tool("subhost-list").run();
        let lines: Vec<&str> = out.stdout.lines().collect();
        let words =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(words(lines[0]), COLUMNS.map(str::to_uppercase));
        let row = |name: &str| {
            let line = lines.iter().find(|line| line.starts_with(name));
            words(line.unwrap_or_else(|| panic!("no {name}: {out}")))
        };
        assert_eq!(lines.len(), 5, "layers/ is no subhost: {out}");
        assert_eq!(row("on")[1], "running");
        assert!(row("on")[4].starts_with("192.0.2.10"));
        assert_eq!(row("on")[6], "rbind");
        assert_eq!(row("hib")[1], "hibernating");
        assert_eq!(row("hib")[6], "overlay");
        assert_eq!(row("off")[1], "stopped");
        assert_eq!(row("off")[6], "image");
        assert_eq!(row("bad")[1], "invalid");
        let pid = &row("on")[2];
        let inside = s.host(&format!("grep NSpid /proc/{pid}/status"));
        assert!(inside.ends_with("\t1"), "no PID 1: {inside}");
    });
}

#[test]
fn columns_come_bare_and_in_the_order_asked_for() {
    four(|s| {
        assert_eq!(
            s.tool("subhost-list -o state,name off hib").ok().stdout,
            "stopped off\nhibernating hib\n"
        );
        assert_eq!(s.tool("subhost-list -o pid off").ok().stdout, "-\n");
        let names = s.tool("subhost-list -o name").run().stdout;
        assert_eq!(names, "bad\nhib\noff\non\n");
        s.tool("subhost-list -o nosuch")
            .fails(2, &["nosuch", "name"]);
        s.tool("subhost-list nosuch").fails(4, &["nosuch"]);
    });
}

#[test]
fn json_has_numbers_as_numbers() {
    four(|s| {
        let on = listed(s, "on");
        for column in COLUMNS {
            assert!(on.get(column).is_some(), "no {column} in {on}");
        }
        assert_eq!(on["state"], "running");
        let pid = on["pid"].as_i64().unwrap();
        assert!(fs::exists(format!("/proc/{pid}")).unwrap());
        assert!(on["uptime"].as_u64().unwrap() < 60);
        assert!(on["memory"].as_u64().unwrap() > 10_000, "bytes: {on}");
        let off = listed(s, "off");
        for column in ["pid", "uptime", "memory"] {
            assert!(off[column].is_null(), "{off}");
        }
        assert_eq!(listed(s, "bad")["state"], "invalid");
    });
}

#[test]
fn an_empty_directory_is_an_empty_list() {
    sandbox(|s| {
        let before = s.snapshot();
        s.tool("subhost-list -o name").silent();
        assert_eq!(json(s, "subhost-list --json"), serde_json::json!([]));
        s.assert_same_now(&before);
    });
}

#[test]
fn looking_changes_nothing() {
    four(|s| {
        let before = s.snapshot();
        for line in [
            "subhost-list",
            "subhost-info on",
            "subhost-config on",
            "subhost-config --check on",
        ] {
            s.tool(line).run();
        }
        s.assert_same_now(&before);
    });
}

/// The kernel holds the state. A lost claim is written again; a lost mount makes the subhost `broken`.
#[test]
fn a_lost_claim_breaks_nothing_and_a_lost_mount_does() {
    four(|s| {
        let state = || s.state("hib");
        s.host("rm -r /run/subhost/.in-use");
        assert_eq!(state(), "hibernating");
        s.tool("subhost-mount hib").silent();
        assert!(s.test("grep -qx hib <<END\n$(readlink /run/subhost/.in-use/*)\nEND"));
        s.host("umount opt/hib/live");
        assert_eq!(state(), "broken");
        let problem = listed(s, "hib")["problem"].to_string();
        assert!(problem.contains("/hib/live"), "{problem}");
        s.tool("subhost-mount hib").silent();
        assert_eq!(state(), "hibernating");
    });
}
