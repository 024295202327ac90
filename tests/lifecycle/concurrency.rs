//! Several commands at once, and the lock that orders them. `races.rs` kills them as well.

use crate::common::*;

#[test]
fn many_starts_at_once_make_one_subhost() {
    sandbox(|s| {
        s.cabled("w", "");
        let before = s.snapshot();
        let starts: Vec<_> = (0..8).map(|_| s.tool("subhost-start w").start()).collect();
        for start in starts {
            let out = start.wait();
            assert_eq!(out.code, 0, "{out}");
        }
        assert_eq!(s.state("w"), "running");
        let stops: Vec<_> = (0..8).map(|_| s.tool("subhost-stop w").start()).collect();
        for stop in stops {
            let out = stop.wait();
            assert_eq!(out.code, 0, "{out}");
        }
        s.assert_same(&before);
    });
}

#[test]
fn many_subhosts_at_once() {
    sandbox(|s| {
        s.bridge("br0");
        let names: Vec<String> = (0..8).map(|i| format!("w{i}x")).collect();
        for name in &names {
            s.overlay(name, "BRIDGES=br0\n");
        }
        let before = s.snapshot();
        for round in ["subhost-start", "subhost-stop"] {
            let all: Vec<_> = names
                .iter()
                .map(|name| s.tool(&format!("{round} {name}")).start())
                .collect();
            for one in all {
                let out = one.wait();
                assert_eq!(out.code, 0, "{out}");
            }
        }
        s.assert_same(&before);
    });
}

#[test]
fn a_lock_that_is_held_is_waited_for_and_then_named() {
    sandbox(|s| {
        let hook = s.subhost.join("hook");
        write_script(&hook, "PATH=/bin:/usr/bin\nsleep 5");
        s.overlay("w", "PREMOUNT=\"$SUBHOST/hook\"\n");
        let before = s.snapshot();
        let first = s.tool("subhost-start w").start();
        eventually("the hook runs", || {
            s.snapshot()
                .lines("process")
                .iter()
                .any(|p| p.ends_with("sleep 5"))
        });
        s.tool("subhost-start --wait 0 w")
            .fails(75, &["w", &first.pid().to_string(), "subhost-start"]);
        s.tool("subhost-start w").silent();
        assert_eq!(first.wait().code, 0);
        s.stop("w", &before);
    });
}
