//! The library: a subhost is started, looked at, entered and stopped from Rust, without the tools.

mod common;

use common::*;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use subhost::plan::{Part, Step};
use subhost::{Config, Exit, Name, StartHow, Status, Stdio, StopHow, Subhost};

#[test]
fn up_and_down_from_rust() {
    sandbox(|s| {
        s.cabled("w", "ADDR0=192.0.2.10/24\n");
        let before = s.snapshot();
        subhost::tools_in(tools_dir().as_ref());
        let w = Subhost::new(&s.subhost, &Name::new("w").unwrap(), &[]);
        let plan = w.plan(Part::Net).unwrap();
        assert!(matches!(&plan.steps[1], Step::Cable(step) if step.cable.host == "w0"));
        assert_eq!(w.status().unwrap(), Status::Stopped);
        assert_eq!(w.start(StartHow::Background, None).unwrap(), 0);
        assert_eq!(w.status().unwrap(), Status::Running);
        assert_eq!(s.inside("w", "hostname"), "w");
        let keep = StopHow {
            keep: true,
            ..StopHow::default()
        };
        w.stop(keep).unwrap();
        assert_eq!(w.status().unwrap(), Status::Hibernating);
        let sync = StopHow {
            sync: true,
            ..StopHow::default()
        };
        w.stop(sync).unwrap();
        assert_eq!(w.status().unwrap(), Status::Stopped);
        s.assert_same(&before);
    });
}

/// A config that is in no file makes the same, and what it is given for good is kept all the same.
#[test]
fn settings_that_are_in_no_file_make_a_subhost() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "GARBAGE");
        let before = s.snapshot();
        subhost::tools_in(tools_dir().as_ref());
        let base = s.subhost.join("layers/base");
        let settings = [
            ("LOWER", base.to_str().unwrap()),
            ("BRIDGES", "br0"),
            ("ADDR0", "192.0.2.10/24"),
            ("HOSTNAME", "lab"),
        ];
        let name = Name::new("w").unwrap();
        let config = Config::from_settings(&s.subhost, &name, settings).unwrap();
        let w = Subhost::with(config);
        w.start(StartHow::Background, None).unwrap();
        assert_eq!(s.inside("w", "hostname"), "lab");
        assert_has(&s.host("ip -n w -br address"), &["192.0.2.10/24"]);
        assert!(s.subhost.join("w/assigned").exists());
        let sync = StopHow {
            sync: true,
            ..StopHow::default()
        };
        w.stop(sync).unwrap();
        s.assert_same(&before);
        let error = Config::from_settings(&s.subhost, &name, [("LOWWER", "/")]).unwrap_err();
        assert_has(&error.to_string(), &["LOWWER", "did you mean LOWER?"]);
    });
}

/// There is no network of its own, and nothing is on its way.
struct Nothing;

impl subhost::boot::Setup for Nothing {
    fn mount_root(&mut self) -> subhost::Result<()> {
        Ok(())
    }

    fn network_namespace(&mut self) -> subhost::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn finish_network(&mut self) -> subhost::Result<()> {
        Ok(())
    }
}

