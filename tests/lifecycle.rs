//! The life of a subhost: mounted, entered, hibernating, started, stopped; RUN, INIT, STOP, hooks.

mod common;

use common::{
    Output, Sandbox, Subhost, eventually, has, lacks, quote, sandbox, sandbox_private, tools_dir,
};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

const LOG: &str = "/var/log/subhost/w.log";

fn log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}

/// All that is promised, from mount to stop. With `forget`, the config is gone before the stop.
fn whole_cycle(s: &Sandbox, w: &Subhost, forget: bool) {
    let before = s.world();
    s.tool("subhost-mount w").silent();
    s.tool("subhost-net w").silent();
    assert_eq!(s.state("w"), "hibernating");
    s.enter("w", "echo hi >/root/file; sleep 1000 & exit 7")
        .fails(7, &[]);
    assert!(!s.runs("sleep 1000"), "a process outlived its PID 1");
    assert_eq!(s.state("w"), "hibernating");
    has(
        &s.host("ip netns list; findmnt -no TARGET opt/w/live"),
        &["w", "live"],
    );
    assert_eq!(s.inside("w", "cat /root/file"), "hi");

    s.tool("subhost-start w").silent();
    assert_eq!(s.state("w"), "running");
    if forget {
        fs::remove_file(w.path("config")).unwrap();
    }
    let init = s.pid("w");
    assert_eq!(s.inside("w", "cat /root/file; hostname"), "hi\nw");
    assert_eq!(s.pid("w"), init, "entering joins");
    has(
        &s.tool("subhost-info w").ok().stdout,
        &["running", &init.to_string()],
    );
    s.stop("w", &before);
    assert!(!Path::new("/run/subhost").exists());
    if !forget {
        assert_eq!(s.state("w"), "stopped");
    }
}

fn each_kind(test: fn(&Sandbox, &Subhost)) {
    sandbox(move |s| test(s, &s.overlay("w", "")));
    sandbox(move |s| test(s, &s.rbind("w", "")));
    sandbox(move |s| test(s, &s.image("w", "ext4", "")));
}

#[test]
fn the_whole_cycle() {
    each_kind(|s, w| whole_cycle(s, w, false));
}

#[test]
fn the_whole_cycle_with_the_config_gone_before_the_stop() {
    each_kind(|s, w| whole_cycle(s, w, true));
}

#[test]
fn the_whole_cycle_on_a_host_of_private_mounts_with_cables() {
    sandbox_private(|s| {
        s.bridge("br0");
        let w = s.overlay("w", "BRIDGES='br0 ='\nADDR0=192.0.2.10/24\n");
        whole_cycle(s, &w, false);
    });
}

#[test]
fn the_whole_cycle_from_a_script_with_nothing_around_it() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.world();
        let script = s.base.join("script");
        fs::write(
            &script,
            format!(
                "set -e; SUBHOST={}; export SUBHOST; t={}; \
                 $t/subhost-mount w; $t/subhost-net w; \
                 $t/subhost-enter w -- sh -c 'echo hi >/root/file; exit 7' || [ $? = 7 ]; \
                 $t/subhost-list -o state w; \
                 $t/subhost-enter w -- cat /root/file; \
                 $t/subhost-start w; $t/subhost-list -o state w; \
                 $t/subhost-enter w -- hostname; \
                 $t/subhost-stop --sync w",
                s.subhost.display(),
                tools_dir()
            ),
        )
        .unwrap();
        let out = s
            .sh(&format!(
                "exec env -i /bin/sh {} </dev/null",
                script.display()
            ))
            .ok();
        assert_eq!(out.text(), "hibernating\nhi\nrunning\nw", "{out}");
        s.same_now(&before);
        assert_eq!(w.read("root/root/file"), "hi\n");
    });
}

#[test]
fn enter_takes_down_only_what_it_brought_up() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.world();
        assert_eq!(s.inside("w", "echo $$ >/root/pid; hostname"), "w");
        s.same(&before);

        s.tool("subhost-mount w").silent();
        let mounted = s.world();
        s.inside("w", "true");
        s.same_but_state(&mounted);
        assert!(w.exists("live/bin/sh"));
        assert_eq!(s.host("ip netns list"), "");
        s.stop("w", &before);
    });
}

