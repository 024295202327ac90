//! Terminals: one of the subhost's own, Ctrl-C, job control, size, and its settings afterwards.

use crate::common::*;

#[test]
fn no_terminal_means_no_terminal_inside() {
    in_each_state(|s| {
        assert_eq!(s.enter("w", "tty; true").ok().text(), "not a tty");
        assert_ne!(s.enter("w", ": </dev/tty").run().code, 0);
    });
}

#[test]
fn a_terminal_gets_one_of_the_subhosts_own() {
    in_each_state(|s| {
        let mut pty = s.pty("subhost-enter w");
        pty.line("echo at-$((40+2)) $(tty) $(stty size)");
        pty.expect("at-42 ");
        let place = pty.expect("33 77");
        assert!(
            place.contains("/dev/pts/") || place.contains("/dev/console"),
            "{place}"
        );
        pty.line("ls -l $(tty) && echo there-$((40+2))");
        pty.expect("there-42");
        // It is the controlling terminal as well.
        pty.line("sh -c 'echo tty-$((40+2)) >/dev/tty'");
        pty.expect("tty-42");
        pty.line("exit 7");
        assert_eq!(pty.wait(), 7);
        pty.restored();
        let seen = pty.seen();
        assert_lacks(seen, &["job control turned off", "can't access tty"]);
    });
}

#[test]
fn one_line_says_whether_one_joined_or_is_the_init() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let mut first = s.pty("subhost-enter w");
        first.line("echo in-$((40+2))");
        let boots = first.expect("in-42").to_lowercase();
        let mut second = s.pty("subhost-enter w");
        second.line("echo in-$((40+2))");
        let joins = second.expect("in-42").to_lowercase();
        assert_has(&boots, &["w", "init"]);
        assert_has(&joins, &["w", "join"]);
        second.line("exit");
        assert_eq!(second.wait(), 0);
        first.line("exit");
        assert_eq!(first.wait(), 0);
        s.assert_same(&before);
    });
}

#[test]
fn ctrl_c_reaches_the_inside_and_not_us() {
    in_each_state(|s| {
        let mut pty = s.pty("subhost-enter w");
        pty.line("echo ready-$((40+2)); sleep 1000");
        pty.expect("ready-42");
        eventually("it sleeps", || s.runs("sleep 1000"));
        pty.keys("\x03");
        pty.line("echo status-$?-$((40+2))");
        pty.expect("status-130-42");
        pty.line("exit 0");
        assert_eq!(pty.wait(), 0);
        pty.restored();
    });
}

#[test]
fn job_control_works() {
    in_each_state(|s| {
        let mut pty = s.pty("subhost-enter w");
        pty.line("echo ready-$((40+2)); sleep 1000");
        pty.expect("ready-42");
        eventually("it sleeps", || s.runs("sleep 1000"));
        pty.keys("\x1a");
        pty.expect("Stopped");
        pty.line("jobs; kill -9 %1; wait; echo after-$((40+2))");
        pty.expect("after-42");
        pty.line("exit");
        pty.line("exit"); // The first may say that there were jobs.
        pty.wait();
        pty.restored();
    });
}

#[test]
fn the_windows_size_follows() {
    in_each_state(|s| {
        let mut pty = s.pty("subhost-enter w");
        pty.line("stty size");
        pty.expect("33 77");
        pty.resize(40, 100);
        pty.line("sleep 0.3; stty size");
        pty.expect("40 100");
        pty.line("exit");
        pty.wait();
    });
}

#[test]
fn the_terminal_is_restored_whatever_happens() {
    in_each_state(|s| {
        let mut pty = s.pty("subhost-enter w");
        pty.line("echo ready-$((40+2)); stty raw -echo; kill -9 $$");
        pty.expect("ready-42");
        assert_eq!(pty.wait(), 137);
        pty.restored();

        let mut pty = s.pty("subhost-enter w");
        pty.line("echo ready-$((40+2)); sleep 1000");
        pty.expect("ready-42");
        s.host(&format!("kill -HUP {}", pty.pid()));
        assert!(pty.wait() >= 125);
        pty.restored();
    });
}

#[test]
fn the_terminal_is_restored_when_the_subhost_is_stopped() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.start("w");
        let mut pty = s.pty("subhost-enter w");
        pty.line("echo ready-$((40+2)); exec sleep 1000");
        pty.expect("ready-42");
        s.tool("subhost-stop -k --sync w").ok();
        assert!(pty.wait() >= 125);
        pty.restored();
        s.assert_same(&before);
    });
}

#[test]
fn a_pipe_typed_in_a_terminal_stays_a_pipe() {
    in_each_state(|s| {
        let mut pty = s.pty_sh("printf abc | subhost-enter w -- tr a-c A-C | cat; echo ' ended'");
        pty.expect("ABC ended");
        assert_eq!(pty.wait(), 0);
        pty.restored();
        // Only the output is a terminal. What the user types meanwhile is for the caller.
        let mut pty =
            s.pty_sh("printf abc | subhost-enter w -- tr a-c A-C; read x; echo \" <$x>\"");
        pty.expect("ABC");
        pty.line("typed");
        pty.expect("<typed>");
        assert_eq!(pty.wait(), 0);
        pty.restored();
    });
}

#[test]
fn a_terminal_can_be_asked_for_or_declined() {
    in_each_state(|s| {
        let out = s.tool("subhost-enter -t w -- tty").ok();
        assert!(out.text().starts_with("/dev/"), "{out}");
        let mut pty = s.pty_sh("subhost-enter -T w -- tty </dev/null; echo ended-$((40+2))");
        let seen = pty.expect("ended-42");
        assert_has(&seen, &["not a tty"]);
        assert_eq!(pty.wait(), 0);
    });
}

#[test]
fn a_command_on_a_terminal_ends_with_all_its_output() {
    in_each_state(|s| {
        let mut pty = s.pty("subhost-enter w -- seq 1 20000");
        pty.expect("\n20000\r\n");
        assert_eq!(pty.wait(), 0);
        pty.restored();
    });
}

#[test]
fn a_terminal_gives_its_type() {
    started("", |s, _| {
        let mut pty = s.pty("subhost-enter w");
        pty.line("echo type-$((40+2))-$TERM-");
        pty.expect("type-42-vt100-");
        pty.line("exit");
        pty.wait();
    });
}

/// Who sits at a terminal inside is told why it is over.
#[test]
fn a_stop_is_told_to_those_at_a_terminal() {
    started("", |s, _| {
        let mut pty = s.pty("subhost-enter -j w -- sleep 1000");
        eventually("the command runs", || s.runs("sleep 1000"));
        s.tool("subhost-stop w").silent();
        pty.expect("w: it has ended, and this session with it");
        assert!(pty.wait() > 128, "TERM or KILL has ended it");
    });
}
