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

/// A status of 128+N for every signal, the real-time ones too, which libraries do not know by name.
#[test]
fn every_signal_that_ends_a_command_is_its_status() {
    in_each_state(|s| {
        // 32 and 33 belong to the C library of the shell.
        for signal in [1, 9, 15, 31, 34, 35, 50, 63, 64] {
            let out = s
                .enter("w", &format!("kill -{signal} $$; sleep 5"))
                .limit(20)
                .run();
            assert_eq!(out.code, 128 + signal, "{out}");
        }
        for status in [0, 1, 2, 100, 125, 126, 127, 128, 200, 255] {
            let out = s.enter("w", &format!("exit {status}")).limit(20).run();
            assert_eq!(out.code, status, "{out}");
        }
    });
}

/// Package scripts signal an init, as that of sysvinit does by USR1 when it is installed.
#[test]
fn signals_from_inside_to_pid_1_do_not_reach_the_command() {
    in_each_state(|s| {
        for signal in [
            "HUP", "INT", "USR1", "USR2", "ALRM", "TERM", "PWR", "WINCH", "34", "64",
        ] {
            let script = format!("kill -{signal} 1; sleep 0.2; exit 42");
            s.enter("w", &script).limit(20).fails(42, &[]);
        }
    });
}