#[test]
fn start_returns_and_lets_go_of_the_callers_output() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN='/bin/sh -c \"echo out; echo err >&2; exec sleep 1000\"'\n",
        );
        let before = s.world();
        let out = s.sh("x=$(subhost-start w 2>&1); echo \"[$x]\"").ok();
        assert_eq!(out.text(), "[]", "{out}");
        s.stop("w", &before);
        s.sh("subhost-start w 2>&1 | cat").silent();
        s.stop("w", &before);
    });
}

#[test]
fn start_and_stop_twice_are_silent() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-stop w").silent();
        s.tool("subhost-start w").silent();
        let init = s.pid("w");
        let once = s.world();
        s.tool("subhost-start w").silent();
        assert_eq!(s.pid("w"), init);
        s.same_now(&once);
        s.stop("w", &before);
        s.tool("subhost-stop w").silent();
        s.same_now(&before);
    });
}

#[test]
fn what_run_prints_is_in_the_log() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN=\"/bin/sh -c 'echo to-out; echo to-err >&2; exec sleep 1000'\"\n",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("the log has both", || {
            log().contains("to-out") && log().contains("to-err")
        });
        let log_file = fs::metadata(LOG).unwrap();
        assert_eq!((log_file.uid(), log_file.mode() & 0o007), (0, 0));
        assert_eq!(s.state("w"), "running");
        s.stop("w", &before);
        has(&log(), &["to-out"]);
    });
}

#[test]
fn a_run_that_ends_leaves_a_hibernating_subhost() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN=\"/bin/sh -c 'setsid sleep 1000 & sleep 0.2; exit 7'\"\n",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("RUN has ended", || s.state("w") == "hibernating");
        has(&s.column("w", "last"), &["7"]);
        has(
            &s.tool("subhost-info w").fails(3, &[]).stdout,
            &["7", "hibernating"],
        );
        assert!(!s.runs("sleep 1000"));
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

#[test]
fn a_run_that_is_killed_is_told() {
    sandbox(|s| {
        s.overlay("w", "RUN='/bin/sh -c \"kill -9 \\$\\$\"'\n");
        let before = s.world();
        s.tool("subhost-start w").run();
        eventually("RUN has ended", || s.state("w") == "hibernating");
        let last = s.column("w", "last");
        assert!(last.contains("KILL") || last.contains('9'), "{last}");
        s.stop("w", &before);
    });
}

#[test]
fn a_pid_1_killed_from_the_host_is_noticed() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.host(&format!("kill -9 {}", s.pid("w")));
        eventually("it is noticed", || s.state("w") == "hibernating");
        s.tool("subhost-start w").silent();
        assert_eq!(s.state("w"), "running");
        s.stop("w", &before);
    });
}

#[test]
fn keep_hibernates() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.inside(
            "w",
            "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo x >/root/file",
        );
        let first = s.pid("w");
        s.tool("subhost-stop --keep w").silent();
        assert_eq!(s.state("w"), "hibernating");
        assert!(!s.runs("sleep 1000"));
        assert!(w.exists("live/root/file"));
        s.host("ip netns list | grep -q w");
        s.tool("subhost-stop --keep w").silent();
        s.tool("subhost-start w").silent();
        assert_ne!(s.pid("w"), first);
        s.stop("w", &before);
    });
}

/// A service that says in /root/got which signal ended it.
const SERVICE: &str = "for n in TERM USR1 HUP; do trap \"echo $n >/root/got; exit 0\" $n; done\n\
                       echo ready >/root/ready; while :; do sleep 0.05; done";

/// Starts a subhost with the service; returns what it got when stopped.
fn stopped_with(s: &Sandbox, config: &str, stopper: &str) -> String {
    let w = s.overlay("w", &format!("RUN=/svc\n{config}"));
    w.script("root/svc", SERVICE);
    w.script("root/stopper", stopper);
    let before = s.world();
    s.tool("subhost-start w").silent();
    eventually("the service runs", || w.exists("root/root/ready"));
    s.stop("w", &before);
    w.read("root/root/got").trim().to_owned()
}