/// PID 1 works from a spec, which is data: a spec that no config made boots too, and has nothing else inside.
#[test]
fn a_spec_that_no_config_made_boots() {
    use subhost::init::spec::{Bind, Main, Mount, NOEXEC, Op, Own, Process, SAFE, Spec, Way};
    sandbox(|s| {
        subhost::tools_in(tools_dir().as_ref());
        let tree = s.layer("bare");
        s.host(&format!(
            "mkdir root out; mount --bind {} root",
            tree.display()
        ));
        let before = s.snapshot();
        let rights = subhost::confine::Rights {
            caps: 0,
            no_new_privs: true,
            seccomp: subhost::confine::Seccomp::Off,
        };
        let script =
            "{ hostname; ls /sys; ls /dev; readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts
            grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status
            wc -c </proc/version; echo x >/t/f && echo kept; } >/out/told 2>/out/errors; exit 7";
        let program = subhost::login::Program {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            user: "root".into(),
            dir: "/".into(),
            env: Default::default(),
            term: None,
            rights: rights.clone(),
            labels: Vec::new(),
        };
        let bind = Bind {
            source: s.base.join("out"),
            at: "/out".into(),
            read_only: false,
            make: true,
            text: false,
        };
        let tmpfs = Mount {
            way: Way::Named,
            ..Mount::new("tmpfs", &[("size", "64k")], SAFE, "/t")
        };
        let spec = Spec {
            root: s.base.join("root"),
            ids: None,
            joins_network: false,
            namespaces: vec![Own::Uts],
            ops: vec![
                Op::Hostname("bare".into()),
                Op::Mount(Mount::new("proc", &[], NOEXEC, "/proc")),
                Op::Dev(Vec::new()),
                Op::Mask(vec!["/proc/version".into()]),
                Op::Bind(bind),
                Op::Mount(tmpfs),
            ],
            process: Process {
                main: Main::Run(program),
                rights: rights.clone(),
                stop_signal: 15,
                stop_timeout: Duration::from_secs(5),
                log_max: None,
                slaves: [false; 3],
                tied: true,
            },
        };
        // A front end's own states.
        let state = subhost::state::State::at(&s.base.join("states"), "bare");
        let lock = state.lock(|| Duration::ZERO).unwrap();
        let name = Name::new("bare").unwrap();
        let by = subhost::state::Booter {
            tool: "test".into(),
            pid: Some(std::process::id() as i32),
            tty: None,
        };
        let what = subhost::boot::Boot {
            name: &name,
            tree: &s.base,
            spec,
            stop: subhost::config::Stop::Usual,
            guest: subhost::login::Guest {
                env: Default::default(),
                rights,
                labels: Vec::new(),
            },
            owns_network: false,
            by,
        };
        let cgroups = subhost::boot::Cgroups::make(&Default::default(), &state).unwrap();
        let signals = subhost::kernel::signals::Signals::block().unwrap();
        let booted = subhost::boot::boot(&what, &cgroups, &mut Nothing).unwrap();
        assert!(state.running().unwrap().is_some());
        let stdio = subhost::StdioMode::new(subhost::TtyMode::Never);
        assert_eq!(booted.attend(stdio, &signals).unwrap(), 7);
        let ours = |kind: &str| {
            let link = std::fs::read_link(format!("/proc/thread-self/ns/{kind}"));
            link.unwrap().to_str().unwrap().to_owned()
        };
        let told = std::fs::read_to_string(s.base.join("out/told")).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "bare", "{told}");
        // Of /sys nothing was said; /dev has what Dev makes, and no terminals, as no devpts was asked for.
        assert_has(
            &told,
            &[
                "null\n",
                "NoNewPrivs:\t1",
                "CapEff:\t0000000000000000",
                "\n0\nkept\n",
            ],
        );
        assert_lacks(&told, &["kernel\n", "console\n"]);
        assert_has(&told, &[&ours("ipc")]);
        assert_lacks(&told, &[&ours("uts")]);
        state.forget();
        lock.release();
        assert!(!s.base.join("states").exists(), "nothing of it is left");
        s.host("rmdir root/out root/t 2>/dev/null || :; rm out/told out/errors");
        s.assert_same(&before);
    });
}

/// A program that stays with what it has started is known by its name, whatever that is, and is no tool that was killed.
#[test]
fn a_program_in_the_foreground_is_who_booted_it() {
    sandbox(|s| {
        s.overlay("w", "RUN='sleep 1000'");
        let before = s.snapshot();
        subhost::tools_in(tools_dir().as_ref());
        let w = named(s, "w");
        let by_us = named(s, "w");
        // Not a scoped one: that would be waited for even if what follows fails.
        let stays = std::thread::spawn(move || {
            let stdio = subhost::StdioMode::new(subhost::TtyMode::Never);
            by_us.start(StartHow::Foreground, Some(stdio))
        });
        eventually("it runs", || w.status().unwrap() == Status::Running);
        let began = std::time::Instant::now();
        assert_eq!(s.tool("subhost-enter -j w -- hostname").ok().stdout, "w\n");
        s.tool("subhost-start w").fails(75, &["booted by library-"]);
        let patience = Duration::from_secs(5);
        assert!(began.elapsed() < patience, "nobody waits for its end");
        let sync = StopHow {
            sync: true,
            ..StopHow::default()
        };
        w.stop(sync).unwrap();
        assert_eq!(stays.join().unwrap().unwrap(), 128 + 15);
        s.assert_same(&before);
    });
}

#[test]
fn what_is_not_there_says_so() {
    sandbox(|s| {
        let none = Subhost::new(&s.subhost, &Name::new("none").unwrap(), &[]);
        let error = none.start(StartHow::Background, None).unwrap_err();
        assert_eq!(error.exit, Exit::NoSubhost);
        assert!(Name::new("../x").is_err());
    });
}

/// Runs `test` with `w` running, then stops `w`, and asserts that the host is as before.
fn running(config: &'static str, test: impl FnOnce(&Sandbox, &Subhost) + Send + 'static) {
    sandbox(move |s| {
        s.overlay("w", config);
        let before = s.start("w");
        test(s, &named(s, "w"));
        s.stop("w", &before);
    });
}

fn named(s: &Sandbox, name: &str) -> Subhost {
    Subhost::new(&s.subhost, &Name::new(name).unwrap(), &[])
}

fn sh(w: &Subhost, script: &str) -> subhost::Command {
    let mut command = w.command("sh");
    command.args(["-c", script]);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
}

