//! Looking: subhost-list, subhost-info, subhost-config.

mod common;

use common::{Sandbox, has, sandbox};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn json(s: &Sandbox, line: &str) -> Value {
    let out = s.tool(line).run();
    serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// The object of one subhost in `subhost-list --json`.
fn listed(s: &Sandbox, name: &str) -> Value {
    let all = json(s, "subhost-list --json");
    let all = all.as_array().unwrap();
    all.iter().find(|o| o["name"] == name).unwrap().clone()
}

const COLUMNS: [&str; 8] = [
    "name", "state", "pid", "uptime", "address", "memory", "type", "last",
];

/// Four subhosts: running with an address, hibernating, stopped, and one without a valid config.
fn four(test: impl FnOnce(&Sandbox) + Send + 'static) {
    sandbox(|s| {
        s.overlay("hib", "");
        s.image("off", "ext4", "");
        s.rbind("on", "BRIDGES='='\nADDR0=192.0.2.10/24\n");
        s.bare("bad", "NO_SUCH=1\n");
        let before = s.world();
        s.tool("subhost-mount hib").silent();
        s.tool("subhost-start on").silent();
        test(s);
        s.tool("subhost-stop --sync on").silent();
        s.tool("subhost-stop --sync hib").silent();
        s.same_now(&before);
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
        let before = s.world();
        s.tool("subhost-list -o name").silent();
        assert_eq!(json(s, "subhost-list --json"), serde_json::json!([]));
        s.same_now(&before);
    });
}

#[test]
fn looking_changes_nothing() {
    four(|s| {
        let before = s.world();
        for line in [
            "subhost-list",
            "subhost-info on",
            "subhost-config on",
            "subhost-config --check on",
        ] {
            s.tool(line).run();
        }
        s.same_now(&before);
    });
}

#[test]
fn info_tells_all_of_one() {
    four(|s| {
        let out = s.tool("subhost-info on").ok();
        let pid = s.pid("on");
        has(
            &out.stdout,
            &[
                "Name:",
                "State:",
                "running",
                "PID:",
                &pid.to_string(),
                "IP:",
                "192.0.2.10",
                "on0",
            ],
        );
        for key in [
            "CPU use:",
            "Memory use:",
            "Link:",
            "TX bytes:",
            "RX bytes:",
            "Total bytes:",
        ] {
            has(&out.stdout, &[key]);
        }
        for (name, state) in [("hib", "hibernating"), ("off", "stopped")] {
            let out = s.tool(&format!("subhost-info {name}")).fails(3, &[]);
            has(&out.stdout, &[name, state]);
        }
        let out = s.tool("subhost-info --json on").ok();
        let info: Value = serde_json::from_str(&out.stdout).unwrap();
        assert_eq!(
            (&info["name"], &info["state"]),
            (&Value::from("on"), &Value::from("running"))
        );
        assert_eq!(info["pid"], pid);
        let both = json(s, "subhost-info --json on off");
        assert_eq!(both.as_array().unwrap().len(), 2);
        s.tool("subhost-info on off").fails(3, &[]);
        s.tool("subhost-info nosuch").fails(4, &["nosuch"]);
    });
}

#[test]
fn traffic_is_counted_as_the_subhost_sees_it() {
    sandbox(|s| {
        s.bridge("br0");
        s.host("ip addr add 192.0.2.1/24 dev br0");
        s.overlay("w", "BRIDGES=br0\nADDR0=192.0.2.10/24\n");
        let before = s.world();
        s.tool("subhost-start w").silent();
        common::eventually("it reaches the host", || {
            s.enter("w", "ping -c 1 -W 1 192.0.2.1").run().code == 0
        });
        // Much out and nothing back: what the host's end received is what the subhost sent.
        s.host("echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all");
        s.enter("w", "ping -c 3 -s 1400 -W 1 192.0.2.1").run();
        let out = s.tool("subhost-info w").ok().stdout;
        // Such as `TX bytes: 4.9K`.
        let number = |key: &str| -> f64 {
            let line = out
                .lines()
                .find(|l| l.trim_start().starts_with(key))
                .unwrap();
            let value = line.rsplit(' ').next().unwrap();
            let number: f64 = value.trim_end_matches(char::is_alphabetic).parse().unwrap();
            number * if value.contains('K') { 1024.0 } else { 1.0 }
        };
        assert!(number("TX bytes:") > number("RX bytes:") + 3000.0, "{out}");
        s.stop("w", &before);
    });
}

#[test]
fn an_invalid_config_of_a_running_one_hides_nothing() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        w.config("NO_SUCH=1\n");
        assert_eq!(s.state("w"), "running");
        fs::remove_file(w.path("config")).unwrap();
        assert_eq!(s.state("w"), "running");
        has(&s.tool("subhost-list").ok().stdout, &["w ", "running"]);
        s.tool("subhost-stop --all --sync").silent();
        s.same_now(&before);
    });
}