#[test]
fn stop_asks_run_with_term_unless_told_otherwise() {
    sandbox(|s| assert_eq!(stopped_with(s, "", "exit"), "TERM"));
    sandbox(|s| assert_eq!(stopped_with(s, "STOP=USR1\n", "exit"), "USR1"));
    sandbox(|s| assert_eq!(stopped_with(s, "STOP=SIGUSR1\n", "exit"), "USR1"));
}

#[test]
fn stop_may_be_a_command_inside() {
    sandbox(|s| {
        let stopper = "[ \"$1\" = 'two words' ] && kill -USR1 $(pidof svc)";
        let got = stopped_with(s, "STOP=\"/stopper 'two words'\"\n", stopper);
        assert_eq!(got, "USR1");
    });
}

#[test]
fn what_ignores_stop_is_killed_when_its_time_is_over() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\nSTOP_TIMEOUT=1s\n");
        w.script(
            "root/svc",
            "trap '' TERM HUP; echo x >/root/ready; while :; do sleep 0.05; done",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("the service runs", || w.exists("root/root/ready"));
        let start = Instant::now();
        s.tool("subhost-stop --sync w").ok();
        let took = start.elapsed();
        assert!(took > Duration::from_millis(900), "no grace: {took:?}");
        assert!(took < Duration::from_secs(10), "too long: {took:?}");
        s.same_now(&before);
    });
}

#[test]
fn what_run_leaves_behind_is_asked_too() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\n");
        w.script("root/svc", "setsid /daemon & sleep 1000");
        w.script("root/daemon", SERVICE);
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("the daemon runs", || w.exists("root/root/ready"));
        s.stop("w", &before);
        // TERM and HUP come together.
        has("TERM\nHUP\n", &[&w.read("root/root/got")]);
    });
}

#[test]
fn without_grace_stop_is_quick() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=/svc\nSTOP_TIMEOUT=50s\n");
        w.script(
            "root/svc",
            "trap '' TERM HUP; echo x >/root/ready; while :; do sleep 0.05; done",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("the service runs", || w.exists("root/root/ready"));
        s.tool("subhost-stop -k --sync w").limit(10).ok();
        s.same_now(&before);
    });
}

#[test]
fn nothing_inside_outlives_its_subhost() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        let daemon = "(setsid sh -c 'trap \"\" HUP TERM; sleep 1000 & sleep 1000' >/dev/null 2>&1 </dev/null &); true";
        s.inside("w", daemon);
        s.same(&before);
        s.tool("subhost-start w").silent();
        s.inside("w", daemon);
        eventually("the daemon runs", || s.runs("sleep 1000"));
        assert_eq!(s.state("w"), "running");
        s.tool("subhost-stop -k --sync w").ok();
        s.same_now(&before);
    });
}

#[test]
fn pid_1_reaps() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.inside(
            "w",
            "for i in 1 2 3 4 5; do (setsid sleep 0.01 &); done; sleep 0.2",
        );
        eventually("no zombie is left", || {
            !s.inside("w", "cat /proc/[0-9]*/stat").contains(") Z ")
        });
        s.stop("w", &before);
    });
}