/// What a join could change of the thread that asks for it.
fn state_of_this_thread() -> Vec<String> {
    let kinds = "cgroup ipc mnt net pid pid_for_children time user uts";
    let link = |name: String| {
        let path = std::fs::read_link(format!("/proc/thread-self/{name}"));
        path.unwrap().display().to_string()
    };
    let mut state: Vec<_> = kinds
        .split(' ')
        .map(|kind| link(format!("ns/{kind}")))
        .collect();
    state.extend([link("cwd".into()), link("root".into())]);
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let kept = [
        "SigB", "SigI", "SigC", "Cap", "Uid", "Gid", "Groups", "Umask",
    ];
    let kept = |line: &&str| kept.iter().any(|key| line.starts_with(key));
    state.extend(status.lines().filter(kept).map(str::to_owned));
    state
}

#[test]
fn outputs_and_statuses() {
    running("", |_, w| {
        let output = sh(w, "echo out; echo err >&2; exit 3").output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("out", "err"));
        let output = sh(w, "kill -KILL $$").output().unwrap();
        assert_eq!(output.status.signal(), Some(9));
        // One that has no name.
        let output = sh(w, "kill -40 $$; sleep 9").output().unwrap();
        assert_eq!(output.status.signal(), Some(40));
        assert!(sh(w, "exit 0").status().unwrap().success());
        for (program, exit) in [
            ("nosuchcommand", Exit::NotFound),
            ("/no/such", Exit::NotFound),
            ("", Exit::NotFound),
            ("/etc/passwd", Exit::CannotRun),
        ] {
            let error = w.command(program).output().unwrap_err();
            assert_eq!(error.exit, exit, "{program}: {error}");
        }
        let error = w.command("true").user("nosuchuser").output().unwrap_err();
        assert_eq!(error.exit, Exit::Own);
        let error = w.command("true").env("a=b", "c").output().unwrap_err();
        assert_eq!(error.exit, Exit::Own);
    });
}

#[test]
fn who_runs_it_and_where() {
    running("ENV_KEPT=1\nENV_OTHER=2\n", |_, w| {
        let mut command = sh(
            w,
            "id -un; id -gn; pwd; echo $KEPT $OTHER; umask; ls /proc/self/fd | wc -l; hostname",
        );
        command.user("web:extra").dir("/srv").env("OTHER", "3");
        let output = command.output().unwrap();
        assert_eq!(text(&output.stderr), "");
        // 0 to 2, and the directory itself.
        assert_eq!(text(&output.stdout), "web\nextra\n/srv\n1 3\n0022\n4\nw");
        // It can be run again.
        assert_eq!(command.output().unwrap(), output);
    });
}

#[test]
fn ten_megabytes_each_way() {
    running("", |_, w| {
        let much: Vec<u8> = (0..10_000_000).map(|n| (n % 253) as u8).collect();
        let output = w.command("cat").output_of(&much).unwrap();
        assert!(output.status.success() && output.stdout == much);
        let output = sh(w, "tee /proc/self/fd/2").output_of(&much).unwrap();
        assert!(output.stdout == much && output.stderr == much);
        // What nobody reads is no failure, nor kept.
        let output = sh(w, "exec <&-; echo done").output_of(&much).unwrap();
        assert_eq!(text(&output.stdout), "done");
    });
}

#[test]
fn children_are_waited_for_asked_and_ended() {
    running("", |s, w| {
        let mut cat = w.command("cat");
        let mut child = cat
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        assert_has(&status, &[&format!("PPid:\t{}", std::process::id())]);
        child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"there and back")
            .unwrap();
        let mut back = [0; 14];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut back)
            .unwrap();
        assert_eq!(&back, b"there and back");
        // Its end is the end of its input.
        assert!(child.wait().unwrap().success());
        assert!(child.wait().unwrap().success());

        let mut child = w.command("sleep").arg("1000").spawn().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        child.kill().unwrap();

        let mut child = w
            .command("nosuchcommand")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let end = loop {
            match child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                end => break end.unwrap_err(),
            }
        };
        assert_eq!(end.exit, Exit::NotFound);
        assert_eq!(child.wait().unwrap_err().exit, Exit::NotFound);

        // A pipeline, and a file.
        let mut first = sh(w, "echo one; echo two");
        let mut first = first.stdout(Stdio::piped()).spawn().unwrap();
        let out = std::fs::File::create(s.base.join("out")).unwrap();
        let mut last = w.command("tail");
        last.args(["-n", "1"])
            .stdin(first.stdout.take().unwrap())
            .stdout(out);
        assert!(last.status().unwrap().success() && first.wait().unwrap().success());
        assert_eq!(
            std::fs::read_to_string(s.base.join("out")).unwrap(),
            "two\n"
        );
    });
}

