//! Entering: statuses, standard input, terminals, users, and what must not come along.

mod common;

use common::{Sandbox, eventually, has, lacks, sandbox};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Runs `test` with `w` stopped, hibernating and running: entering must look the same from inside.
fn in_each_state(test: fn(&Sandbox)) {
    for up in ["", "subhost-mount w; subhost-net w", "subhost-start w"] {
        sandbox(move |s| {
            s.overlay("w", "");
            let before = s.world();
            s.sh(up).silent();
            test(s);
            s.stop("w", &before);
        });
    }
}

/// Runs `test` with `w` started.
fn running(test: impl FnOnce(&Sandbox) + Send + 'static) {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        test(s);
        s.stop("w", &before);
    });
}

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

/// What PATH has before that cannot be executed is passed over, and what the kernel does not know is a script,
/// as for execvp(3).
#[test]
fn commands_are_found_as_shells_find_them() {
    in_each_state(|s| {
        let base = s.layer("base");
        let write = |name: &str, text: &str, mode: u32| {
            fs::write(base.join(name), text).unwrap();
            fs::set_permissions(base.join(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        write("bin/bare", "echo \"$0 $*\"", 0o755);
        write("bin/denied", "", 0o644);
        write("sbin/both", "", 0o644);
        write("bin/both", "#!/bin/sh\necho found", 0o755);
        write("bin/lost", "#!/no/such\n", 0o755);
        write("bin/odd", "#!/bin/odd\n", 0o755);
        let enter = |line: &str| {
            s.tool(&format!(
                "subhost-enter -e PATH=/etc/passwd:/sbin:/bin w -- {line}"
            ))
        };
        assert_eq!(enter("bare one two").ok().stdout, "/bin/bare one two\n");
        assert_eq!(enter("/bin/bare").ok().stdout, "/bin/bare \n");
        assert_eq!(enter("both").ok().stdout, "found\n");
        enter("denied").fails(126, &["Permission denied"]);
        enter("/bin/denied").fails(126, &["Permission denied"]);
        enter("/etc/passwd/x").fails(127, &["Not a directory"]);
        enter("lost").fails(127, &["interpreter"]);
        enter("odd").fails(126, &["odd"]);
    });
}

#[test]
fn our_own_failures_are_125() {
    sandbox(|s| {
        let before = s.world();
        s.tool("subhost-enter nosuch").fails(125, &["nosuch"]);
        s.tool("subhost-enter --no-such-option w").fails(125, &[]);
        s.tool("subhost-enter").fails(125, &[]);
        s.same_now(&before);
    });
}

#[test]
fn arguments_arrive_as_they_are() {
    in_each_state(|s| {
        let out = s
            .tool("subhost-enter w -- printf")
            .args(["<%s>", "two words", "", "$HOME", "-v", "--", "ü\n"])
            .ok();
        assert_eq!(out.stdout, "<two words><><$HOME><-v><--><ü\n>");
    });
}

#[test]
fn input_is_passed_on() {
    in_each_state(|s| {
        let out = s
            .tool("subhost-enter w -- tr a-c A-C")
            .input("abc and more\n")
            .ok();
        assert_eq!(out.stdout, "ABC And more\n");
        let out = s
            .sh("printf abc | subhost-enter w -- tr a-c A-C | cat")
            .ok();
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("ABC", ""));
    });
}

#[test]
fn much_data_goes_through_unchanged() {
    running(|s| {
        let out = s
            .sh("head -c 5000000 /dev/urandom >/run/data
                 subhost-enter w -- cat </run/data | cmp - /run/data && echo same; rm /run/data")
            .ok();
        assert_eq!(out.text(), "same", "{out}");
    });
}

#[test]
fn a_scripts_remaining_input_is_not_eaten() {
    in_each_state(|s| {
        let out = s
            .sh("printf '1\\n2\\n3\\n' | while read n; do subhost-enter w -- true; echo got $n; done")
            .ok();
        assert_eq!(out.stdout, "got 1\ngot 2\ngot 3\n", "{out}");
        let out = s
            .sh("printf 'one\\ntwo\\n' | { subhost-enter w -- sh -c 'read x; echo $x'; cat; }")
            .ok();
        assert_eq!(out.stdout, "one\ntwo\n", "{out}");
    });
}

#[test]
fn output_and_errors_stay_apart() {
    in_each_state(|s| {
        let out = s.enter("w", "echo out; echo err >&2").ok();
        assert_eq!(
            (out.stdout.as_str(), out.stderr.as_str()),
            ("out\n", "err\n")
        );
    });
}

#[test]
fn closed_descriptors_do_no_harm() {
    in_each_state(|s| {
        s.sh("subhost-enter w -- true <&- >&- 2>&-").ok();
        let out = s.sh("subhost-enter w -- echo hi <&-").ok();
        assert_eq!(out.text(), "hi");
    });
}

#[test]
fn a_reader_that_leaves_ends_the_writer() {
    running(|s| {
        let out = s
            .sh("subhost-enter w -- yes | head -n 2; echo done")
            .limit(20)
            .ok();
        assert_eq!(out.stdout, "y\ny\ndone\n");
    });
}

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
        // A second look: the controlling terminal, not only three descriptors.
        pty.line("sh -c 'echo tty-$((40+2)) >/dev/tty'");
        pty.expect("tty-42");
        pty.line("exit 7");
        assert_eq!(pty.wait(), 7);
        pty.restored();
        let seen = pty.seen();
        lacks(seen, &["job control turned off", "can't access tty"]);
    });
}