#[test]
fn an_init_of_the_trees_own_boots_and_stops_cleanly() {
    sandbox(|s| {
        let w = s.overlay("w", "INIT=/sbin/init\nBRIDGES=\"=\"\nADDR0=192.0.2.10/24\n");
        w.write(
            "root/etc/inittab",
            "::sysinit:/bin/sh -c 'tr \"\\000\" \"\\n\" </proc/1/environ >/root/environ; ip addr >/root/addr'\n\
             ::respawn:/bin/sleep 1000\n\
             ::shutdown:/bin/touch /root/shut-down\n",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        assert_eq!(s.state("w"), "running");
        eventually("init runs its services", || s.runs("/bin/sleep 1000"));
        assert_eq!(s.inside("w", "cat /proc/1/comm; echo $HOME"), "init\n/root");
        s.tool("subhost-start w").silent();
        has(&w.read("root/root/environ"), &["container=subhost"]);
        has(&w.read("root/root/addr"), &["192.0.2.10/24"]);
        s.tool("subhost-stop --sync w").limit(20).silent();
        s.same_now(&before);
        assert!(
            w.exists("root/root/shut-down"),
            "init was killed, not asked"
        );
    });
}

#[test]
fn an_init_that_powers_off_leaves_a_hibernating_subhost() {
    sandbox(|s| {
        let w = s.overlay("w", "INIT=/sbin/init\n");
        w.write("root/etc/inittab", "::respawn:/bin/sleep 1000\n");
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("init runs its services", || s.runs("/bin/sleep 1000"));
        s.enter("w", "poweroff").run();
        eventually("it has powered off", || s.state("w") == "hibernating");
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

#[test]
fn what_starts_by_itself() {
    sandbox(|s| {
        s.overlay("one", "AUTOSTART=yes\n");
        s.overlay("two", "AUTOSTART='db web'\n");
        s.overlay("three", "");
        let before = s.world();
        let states = || ["one", "two", "three"].map(|name| s.state(name));
        s.tool("subhost-start --auto").silent();
        let [one, _, three] = states();
        assert_eq!((one.as_str(), three.as_str()), ("running", "stopped"));
        s.tool("subhost-stop --all").silent();
        s.same(&before);
        s.tool("subhost-start --auto=web").silent();
        let [_, two, three] = states();
        assert_eq!((two.as_str(), three.as_str()), ("running", "stopped"));
        s.tool("subhost-start --all").silent();
        assert_eq!(states(), ["running"; 3]);
        s.tool("subhost-stop --all --sync").silent();
        s.same_now(&before);
    });
}

#[test]
fn a_broken_config_keeps_all_from_no_other() {
    sandbox(|s| {
        s.overlay("a", "");
        s.overlay("b", "NO_SUCH_KEY=1\n");
        s.overlay("c", "");
        let before = s.world();
        s.tool("subhost-start --all")
            .fails(5, &["b", "NO_SUCH_KEY"]);
        assert_eq!(s.state("a"), "running");
        assert_eq!(s.state("c"), "running");
        s.tool("subhost-stop --all --sync").ok();
        s.same_now(&before);
    });
}

#[test]
fn run_has_the_user_the_directory_and_the_environment_it_was_given() {
    sandbox(|s| {
        let w = s.overlay(
            "w",
            "RUN=/svc\nRUN_AS=web\nRUN_DIR=/srv\nENV_LANG=C.UTF-8\nENV_TWO='two words'\n",
        );
        w.script(
            "root/svc",
            "id; pwd; echo \"<$LANG> <$TWO> <$HOME> <$SUBHOST>\"; echo done; exec sleep 1000",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("the log is written", || log().contains("done"));
        has(
            &log(),
            &[
                "uid=1000(web) gid=1000(web)",
                "2000(extra)",
                "\n/srv\n",
                "<C.UTF-8> <two words> </home/web> <>",
            ],
        );
        // What is entered is root's, with the same environment.
        assert_eq!(s.inside("w", "id -u; echo $LANG"), "0\nC.UTF-8");
        s.stop("w", &before);
    });
}

/// Files that RUN and who enters get variables from, in `env.d` of `w`.
fn env_files(w: &Subhost) {
    w.mkdir("env.d");
    w.write(
        "env.d/first",
        "# Not to be shown.\nSECRET='correct horse'\nexport OVER=file\nLATER=one\nPLACE=\"$SUBHOST $NAME\"\n",
    );
    w.write("env.d/second", "LATER=two\n");
    w.chmod("env.d/first", 0o600);
    w.chmod("env.d/second", 0o600);
}

#[test]
fn what_env_files_hold_is_seen_inside_only() {
    sandbox(|s| {
        let lines = hooks(s, "env >>$SUBHOST/seen");
        let config = format!(
            "{lines}ENV_FILE='env.d/first env.d/second -env.d/none'\nENV_OVER=config\nRUN=/svc\n"
        );
        let w = s.overlay("w", &config);
        env_files(&w);
        w.script(
            "root/svc",
            "echo \"<$SECRET> <$OVER> <$LATER> <$PLACE>\"; echo done; exec sleep 1000",
        );
        let all = format!("correct horse config two {} w", s.subhost.display());
        let echo = "echo $SECRET $OVER $LATER $PLACE";
        let before = s.world();
        let all_of = |out: Output| out.stdout + &out.stderr;
        let mut told = all_of(s.tool("subhost-start -v w").ok());
        eventually("the log is written", || log().contains("done"));
        has(&log(), &["<correct horse> <config> <two>"]);
        assert_eq!(s.inside("w", echo), all);
        // Nobody but who boots reads them.
        s.host("mv opt/w/env.d opt/w/away");
        for line in [
            "subhost-config w",
            "subhost-config w ENV_FILE",
            "subhost-config --check w",
            "subhost-info w",
            "subhost-info --json w",
            "subhost-list --json",
            "subhost-limit w",
            "subhost-mount -n w",
        ] {
            told += &all_of(s.tool(line).ok());
        }
        has(&told, &["env.d/first", "there is no"]);
        assert_eq!(s.inside("w", echo), all);
        // What is recorded for who comes in later is root's.
        let recorded = s
            .host("grep -rl 'correct horse' /run /var/lib/subhost 2>&- | xargs -r stat -c '%a %n'");
        assert_eq!(recorded, "600 /run/subhost/w/init");
        told += &all_of(s.tool("subhost-stop -v --sync w").ok());
        s.same_now(&before);
        s.tool("subhost-start w").fails(
            1,
            &["ENV_FILE: cannot read", "/w/env.d/first", "No such file"],
        );
        s.same(&before);
        // A boot by entering is a boot.
        s.host("mv opt/w/away opt/w/env.d; echo SECRET=another >>opt/w/env.d/first");
        assert_eq!(s.inside("w", echo), all.replace("correct horse", "another"));
        s.same_now(&before);
        told += &fs::read_to_string(s.subhost.join("seen")).unwrap();
        has(
            &told,
            &["PHASE=premount", "PHASE=poststop", "ENV_OVER=config"],
        );
        lacks(&told, &["correct", "horse", "another", "PLACE", "LATER"]);
    });
}

#[test]
fn an_init_of_the_trees_own_has_what_env_files_hold() {
    sandbox(|s| {
        let w = s.overlay("w", "INIT=/sbin/init\nENV_FILE=env.d/first\n");
        env_files(&w);
        w.write(
            "root/etc/inittab",
            "::sysinit:/bin/sh -c 'tr \"\\000\" \"\\n\" </proc/1/environ >/root/environ; touch /root/done'\n",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("init begins", || w.exists("root/root/done"));
        has(
            &w.read("root/root/environ"),
            &["SECRET=correct horse\n", "OVER=file\n", "container=subhost"],
        );
        assert_eq!(s.inside("w", "echo $SECRET"), "correct horse");
        s.tool("subhost-stop --sync w").limit(20).silent();
        s.same_now(&before);
    });
}

#[test]
fn binds_and_tmpfs_are_inside_only() {
    sandbox(|s| {
        s.host("mkdir rw 'r o'; echo rw >rw/file; echo ro >'r o/file'; echo one >single");
        let base = s.base.display();
        let bind = format!(
            "{} {} {}",
            quote(format!("{base}/rw:/mnt")),
            quote(format!("{base}/r o:/srv:ro")),
            quote(format!("{base}/single:/etc/os-release:ro"))
        );
        let w = s.overlay(
            "w",
            &format!(
                "BIND={}\nTMPFS='/home:1M /var/log'\nRAM_SIZE=8M\n",
                quote(bind)
            ),
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        let out = s.inside(
            "w",
            "cat /mnt/file /srv/file /etc/os-release; echo new >/mnt/new",
        );
        assert_eq!(out, "rw\nro\none");
        assert_eq!(fs::read_to_string(s.base.join("rw/new")).unwrap(), "new\n");
        s.enter("w", "echo new >/srv/new").fails(1, &["Read-only"]);
        let sizes = s.inside("w", "df -k /home /run | awk '{print $2}'");
        has(&sizes, &["1024", "8192"]);
        has(&s.inside("w", "grep ' /var/log ' /proc/mounts"), &["tmpfs"]);
        assert!(!w.exists("live/mnt/file"), "the host's view has the bind");
        s.stop("w", &before);
        assert!(s.base.join("rw/file").exists());
    });
}

#[test]
fn a_bind_without_a_target_goes_to_the_same_path() {
    sandbox(|s| {
        s.host("mkdir /var/log/shared; echo x >/var/log/shared/file");
        let w = s.overlay("w", "BIND=/var/log/shared\n");
        w.mkdir("root/var/log/shared");
        let before = s.world();
        assert_eq!(s.inside("w", "cat /var/log/shared/file"), "x");
        s.same(&before);
    });
}

const PHASES: [&str; 6] = [
    "PREMOUNT",
    "POSTMOUNT",
    "PRENET",
    "POSTNET",
    "PRESTOP",
    "POSTSTOP",
];

/// The lines of a config that give every phase the program `$SUBHOST/hook`, which runs `script`.
fn hooks(s: &Sandbox, script: &str) -> String {
    let hook = s.subhost.join("hook");
    fs::write(&hook, format!("#!/bin/sh\n{script}\n")).unwrap();
    s.host("chmod 755 opt/hook");
    PHASES
        .map(|phase| format!("{phase}=\"$SUBHOST/hook\"\n"))
        .concat()
}

#[test]
fn hooks_run_in_order_and_know_the_config() {
    sandbox(|s| {
        let script =
            "echo \"$PHASE|$NAME|$SUBHOST|$LIVE|$NETNS|$X_MINE|$HOSTNAME\" >>$SUBHOST/seen";
        let lines = hooks(s, script);
        s.overlay(
            "w",
            &format!("{lines}X_MINE='my own'\nHOSTNAME=w.example.org\n"),
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
        let seen = fs::read_to_string(s.subhost.join("seen")).unwrap();
        let subhost = s.subhost.display();
        assert_eq!(seen.lines().count(), PHASES.len(), "{seen}");
        for (line, phase) in seen.lines().zip(PHASES) {
            let (first, rest) = line.split_once('|').unwrap();
            assert_eq!(first.to_uppercase(), phase, "{seen}");
            has(
                rest,
                &[
                    &format!("w|{subhost}|{subhost}/w/live|"),
                    "|my own|w.example.org",
                ],
            );
            assert!(
                rest.split('|').nth(3).unwrap().ends_with('w'),
                "NETNS: {line}"
            );
        }
    });
}

#[test]
fn hooks_see_what_their_phase_has() {
    sandbox(|s| {
        let script = "if [ -e $LIVE/bin/sh ]; then live=yes; else live=no; fi\n\
                      if ip netns list | grep -q w; then net=yes; else net=no; fi\n\
                      echo $live $net >>$SUBHOST/seen";
        let lines = hooks(s, &format!("PATH={}\n{script}", common::HOST_PATH));
        s.overlay("w", &lines);
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
        let seen = fs::read_to_string(s.subhost.join("seen")).unwrap();
        let seen: Vec<&str> = seen.lines().collect();
        assert_eq!(seen[..4], ["no no", "yes no", "yes no", "yes yes"]);
        assert_eq!(seen[4..], ["yes yes", "no no"]);
    });
}

#[test]
fn a_hook_that_fails_stops_the_way_up_and_undoes_it() {
    for failing in ["PREMOUNT", "POSTMOUNT", "PRENET", "POSTNET"] {
        sandbox(move |s| {
            hooks(s, "echo told >&2; exit 3");
            s.bridge("br0");
            s.overlay("w", &format!("BRIDGES=br0\n{failing}=\"$SUBHOST/hook\"\n"));
            let before = s.world();
            let out = s.tool("subhost-start w").fails(1, &["3"]);
            has(&out.stderr.to_uppercase(), &[failing, "/OPT/HOOK"]);
            s.same(&before);
            s.enter("w", "true").fails(125, &["hook"]);
            s.same(&before);
        });
    }
}

#[test]
fn a_hook_that_fails_never_stops_the_way_down() {
    sandbox(|s| {
        hooks(s, "exit 3");
        s.overlay(
            "w",
            "PRESTOP=\"$SUBHOST/hook\"\nPOSTSTOP=\"$SUBHOST/hook\"\n",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        let out = s.tool("subhost-stop --sync w").run();
        has(&out.stderr.to_uppercase(), &["PRESTOP", "POSTSTOP"]);
        s.same_now(&before);
    });
}

#[test]
fn a_hook_that_hangs_is_ended_with_what_it_started() {
    sandbox(|s| {
        hooks(s, "/bin/sleep 1000 & /bin/sleep 1000");
        s.overlay("w", "POSTMOUNT=\"$SUBHOST/hook\"\nHOOK_TIMEOUT=1s\n");
        let before = s.world();
        let out = s.tool("subhost-start w").limit(15).run();
        assert!([1, 6].contains(&out.code), "{out}");
        has(&out.stderr.to_uppercase(), &["POSTMOUNT", "HOOK_TIMEOUT"]);
        s.same(&before);
    });
}

#[test]
fn a_boot_ends_with_the_enter_that_made_it() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        let mut enter = s.enter("w", "setsid sleep 1000 & sleep 1000").start();
        eventually("it is up", || {
            s.state("w") == "running" && s.runs("sleep 1000")
        });
        enter.kill();
        enter.wait();
        eventually("all processes are gone", || !s.runs("sleep 1000"));
        eventually("it does not run", || s.state("w") != "running");
        s.tool("subhost-stop --sync w").ok();
        s.same_now(&before);
    });
}

#[test]
fn what_somebody_entered_is_not_started() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        let mut enter = s.enter("w", "sleep 1000").start();
        eventually("it is up", || s.state("w") == "running");
        s.tool("subhost-start w")
            .fails(75, &["w", &enter.pid().to_string()]);
        assert!(enter.runs());
        // The lock is not held meanwhile: others can look and join.
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-stop --sync w").ok();
        let out = enter.wait();
        assert!(out.code > 128, "{out}");
        s.same(&before);
    });
}

#[test]
fn a_foreground_start_has_the_status_of_run() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=\"/bin/sh -c 'echo hello; exit 7'\"\n");
        let before = s.world();
        let out = s.tool("subhost-start -f w").fails(7, &[]);
        assert_eq!(out.text(), "hello");
        s.tool("subhost-stop w").silent();
        s.same(&before);
        let out = s
            .tool("subhost-start -i w")
            .input("echo $((40+2)); exit 5\n")
            .fails(5, &[]);
        has(&out.stdout, &["42"]);
        s.tool("subhost-stop w").silent();
        s.same(&before);
        // Our own failures must not look like the command's.
        w.config("RUN=/no/such\n");
        s.tool("subhost-start -f w").fails(127, &["/no/such"]);
        w.config("NO_SUCH=1\n");
        s.tool("subhost-start -f w").fails(125, &["NO_SUCH"]);
        s.tool("subhost-stop w").silent();
        s.same(&before);
    });
}

