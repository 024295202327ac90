//! Signals: what is sent to the tool reaches the command; what the caller ignores or blocks does not come along.

use crate::common::*;

#[test]
fn a_signal_to_enter_reaches_the_command() {
    started("", |s, _| {
        let enter = s
            .enter(
                "w",
                "trap 'echo got; exit 9' TERM; echo x >/root/ready; while :; do sleep 0.05; done",
            )
            .start();
        let w = s.subhost.join("w/root/root/ready");
        eventually("the command runs", || w.exists());
        s.host(&format!("kill -TERM {}", enter.pid()));
        let out = enter.wait();
        assert_eq!((out.code, out.text()), (9, "got".to_owned()), "{out}");
    });
}

/// Returns the mask of the signals that a process inside ignores or blocks. `before` stands before `enter` in the
/// caller's script. No shell runs inside: that of busybox ignores SIGQUIT.
fn odd_signals(s: &Sandbox, before: &str, enter: &str) -> u64 {
    let out = s
        .sh(&format!(
            "{before} {enter} w -- grep -E 'SigIgn|SigBlk' /proc/self/status"
        ))
        .ok();
    assert_eq!(out.stdout.lines().count(), 2, "{out}");
    let masks = out.stdout.lines().map(|line| {
        let (_, mask) = line.split_once('\t').unwrap();
        u64::from_str_radix(mask, 16).unwrap()
    });
    // 32 and 33 belong to the C library: its posix_spawn(3) ignores them in every child.
    masks.fold(0, |all, mask| all | mask) & !0x1_8000_0000
}

#[test]
fn umask_and_signals_are_those_of_a_login() {
    in_each_state(|s| {
        let trap = "trap '' PIPE INT QUIT TERM HUP CHLD USR1;";
        assert_eq!(odd_signals(s, trap, "exec subhost-enter"), 0);
        assert_eq!(odd_signals(s, "", "nohup subhost-enter"), 0);
        let out = s.sh("umask 077; subhost-enter w -- sh -c umask").ok();
        assert_eq!(out.text(), "0022");
    });
}
