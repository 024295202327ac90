//! Joining and booting: `--join`, several at once, and RUN, which entering never runs.

use crate::common::*;

#[test]
fn several_may_be_inside_at_once() {
    started("", |s, _| {
        let all: Vec<_> = (0..10)
            .map(|i| {
                s.enter("w", &format!("sleep 0.2; echo {i}; exit {i}"))
                    .start()
            })
            .collect();
        for (i, one) in all.into_iter().enumerate() {
            let out = one.wait();
            assert_eq!(
                (out.code, out.text()),
                (i32::try_from(i).unwrap(), i.to_string()),
                "{out}"
            );
        }
        assert_eq!(s.state("w"), "running");
    });
}

#[test]
fn enters_of_a_stopped_one_at_once_boot_one_subhost() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let all: Vec<_> = (0..5)
            .map(|_| s.enter("w", "sleep 0.5; hostname").start())
            .collect();
        for one in all {
            // The first one boots. When its command ends, the others are killed.
            let out = one.wait();
            assert!(out.code == 0 || out.code > 128, "{out}");
        }
        s.tool("subhost-stop w").ok();
        s.assert_same(&before);
    });
}

#[test]
fn join_wants_a_running_one() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-enter -j w -- true").fails(3, &["w"]);
        s.tool("subhost-enter --join w -- true")
            .fails(3, &["not running"]);
        s.assert_same(&before);
        s.tool("subhost-mount w").silent();
        s.tool("subhost-enter --join w -- true").fails(3, &["w"]);
        assert!(w.exists("live/bin/sh"));
        s.tool("subhost-start w").silent();
        s.tool("subhost-enter --join w -- true").silent();
        s.stop("w", &before);
    });
}

#[test]
fn entering_never_runs_run() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\n");
        w.script("root/svc", "touch /root/ran; sleep 1000");
        let before = s.snapshot();
        s.inside("w", "sleep 0.2");
        assert!(!w.exists("root/root/ran"));
        s.assert_same(&before);
    });
}