#[test]
fn one_line_says_whether_one_joined_or_is_the_init() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        let mut first = s.pty("subhost-enter w");
        first.line("echo in-$((40+2))");
        let boots = first.expect("in-42").to_lowercase();
        let mut second = s.pty("subhost-enter w");
        second.line("echo in-$((40+2))");
        let joins = second.expect("in-42").to_lowercase();
        has(&boots, &["w", "init"]);
        has(&joins, &["w", "join"]);
        second.line("exit");
        assert_eq!(second.wait(), 0);
        first.line("exit");
        assert_eq!(first.wait(), 0);
        s.same(&before);
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
        let before = s.world();
        s.tool("subhost-start w").silent();
        let mut pty = s.pty("subhost-enter w");
        pty.line("echo ready-$((40+2)); exec sleep 1000");
        pty.expect("ready-42");
        s.tool("subhost-stop -k --sync w").ok();
        assert!(pty.wait() >= 125);
        pty.restored();
        s.same(&before);
    });
}

#[test]
fn a_pipe_typed_in_a_terminal_stays_a_pipe() {
    in_each_state(|s| {
        let mut pty = s.pty_sh("printf abc | subhost-enter w -- tr a-c A-C | cat; echo ' ended'");
        pty.expect("ABC ended");
        assert_eq!(pty.wait(), 0);
        pty.restored();
        // Only output is a terminal: what is typed meanwhile is the caller's.
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
        has(&seen, &["not a tty"]);
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
fn several_may_be_inside_at_once() {
    running(|s| {
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
        let before = s.world();
        let all: Vec<_> = (0..5)
            .map(|_| s.enter("w", "sleep 0.5; hostname").start())
            .collect();
        for one in all {
            // The first boots; when its command ends, so do those that joined.
            let out = one.wait();
            assert!(out.code == 0 || out.code > 128, "{out}");
        }
        s.tool("subhost-stop w").ok();
        s.same(&before);
    });
}

#[test]
fn users_are_those_of_the_inside() {
    in_each_state(|s| {
        let user = |user: &str, script: &str| {
            s.tool(&format!("subhost-enter -u {user} w -- sh -c"))
                .arg(script)
        };
        let id = user("web", "id; echo $HOME $USER").ok().text();
        has(
            &id,
            &[
                "uid=1000(web) gid=1000(web)",
                "2000(extra)",
                "/home/web web",
            ],
        );
        assert_eq!(user("1234", "id -u").ok().text(), "1234");
        assert_eq!(user("1000", "id -un").ok().text(), "web");
        user("nosuchuser", "true").fails(125, &["nosuchuser"]);
        for odd in ["12x", "-1", "99999999999", "+1000", "0x10"] {
            s.tool("subhost-enter w")
                .arg(format!("--user={odd}"))
                .args(["--", "true"])
                .fails(125, &[]);
        }
    });
}

#[test]
fn a_user_of_the_host_is_none_of_the_inside() {
    running(|s| {
        // daemon is in every host's passwd and not in the tree's.
        s.tool("subhost-enter -u daemon w -- true")
            .fails(125, &["daemon"]);
    });
}

#[test]
fn a_directory_and_variables_may_be_given() {
    in_each_state(|s| {
        assert_eq!(s.tool("subhost-enter -w /srv w -- pwd").ok().text(), "/srv");
        s.tool("subhost-enter -w /no/such w -- pwd")
            .fails(125, &["/no/such"]);
        let out = s
            .tool("subhost-enter -e ONE=1 -e")
            .args(["TWO=two words", "w", "--", "sh", "-c", "echo $ONE $TWO"])
            .ok();
        assert_eq!(out.text(), "1 two words");
    });
}

#[test]
fn join_wants_a_running_one() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-enter -j w -- true").fails(3, &["w"]);
        s.tool("subhost-enter --join w -- true")
            .fails(3, &["not running"]);
        s.same(&before);
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
        let before = s.world();
        s.inside("w", "sleep 0.2");
        assert!(!w.exists("root/root/ran"));
        s.same(&before);
    });
}