#[test]
fn settings_of_one_run_are_kept_with_what_they_made() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start --set HOSTNAME=other --set BRIDGES== w")
            .silent();
        assert_eq!(s.inside("w", "hostname"), "other");
        s.host("ip link show w0");
        s.stop("w", &before);
    });
}

#[test]
fn what_was_changed_in_the_config_waits_for_the_next_start() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        w.config("BRIDGES=\"=\"\n");
        has(
            &s.tool("subhost-info w").ok().stdout.to_lowercase(),
            &["changed"],
        );
        assert!(!s.test("ip link show w0"));
        let out = s.tool("subhost-start w").ok();
        has(&out.stderr, &["w"]);
        w.config("this is no config\n");
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-info w").ok();
        s.stop("w", &before);
    });
}

#[test]
fn run_is_read_anew_at_each_boot() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN='/bin/sleep 1001'\n");
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("the first runs", || s.runs("sleep 1001"));
        w.config("RUN='/bin/sleep 1002'\n");
        s.tool("subhost-stop --keep w").silent();
        s.tool("subhost-start w").silent();
        eventually("the second runs", || s.runs("sleep 1002"));
        s.stop("w", &before);
    });
}

#[test]
fn many_starts_at_once_make_one_subhost() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\n");
        let before = s.world();
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
        s.same(&before);
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
        let before = s.world();
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
        s.same(&before);
    });
}