/// By the host's /dev/null, root inside could change its mode for the host.
#[test]
fn no_device_of_the_hosts_comes_along() {
    running("", |_, w| {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        for stdin in [Stdio::null(), Stdio::from(null())] {
            let mut command = sh(w, "stat -L -c %i:%d /dev/null /proc/self/fd/0");
            let output = command.stdin(stdin).output().unwrap();
            let (inside, given) = text(&output.stdout).split_once('\n').unwrap();
            assert_eq!(inside, given);
        }
    });
}

#[test]
fn eight_threads_at_once_and_none_is_changed() {
    running("", |s, w| {
        s.overlay("v", "");
        let before = s.start("v");
        let v = named(s, "v");
        let ours = state_of_this_thread();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let hosts = [w, &v];
                let ours = &ours;
                scope.spawn(move || {
                    let before = state_of_this_thread();
                    assert_eq!(&before, ours);
                    for round in 0..5 {
                        let host = hosts[(number + round) % 2];
                        let mut command = sh(host, "hostname; id -u; readlink /proc/self/ns/mnt");
                        let user = ["root", "web"][round % 2];
                        let output = command.user(user).output().unwrap();
                        let lines: Vec<_> = text(&output.stdout).lines().collect();
                        let id = ["0", "1000"][round % 2];
                        assert_eq!(lines[..2], [host.name().as_str(), id]);
                        assert!(!before.iter().any(|ours| ours == lines[2]));
                    }
                    let join = subhost::Join {
                        argv: vec!["sh".into(), "-c".into(), "exit 7".into()],
                        ..subhost::Join::default()
                    };
                    assert_eq!(hosts[number % 2].enter_running(&join).unwrap(), 7);
                    assert_eq!(state_of_this_thread(), before);
                });
            }
        });
        assert_eq!(state_of_this_thread(), ours);
        // The memory is all threads', those of other tests too.
        eventually("when nobody joins our memory is not hidden", || {
            nix::sys::prctl::get_dumpable().unwrap()
        });
        s.stop("v", &before);
    });
}

/// Its user namespace is entered by a child of a process with threads, whose ids stay as they are.
#[test]
fn in_a_user_namespace_too() {
    running("USERNS=yes\n", |_, w| {
        let ours = state_of_this_thread();
        let map = sh(w, "cat /proc/self/uid_map; id -u; echo x >/root/x")
            .output()
            .unwrap();
        assert!(map.status.success(), "{}", text(&map.stderr));
        let words: Vec<_> = text(&map.stdout).split_whitespace().collect();
        assert_eq!((words[0], words[2], words[3]), ("0", "65536", "0"));
        assert_ne!(words[1], "0");
        assert_eq!(state_of_this_thread(), ours);
    });
}

#[test]
fn what_does_not_run_is_not_started() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let run = |name| named(s, name).command("true").output().unwrap_err().exit;
        assert_eq!(run("w"), Exit::NotRunning);
        assert_eq!(run("none"), Exit::NoSubhost);
        s.tool("subhost-mount w").silent();
        assert_eq!(run("w"), Exit::NotRunning);
        s.stop("w", &before);
    });
}

/// The program of an example, which cargo builds when it builds all tests.
fn example(name: &str) -> String {
    format!("{}/examples/{name}", tools_dir())
}

#[test]
fn the_examples_do_what_they_show() {
    if !std::path::Path::new(&example("run")).exists() {
        return skip("the examples are not built: cargo build --examples");
    }
    sandbox(|s| {
        s.overlay("w", "");
        s.overlay("v", "");
        let before = s.snapshot();
        let watch = format!("SUBHOST_TOOLS={} {} w", tools_dir(), example("watch"));
        let told = s.sh(&watch).ok().text();
        let (said, heard) = told.split_once("heard: ").unwrap();
        assert_eq!(
            said,
            "it is stopped\nit is running\nit says: w\nit is stopped\n"
        );
        assert_has(heard, &["w: making "]);
        s.assert_same(&before);

        s.sh("subhost-start w; subhost-start v").silent();
        let run = format!(
            "echo much | {} w sh -c 'cat; hostname; exit 3'",
            example("run")
        );
        assert_eq!(s.sh(&run).ok().text(), "much\nw\nw: status 3");
        let none = format!("{} w nosuchcommand", example("run"));
        s.sh(&none).fails(1, &["no such program"]);
        let fleet = format!("{} 'echo $(hostname) $FLEET' w v none", example("fleet"));
        let told = s.sh(&fleet).ok().text();
        assert_has(&told, &["none: ", "\nv: v v\nw: w w"]);
        s.sh("subhost-stop --sync w; subhost-stop --sync v")
            .silent();
        s.assert_same(&before);
    });
}