#[test]
fn no_descriptor_comes_along() {
    in_each_state(|s| {
        let out = s
            .sh("exec 7</etc/passwd 8>/dev/null 9</; subhost-enter w -- ls /proc/self/fd </dev/null")
            .ok();
        assert_eq!(out.stdout, "0\n1\n2\n3\n", "3 is what ls itself opens");
        // Neither has PID 1 anything of the host's; of its own it may close something meanwhile.
        let out = s.inside("w", "ls -l /proc/1/fd 2>/dev/null || :");
        lacks(&out, &["passwd", s.base.to_str().unwrap()]);
    });
}

/// The signals that a process inside ignores or blocks, started from a script with `before`. Not by way
/// of a shell inside: busybox's ignores QUIT by itself.
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
    // 32 and 33 are the C library's own: its posix_spawn(3) ignores them in every child.
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

#[test]
fn the_environment_is_that_of_a_login() {
    in_each_state(|s| {
        let env = s
            .sh("SECRET=x LD_PRELOAD=/no/such.so TMPDIR=/x subhost-enter w -- env 2>/dev/null")
            .ok()
            .stdout;
        let lines: Vec<&str> = env.lines().collect();
        for line in ["HOME=/root", "USER=root"] {
            assert!(lines.contains(&line), "no {line} in\n{env}");
        }
        let path = lines.iter().find(|l| l.starts_with("PATH=")).unwrap();
        has(path, &["/bin", "/usr/sbin"]);
        lacks(path, &["target"]);
        lacks(&env, &["SECRET", "LD_PRELOAD", "TMPDIR", "SUBHOST="]);
    });
}

#[test]
fn a_login_shell_is_the_users_own() {
    running(|s| {
        let out = s
            .tool("subhost-enter w")
            .input("echo $0 $PWD; echo $((40+2))\nexit 3\n")
            .fails(3, &[]);
        has(&out.stdout, &["sh", "/root", "42"]);
        let out = s.tool("subhost-enter -u web w").input("id -un; pwd\n").ok();
        assert_eq!(out.text(), "web\n/home/web");
    });
}

#[test]
fn a_terminal_gives_its_type() {
    running(|s| {
        let mut pty = s.pty("subhost-enter w");
        pty.line("echo type-$((40+2))-$TERM-");
        pty.expect("type-42-vt100-");
        pty.line("exit");
        pty.wait();
    });
}

#[test]
fn the_inside_sees_its_own_processes_only() {
    in_each_state(|s| {
        let pids = s.inside("w", "cd /proc; echo [0-9]*");
        let few = pids.split_whitespace().count();
        assert!(few <= 4, "{pids}");
        assert!(pids.split_whitespace().any(|pid| pid == "1"), "{pids}");
    });
}