#[test]
fn stop_names_who_sits_in_live() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        let live = s.subhost.join("w/live");
        let mut holder = s.sh("exec sleep 1000").cwd(&live).start();
        let pid = holder.pid().to_string();
        s.tool("subhost-stop w").fails(1, &["live", &pid, "sleep"]);
        assert_eq!(s.state("w"), "hibernating");
        assert_eq!(
            s.host("ip netns list"),
            "",
            "the network stays up for nobody"
        );
        assert!(holder.runs());
        holder.kill();
        holder.wait();
        s.stop("w", &before);
    });
}

#[test]
fn stop_may_end_holders_or_detach_from_them() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        let live = s.subhost.join("w/live");
        let sit = || s.sh("exec sleep 1000").cwd(&live).start();

        s.tool("subhost-start w").silent();
        let holder = sit();
        s.tool("subhost-stop --kill-holders --sync w").ok();
        assert!(holder.wait().code > 128);
        s.same(&before);

        s.tool("subhost-start w").silent();
        let mut holder = sit();
        let out = s.tool("subhost-stop -l w").run();
        has(&out.stderr, &[&holder.pid().to_string()]);
        assert!(holder.runs());
        assert!(!s.test("findmnt opt/w/live"));
        holder.kill();
        holder.wait();
        s.same(&before);
    });
}