#[test]
fn one_setting_is_its_bare_value() {
    sandbox(|s| {
        s.bare(
            "w",
            "HOSTNAME=\"$NAME.example.org\"\nRUN='/bin/sh -c \"echo it\"'\n",
        );
        assert_eq!(
            s.tool("subhost-config w HOSTNAME").ok().stdout,
            "w.example.org\n"
        );
        assert_eq!(
            s.tool("subhost-config w RUN").ok().stdout,
            "/bin/sh -c \"echo it\"\n"
        );
        assert_eq!(s.tool("subhost-config w RAM_SIZE").ok().stdout, "50M\n");
        assert_eq!(s.tool("subhost-config w LOWER").ok().stdout, "\n");
        let out = s.tool("subhost-config w NO_SUCH").run();
        assert!([2, 5].contains(&out.code), "{out}");
    });
}

#[test]
fn all_settings_can_be_evaluated() {
    sandbox(|s| {
        let odd = "it's $HOME `x` \"q\" \\ ü * ~";
        let value = common::quote(odd);
        s.bare(
            "w",
            &format!("X_ODD={value}\nBRIDGES='br0 br1'\nENV_LANG=C\n"),
        );
        let out = s
            .sh("set -eu; eval \"$(subhost-config w)\"; printf '%s|%s|%s|%s|%s' \"$X_ODD\" \"$BRIDGES\" $NET $LIVE $ENV_LANG")
            .ok();
        has(&out.stdout, &[&format!("{odd}|br0 br1|private|")]);
        has(&out.stdout, &["live|C"]);
        let all = s.tool("subhost-config w").ok().stdout;
        has(&all, &["STOP_TIMEOUT=", "NET=", "HOSTNAME="]);
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
        fs::set_permissions(&defaults, fs::Permissions::from_mode(0o600)).unwrap();
        s.bare("w", "X_B=config\nX_C=config\n");
        let get = |words: &str| s.tool(&format!("subhost-config {words}")).ok().text();
        assert_eq!(get("w X_A"), "defaults");
        assert_eq!(get("w X_B"), "config");
        assert_eq!(get("--set X_C=line w X_C"), "line");
        assert_eq!(get("w X_C"), "config", "--set is for one run");
        assert_eq!(get("w RAM_SIZE"), "10M");
        assert_eq!(get("--set RAM_SIZE=20M w RAM_SIZE"), "20M");
        // Of the environment only SUBHOST is read.
        let out = s.tool("subhost-config w X_A").env("X_A", "environment");
        assert_eq!(out.ok().text(), "defaults");
    });
}

#[test]
fn check_warns_of_what_works_and_should_be_known() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        s.tool("subhost-config --check w").silent();
        w.config("LOWER=/\n");
        let out = s.tool("subhost-config --check w").ok();
        assert_eq!(out.stdout, "");
        has(&out.stderr, &["w", "LOWER"]);
        w.config("LOWWER=/\n");
        let out = s
            .tool("subhost-config --check w")
            .fails(5, &["LOWWER", "LOWER"]);
        assert_eq!(out.stdout, "");
    });
}

/// The state is the kernel's. What is only noted is noted again; what is mounted is missed.
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
