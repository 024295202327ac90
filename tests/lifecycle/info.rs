//! `subhost-info`: all about one subhost.

use crate::common::*;
use crate::list::{four, json};
use serde_json::Value;

#[test]
fn info_tells_all_of_one() {
    four(|s| {
        let out = s.tool("subhost-info on").ok();
        let pid = s.pid("on");
        assert_has(
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
            assert_has(&out.stdout, &[key]);
        }
        for (name, state) in [("hib", "hibernating"), ("off", "stopped")] {
            let out = s.tool(&format!("subhost-info {name}")).fails(3, &[]);
            assert_has(&out.stdout, &[name, state]);
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
        let before = s.start("w");
        eventually("it reaches the host", || {
            s.enter("w", "ping -c 1 -W 1 192.0.2.1").run().code == 0
        });
        // The subhost sends much and receives nothing. What the host end of the cable receives is what the subhost
        // sends.
        s.host("echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all");
        s.enter("w", "ping -c 3 -s 1400 -W 1 192.0.2.1").run();
        let out = s.tool("subhost-info w").ok().stdout;
        // For example `TX bytes: 4.9K`.
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