#[test]
fn stop_never_ends_its_own_caller() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        let live = s.subhost.join("w/live");
        let out = s
            .sh("subhost-stop --kill-holders w; echo still here $?")
            .cwd(&live)
            .ok();
        has(&out.stdout, &["still here 1"]);
        s.stop("w", &before);
    });
}

#[test]
fn a_stop_with_a_full_run_still_stops() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.host("mount -o remount,size=512k /run; cat /dev/zero >/run/full 2>/dev/null || true");
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-stop --sync w").ok();
        s.host("rm /run/full; mount -o remount,size=50% /run");
        assert!(!Path::new("/run/subhost").exists());
        assert_eq!(s.host("ip netns list; ls opt/w/live"), "");
        assert!(s.world().lines("process").is_empty());
        assert_eq!(before.lines("link"), s.world().lines("link"));
    });
}

#[test]
fn what_the_host_mounts_is_left_alone() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.mkdir("root/data");
        s.host("mount -t tmpfs data opt/w/root/data; mkdir -p opt/w/root/data/deep");
        s.host("mount -t tmpfs deep opt/w/root/data/deep; echo x >opt/w/root/data/deep/file");
        let before = s.world();
        s.tool("subhost-start w").silent();
        assert_eq!(s.inside("w", "cat /data/deep/file"), "x");
        s.enter("w", "umount /data/deep").run(); // Whether it may is another matter.
        assert!(
            w.exists("root/data/deep/file"),
            "the inside unmounted the host's"
        );
        s.stop("w", &before);
    });
}