#[test]
fn root_inside_cannot_reach_the_hosts_root() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.write("root/inside", "x");
        std::fs::write(s.base.join("outside"), "host's").unwrap();
        let outside = s.base.join("outside");
        let outside = outside.display();
        let before = s.world();
        s.tool("subhost-start w").silent();
        let attack = |script: &str| {
            let out = s.enter("w", script).run();
            lacks(&out.stdout, &["host's"]);
            out
        };
        attack(&format!("cat {outside}"));
        attack(&format!("nsenter -t 1 -m cat {outside}"));
        attack(&format!("cat /proc/1/root{outside}"));
        attack(&format!(
            "cat /proc/1/cwd{outside}; cat /proc/1/cwd/../../../..{outside}"
        ));
        attack(&format!("chroot /proc/1/root cat {outside}"));
        attack(&format!(
            "for f in /proc/[0-9]*/fd/*; do cat $f/../../../../..{outside}; done"
        ));
        let out = attack("nsenter -t 1 -m ls /");
        if out.code == 0 {
            has(&out.stdout, &["inside"]);
        }
        // No mount of the host's is there, not even hidden below ours.
        let points = s.inside("w", "cut -d' ' -f5 /proc/self/mountinfo");
        lacks(&points, &[s.base.to_str().unwrap(), "/run/netns", "live"]);
        assert_eq!(points.lines().filter(|p| *p == "/").count(), 1, "{points}");
        s.stop("w", &before);
    });
}

#[test]
fn the_inside_has_proc_sys_dev_and_run_of_its_own() {
    in_each_state(|s| {
        let types = s.inside("w", "awk '{print $2, $3}' /proc/mounts");
        for kind in [
            "/proc proc",
            "/sys sysfs",
            "/dev tmpfs",
            "/dev/pts devpts",
            "/run tmpfs",
        ] {
            assert!(
                types.lines().any(|line| line == kind),
                "no '{kind}' in\n{types}"
            );
        }
        s.inside(
            "w",
            "echo x >/dev/null; head -c 1 /dev/zero >/dev/null; head -c 1 /dev/urandom >/dev/null; \
             [ -c /dev/full ] && [ -c /dev/random ] && [ -e /dev/ptmx ] && [ -d /dev/shm ] && \
             [ -e /dev/fd/0 ] && [ -e /dev/stdin ] && [ ! -e /dev/vda ]",
        );
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
        let before = s.world();
        let out = s.tool("subhost-enter w").input("").run();
        assert!([0, 125, 126, 127].contains(&out.code), "{out}");
        s.same(&before);
    });
}

#[test]
fn a_signal_to_enter_reaches_the_command() {
    running(|s| {
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

/// As root in a container that may mount nothing.
#[test]
fn help_needs_no_rights() {
    sandbox(|s| {
        let without = |line: &str| s.sh(&format!("exec setpriv --bounding-set=-sys_admin {line}"));
        has(&without("subhost-enter --help").ok().stdout, &["Usage:"]);
    });
}

/// A stop looks for tools that hold ended processes by their name: it is the tool's, however that was called.
#[test]
fn it_is_named_the_same_however_it_was_called() {
    running(|s| {
        for tool in ["subhost-enter", "subhost enter"] {
            let line = format!(
                "{tool} -T w -- /bin/sh -c ': >/in; exec sleep 1000' & until [ -e $SUBHOST/w/live/in ]; do sleep 0.01; done
                 cat /proc/$!/comm; rm $SUBHOST/w/live/in; kill $!; wait"
            );
            assert_eq!(s.sh(&line).ok().text(), "subhost-enter", "{tool}");
        }
    });
}

/// What it makes is small, but memory that is written to is a file to the kernel.
#[test]
fn a_limit_on_files_is_none_for_entering() {
    running(|s| {
        for blocks in [0, 1] {
            let line = format!(
                "ulimit -S -f {blocks}; exec subhost-enter -T w -- /bin/sh -c 'echo in; ulimit -f'"
            );
            assert_eq!(s.sh(&line).ok().text(), "in\nunlimited");
        }
    });
}