#[test]
fn control_does_what_the_tools_do() {
    let control = Path::new(env!("CARGO_MANIFEST_DIR")).join("subhosts.example/control");
    sandbox(move |s| {
        s.overlay("w", "");
        fs::copy(&control, s.subhost.join("control")).unwrap();
        let before = s.world();
        let run = |words: &str| {
            s.sh(&format!(
                "unset SUBHOST; {}/control {words}",
                s.subhost.display()
            ))
        };
        run("start w").silent();
        assert_eq!(run("w:hostname").ok().text(), "w");
        assert_eq!(run("enter w -- hostname").ok().text(), "w");
        has(&run("list").ok().stdout, &["running"]);
        let first = s.pid("w");
        run("restart w").silent();
        assert_ne!(s.pid("w"), first);
        run("status w").ok();
        run("stop w").silent();
        run("status w").fails(3, &[]);
        s.same(&before);
    });
}

#[test]
fn a_debian_tree_lives_the_same_life() {
    // A tree of debootstrap's is made by hand and named here: it takes minutes.
    let Ok(tree) = std::env::var("SUBHOST_TEST_TREE") else {
        return println!("SKIP: SUBHOST_TEST_TREE names no tree");
    };
    sandbox(move |s| {
        let w = s.bare("w", &format!("LOWER={}\n", quote(quote(&tree))));
        w.mkdir("root");
        whole_cycle(s, &w, false);
        let before = s.world();
        let out = s.inside("w", "dpkg --version; id");
        has(&out, &["Debian", "uid=0(root)"]);
        s.same(&before);
    });
}
