//! Cgroups: each subhost has its own, limits work and keep the host responsive, and nothing is left.

mod common;

use common::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the hierarchy of a controller is mounted, if that is v1; else v2's place.
fn top(controller: &str) -> PathBuf {
    let v1 = Path::new("/sys/fs/cgroup").join(controller);
    let unified = Path::new("/sys/fs/cgroup/unified");
    match (v1.is_dir() && !controller.is_empty(), unified.is_dir()) {
        (true, _) => v1,
        (false, true) => unified.to_owned(),
        (false, false) => "/sys/fs/cgroup".into(),
    }
}

/// Is there a hierarchy of v2, and none of v1?
fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The text of the file of a subhost's cgroup that has this name in v2 and that one in v1.
#[track_caller]
fn value(cgroup: &str, controller: &str, v2: &str, v1: &str) -> String {
    let old = if controller == "io" {
        "blkio"
    } else {
        controller
    };
    let file = match is_unified() {
        true => top("").join(cgroup).join(v2),
        false => top(old).join(cgroup).join(v1),
    };
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    text.trim().to_owned()
}

/// The processes in a cgroup.
fn procs(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

/// Asserts that a trivial command on the host takes less than five seconds while `work` runs.
fn stays_responsive(s: &Sandbox, work: impl FnOnce()) {
    let base = s.base.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let clock = std::thread::spawn(move || {
        let mut worst = Duration::ZERO;
        while stopped.recv_timeout(Duration::from_millis(50))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            let begin = Instant::now();
            let ran = std::process::Command::new("/bin/true")
                .current_dir(&base)
                .status();
            assert!(ran.unwrap().success());
            worst = worst.max(begin.elapsed());
        }
        worst
    });
    work();
    drop(stop);
    let worst = clock.join().unwrap();
    assert!(
        worst < Duration::from_secs(5),
        "a trivial command took {worst:?}"
    );
}

#[test]
fn every_subhost_has_a_cgroup() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.start("w");
        let dir = top("").join("subhost/w");
        assert_eq!(procs(&dir), [s.pid("w")]);
        // It sees it as the root.
        let inside = s.inside("w", "cat /proc/1/cgroup");
        assert!(inside.lines().any(|line| line == "0::/"), "{inside}");
        let mut inside = s.enter("w", "exec sleep 1000").start();
        eventually("the command is in it", || procs(&dir).len() == 2);
        assert!(
            !procs(&dir).contains(&inside.pid()),
            "the tool itself is not"
        );
        assert!(inside.runs());
        s.stop("w", &before);
        assert!([137, 143].contains(&inside.wait().code));

        // For as long as a command runs.
        s.tool("subhost-enter w -- true").silent();
        s.assert_same(&before);
    });
}

#[test]
fn what_ends_by_itself_leaves_its_cgroup_to_the_next() {
    sandbox(|s| {
        let w = s.overlay("w", "RUN=\"/bin/sleep 0.2\"\nPIDS=50\n");
        let before = s.start("w");
        eventually("it has ended", || s.state("w") == "hibernating");
        s.tool("subhost-check -q").ok();
        w.config("RUN=\"/bin/sleep 1000\"\nPIDS=60\n");
        s.tool("subhost-start w").silent();
        assert_eq!(value("subhost/w", "pids", "pids.max", "pids.max"), "60");
        s.stop("w", &before);
    });
}

#[test]
fn an_init_has_a_part_of_it() {
    sandbox(|s| {
        s.overlay("w", "INIT=/sbin/init\nPIDS=100\n");
        let before = s.start("w");
        let dir = top("").join("subhost/w");
        assert!(procs(&dir.join("init")).contains(&s.pid("w")));
        assert!(procs(&dir).is_empty(), "its limits lie above it");
        let inside = s.inside("w", "cat /proc/1/cgroup");
        assert!(inside.lines().any(|line| line == "0::/"), "{inside}");
        // What it may make and share out is its own, and no limit of ours is in reach.
        s.inside("w", "mkdir /sys/fs/cgroup/svc && rmdir /sys/fs/cgroup/svc");
        s.enter("w", "cat /sys/fs/cgroup/pids.max").run();
        let mut joined = s.enter("w", "exec sleep 1000").start();
        eventually("who joins is beside it", || {
            procs(&dir.join("joined")).len() == 1
        });
        assert!(joined.runs());
        s.stop("w", &before);
        joined.wait();
    });
}

#[test]
fn limits_are_set() {
    sandbox(|s| {
        let w = s.overlay(
            "w",
            "CPUS=1.5\nCPU_WEIGHT=50\nCPUSET=0\nMEMORY=64M\nPIDS=100\n",
        );
        let before = s.start("w");
        let of = |controller, v2, v1| value("subhost/w", controller, v2, v1);
        let quota = of("cpu", "cpu.max", "cpu.cfs_quota_us");
        assert_eq!(quota.split(' ').next(), Some("150000"));
        let weight = of("cpu", "cpu.weight", "cpu.shares");
        assert_eq!(weight, if is_unified() { "50" } else { "512" });
        assert_eq!(
            of("memory", "memory.max", "memory.limit_in_bytes"),
            "67108864"
        );
        assert_eq!(of("pids", "pids.max", "pids.max"), "100");
        assert_eq!(of("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
        assert_eq!(s.inside("w", "nproc"), "1", "who joins is bounded, too");
        s.stop("w", &before);

        w.config("MEMORY=64M\nMEMORY_SWAP=32M\nPIDS=max\n");
        s.tool("subhost-start w").silent();
        let swap = "memory.memsw.limit_in_bytes";
        if is_unified() {
            assert_eq!(of("memory", "memory.swap.max", swap), "33554432");
        } else {
            assert_eq!(
                of("memory", "memory.swap.max", swap),
                (96 << 20).to_string()
            );
        }
        assert_eq!(of("pids", "pids.max", "pids.max"), "max");
        s.stop("w", &before);

        w.config("");
        s.tool("subhost-start w").silent();
        assert_eq!(of("pids", "pids.max", "pids.max"), "8192");
        s.stop("w", &before);
    });
}

#[test]
fn cpu_time_is_bounded() {
    sandbox(|s| {
        s.overlay("w", "CPUS=0.2\nRUN=\"/bin/yes\"\n");
        let before = s.start("w");
        let used = || -> f64 { s.column("w", "cpu").parse().unwrap() };
        let (first, begin) = (used(), Instant::now());
        std::thread::sleep(Duration::from_secs(3));
        let share = (used() - first) / begin.elapsed().as_secs_f64();
        assert!(share < 0.35, "{share}");
        let stat = value("subhost/w", "cpu", "cpu.stat", "cpu.stat");
        assert_lacks(&format!("{stat}\n"), &["nr_throttled 0\n"]);
        s.stop("w", &before);
    });
}

#[test]
fn a_memory_bomb_ends_inside() {
    sandbox(|s| {
        s.overlay("w", "MEMORY=32M\n");
        let before = s.start("w");
        stays_responsive(s, || {
            s.enter("w", "exec tail /dev/zero").fails(137, &[]);
            assert_eq!(s.state("w"), "running");
            // What is in a tmpfs counts as well, and no kill frees that: PID 1 may be the next.
            s.enter("w", "exec head -c 45000000 /dev/zero >/run/fill")
                .fails(137, &[]);
        });
        s.stop("w", &before);
    });
}

#[test]
fn a_fork_bomb_ends_inside() {
    sandbox(|s| {
        s.overlay("w", "PIDS=200\n");
        let before = s.start("w");
        stays_responsive(s, || {
            let bomb = "b() { b | b & }; b 2>/dev/null; sleep 1000";
            let inside = s.enter("w", bomb).start();
            eventually("it has come to its bound", || {
                let events = value("subhost/w", "pids", "pids.events", "pids.events");
                events != "max 0"
            });
            let current = value("subhost/w", "pids", "pids.current", "pids.current");
            assert!(current.parse::<u32>().unwrap() <= 200, "{current}");
            s.stop("w", &before);
            inside.wait();
        });
    });
}

#[test]
fn rates_of_a_disk() {
    sandbox(|s| {
        if !need(&["losetup"]) {
            return;
        }
        s.host("truncate -s 16M disk.img");
        let device = s.host("losetup -f --show disk.img");
        let number = s.host(&format!(
            "set -- $(stat -c '0x%t 0x%T' {device}); echo $(($1)):$(($2))"
        ));
        // What it may open is bounded as well.
        let line = format!("IO=\"{device}:rbps=1M,wiops=50\"\nDEVICES={device}:r\n");
        let w = s.overlay("w", &line);
        let before = s.start("w");
        if is_unified() {
            let max = value("subhost/w", "io", "io.max", "");
            assert_eq!(
                max,
                format!("{number} rbps=1048576 wbps=max riops=max wiops=50")
            );
        } else {
            let of = |file| value("subhost/w", "io", "", file);
            let bytes = of("blkio.throttle.read_bps_device");
            assert_eq!(bytes, format!("{number} 1048576"));
            let writes = of("blkio.throttle.write_iops_device");
            assert_eq!(writes, format!("{number} 50"));
        }
        // A process of the host in it: no disk is to be seen inside.
        let group = match is_unified() {
            true => top("").join("subhost/w"),
            false => top("blkio").join("subhost/w"),
        };
        let begin = Instant::now();
        s.host(&format!(
            "sh -c 'echo 0 >{}/cgroup.procs && exec dd if={device} of=/dev/null iflag=direct bs=256k count=8 status=none'",
            group.display()
        ));
        assert!(begin.elapsed() > Duration::from_millis(1200), "2M at 1M/s");
        s.stop("w", &before);

        // By what lies on it; a tmpfs lies on nothing.
        w.config("IO=root:wbps=1M\n");
        s.tool("subhost-start w")
            .fails(1, &["IO", "no block device"]);
        s.assert_same(&before);
        w.config("IO=/nowhere:wbps=1M\n");
        s.tool("subhost-start w")
            .fails(1, &["/nowhere", "No such file"]);
        s.assert_same(&before);
        s.host(&format!("losetup -d {device}"));
    });
}

#[test]
fn a_controller_that_is_missing_is_named() {
    sandbox(|s| {
        let w = s.overlay("w", "MEMORY=64M\n");
        // Once what the sandbox put there, once what was there before.
        let gone = if is_unified() { top("") } else { top("memory") };
        s.host(&format!("umount {0}; umount {0}", gone.display()));
        let before = s.snapshot();
        let said = s
            .tool("subhost-start w")
            .fails(1, &["MEMORY", "controller memory"]);
        assert_has(&said.stderr, &["CONFIG_MEMCG"]);
        s.assert_same(&before);
        w.config("");
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

#[test]
fn without_cgroups_only_limits_are_refused() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        s.host("umount -l -R /sys/fs/cgroup; umount -l -R /sys/fs/cgroup || true");
        if s.test("findmnt -t cgroup,cgroup2") {
            s.host(
                "findmnt -nro TARGET -t cgroup,cgroup2 | while read -r at; do umount -l $at; done",
            );
        }
        let before = s.start("w");
        assert_eq!(s.inside("w", "echo in"), "in");
        s.stop("w", &before);
        w.config("PIDS=50\n");
        s.tool("subhost-start w")
            .fails(1, &["PIDS", "controller pids"]);
        s.assert_same(&before);
    });
}

#[test]
fn cgroups_that_cannot_be_written() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        s.host(
            "findmnt -nro TARGET -t cgroup,cgroup2 | sort -u | while read -r at; do
                mount -o remount,bind,ro $at
             done",
        );
        let before = s.start("w");
        assert_eq!(s.inside("w", "echo in"), "in");
        s.stop("w", &before);
        w.config("PIDS=50\n");
        s.tool("subhost-start w")
            .fails(1, &["cgroup", "Read-only file system", "PIDS"]);
        s.assert_same(&before);
    });
}

/// Runs a tool in a cgroup `job` of every hierarchy.
fn in_job(s: &Sandbox, line: &str) -> Run {
    let enter = "for top in $(findmnt -nro TARGET -t cgroup,cgroup2 | sort -u); do
        echo 0 >$top/job/cgroup.procs || exit 99
    done; exec ";
    s.sh(&format!("{enter}{line}"))
}

fn make_job(s: &Sandbox) {
    s.host(
        "for top in $(findmnt -nro TARGET -t cgroup,cgroup2 | sort -u); do
            mkdir $top/job
            if [ -e $top/cgroup.subtree_control ]; then
                for one in $(cat $top/cgroup.controllers); do echo +$one >$top/cgroup.subtree_control; done
            fi
            for file in cpuset.cpus cpuset.mems; do
                if [ -e $top/cgroup.clone_children ] && [ -e $top/$file ]; then
                    cat $top/$file >$top/job/$file
                fi
            done
         done",
    );
}

#[test]
fn below_the_callers_own() {
    sandbox(|s| {
        let w = s.overlay("w", "CGROUP=inherit\n");
        make_job(s);
        let before = s.snapshot();
        in_job(s, "subhost-start w").silent();
        let dir = top("").join("job/subhost.w");
        assert_eq!(procs(&dir), [s.pid("w")]);
        s.inside("w", "true");
        s.stop("w", &before);

        w.config("CGROUP=inherit\nPIDS=70\n");
        if is_unified() {
            // Somebody else is in the cgroup that would have to share out the controller.
            let beside = "sh -c 'sleep 1000 & subhost-start w; x=$?; kill $!; exit $x'";
            in_job(s, beside).fails(1, &["PIDS", "pids", "processes are in it"]);
            s.assert_same(&before);
            // We ourselves step aside.
            in_job(s, "subhost-start w").silent();
            let set = value("job/subhost.w", "pids", "pids.max", "pids.max");
            assert_eq!(set, "70");
            s.tool("subhost-stop --sync w").silent();
        } else {
            in_job(s, "subhost-start w").silent();
            let set = value("job/subhost.w", "pids", "pids.max", "pids.max");
            assert_eq!(set, "70");
            s.tool("subhost-stop --sync w").silent();
        }
        s.assert_same(&before);

        // One that is not to be seen: the test's own lies outside of what the sandbox has mounted.
        s.tool("subhost-start w")
            .fails(1, &["CGROUP=inherit", "not visible"]);
        s.assert_same(&before);
    });
}

#[test]
fn below_a_delegated_one() {
    sandbox(|s| {
        s.overlay("w", "");
        make_job(s);
        let v2 = top("");
        s.host(&format!(
            "mkdir {0}/job/tools; python3 -c '
import os
os.setxattr(\"{0}/job\", \"trusted.delegate\", b\"1\")'",
            v2.display()
        ));
        let before = s.snapshot();
        let line = format!(
            "echo 0 >{}/job/tools/cgroup.procs && exec subhost-start w",
            v2.display()
        );
        s.sh(&line).silent();
        assert_eq!(procs(&v2.join("job/subhost.w")), [s.pid("w")]);
        s.stop("w", &before);
    });
}

#[test]
fn below_a_named_one() {
    sandbox(|s| {
        let w = s.overlay("w", "CGROUP=/job\nPIDS=70\n");
        let before = s.snapshot();
        s.tool("subhost-start w")
            .fails(1, &["CGROUP", "/job", "mkdir"]);
        s.assert_same(&before);
        make_job(s);
        let before = s.start("w");
        assert_eq!(procs(&top("").join("job/subhost.w")), [s.pid("w")]);
        assert_eq!(value("job/subhost.w", "pids", "pids.max", "pids.max"), "70");
        s.stop("w", &before);
        for bad in ["/", "job", "/a/../b", "/.."] {
            w.config(&format!("CGROUP={bad}\n"));
            s.tool("subhost-config --check w").fails(5, &["CGROUP"]);
        }
    });
}

#[test]
fn what_others_put_there_is_not_ended_for_a_start() {
    sandbox(|s| {
        s.overlay("w", "");
        let dir = top("").join("subhost/w");
        s.host(&format!("mkdir -p {}", dir.display()));
        let before = s.snapshot();
        let line = format!("echo 0 >{}/cgroup.procs && exec sleep 1000", dir.display());
        let mut foreign = s.sh(&line).start();
        eventually("it is there", || procs(&dir).len() == 1);
        s.tool("subhost-start w")
            .fails(75, &["subhost/w", "processes in it"]);
        assert!(foreign.runs());
        foreign.kill();
        foreign.wait();
        s.assert_same(&before);
        // Left by a start that was killed: no obstacle.
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --sync w").silent();
        assert!(!dir.exists());
    });
}

#[test]
fn refusals() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        for (line, why) in [
            ("CPUS=0", "number of CPUs"),
            ("CPUS=one", "number of CPUs"),
            ("CPU_WEIGHT=0", "1 to 10000"),
            ("CPUSET=3-1", "list of CPUs"),
            ("MEMORY=1K", "less than 1M"),
            ("MEMORY=lots", "not a size"),
            ("MEMORY_SWAP=1M", "MEMORY"),
            ("PIDS=0", "neither max nor"),
            ("IO_WEIGHT=x", "1 to 10000"),
            ("IO=/dev/sda", "DEVICE:rbps"),
            ("IO=sda:rbps=1M", "neither root nor"),
            ("IO=/dev/sda:rbps=0", "no I/O"),
            ("IO=/dev/sda:rbps=1,rbps=2", "twice"),
            ("IO=/dev/sda:bps=1", "DEVICE:rbps"),
            ("DISK=10M", "VOLATILE=yes"),
            ("DISK=10K", "less than 1M"),
            ("DISK=all", "not a size"),
        ] {
            w.config(&format!("{line}\n"));
            let key = line.split('=').next().unwrap();
            s.tool("subhost-config --check w").fails(5, &[key, why]);
        }
        // What the kernel refuses is reported with its key, and nothing is left.
        let before = s.snapshot();
        w.config("CPUSET=4000\n");
        s.tool("subhost-start w").fails(1, &["CPUSET", "4000"]);
        s.assert_same(&before);
    });
}

#[test]
fn limits_change_while_it_runs() {
    sandbox(|s| {
        s.overlay("w", "MEMORY=64M\n");
        let before = s.snapshot();
        let limit = |words: &str| s.tool(&format!("subhost-limit w {words}"));
        limit("PIDS=5").fails(3, &["not running"]);
        s.tool("subhost-start w").silent();
        let of = |controller, v2, v1| value("subhost/w", controller, v2, v1);
        let memory = || of("memory", "memory.max", "memory.limit_in_bytes");
        let pids = || of("pids", "pids.max", "pids.max");
        // Up and down, whichever of the two bounds of v1 must come first.
        for size in ["128M", "32M", "256M"] {
            limit(&format!("MEMORY={size}")).silent();
            let bytes: u64 = size.trim_end_matches('M').parse::<u64>().unwrap() << 20;
            assert_eq!(memory(), bytes.to_string());
        }
        // A controller that was not needed before: what runs is under it from now on.
        limit("CPUS=0.5 CPUSET=0 PIDS=77").silent();
        assert_eq!(pids(), "77");
        let quota = of("cpu", "cpu.max", "cpu.cfs_quota_us");
        assert_eq!(quota.split(' ').next(), Some("50000"));
        assert_eq!(s.inside("w", "nproc"), "1");
        let all = fs::read_to_string(format!("/proc/{}/cgroup", s.pid("w"))).unwrap();
        let controller = if is_unified() { "0::" } else { "cpuset:" };
        let line = all.lines().find(|line| line.contains(controller)).unwrap();
        assert_has(line, &["subhost/w"]);
        assert_has(
            &s.tool("subhost-info w").ok().stdout,
            &["CPUS=0.5", "CPUSET=0", "MEMORY=256M"],
        );

        // All or none: the last one is refused by the kernel.
        limit("PIDS=88 CPUS=0.7 CPUSET=4000").fails(1, &["CPUSET"]);
        assert_eq!((pids(), s.inside("w", "nproc")), ("77".into(), "1".into()));
        let quota = of("cpu", "cpu.max", "cpu.cfs_quota_us");
        assert_eq!(quota.split(' ').next(), Some("50000"));
        // By us.
        limit("PIDS=88 CPUS=none").fails(5, &["CPUS"]);
        limit("PIDS=88 HOSTNAME=x").fails(2, &["HOSTNAME", "cannot be changed while it runs"]);
        limit("PIDS=88 PIDDS=9").fails(5, &["PIDDS", "PIDS"]);
        limit("MEMORY_SWAP=1M MEMORY=").fails(5, &["MEMORY_SWAP"]);
        assert_eq!(pids(), "77");

        // Lifted.
        limit("CPUS= CPUSET= MEMORY= PIDS=").silent();
        let quota = of("cpu", "cpu.max", "cpu.cfs_quota_us");
        assert!(["max 100000", "-1"].contains(&quota.as_str()), "{quota}");
        assert_eq!(s.inside("w", "nproc"), s.host("nproc"));
        assert_eq!(pids(), "8192");
        assert_ne!(memory(), (256 << 20).to_string());
        s.stop("w", &before);
    });
}

#[test]
fn limits_and_use_are_shown() {
    sandbox(|s| {
        s.overlay("w", "MEMORY=64M\nPIDS=50\n");
        let before = s.snapshot();
        s.tool("subhost-limit w")
            .fails(3, &["not running", "subhost-config"]);
        s.tool("subhost-start w").silent();
        let text = s.tool("subhost-limit w").ok().stdout;
        assert_has(
            &text,
            &["MEMORY=64M", "PIDS=50", "of 64M", "of 50", "subhost/w"],
        );
        let json = s.tool("subhost-limit --json w").ok().stdout;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["limits"]["MEMORY"], "64M");
        assert_eq!(json["usage"]["pids_max"], 50);
        assert_eq!(json["usage"]["memory_max"], 64 << 20);
        assert_eq!(json["frozen"], false);
        assert_eq!(json["usage"]["pids"], 1);
        assert!(json["usage"]["cpu"].as_u64().unwrap() > 0);
        // The cgroup counts those that have ended as well.
        s.inside("w", "i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done");
        let cpu: f64 = s.column("w", "cpu").parse().unwrap();
        assert!(cpu > 0.01, "{cpu}");
        s.stop("w", &before);
    });
}

#[test]
fn hits_are_counted() {
    sandbox(|s| {
        let w = s.overlay("w", "MEMORY=32M\nPIDS=20\n");
        let before = s.start("w");
        let info = || s.tool("subhost-info w").ok().stdout;
        assert_lacks(&info(), &["Limit hits"]);
        s.enter("w", "exec tail /dev/zero").fails(137, &[]);
        s.enter(
            "w",
            "for i in $(seq 40); do sleep 1 & done 2>/dev/null; true",
        )
        .run();
        assert_has(
            &info(),
            &[
                "Limit hits",
                "memory",
                "killed for want of memory 1",
                "processes",
            ],
        );
        let json: serde_json::Value =
            serde_json::from_str(&s.tool("subhost-info --json w").ok().stdout).unwrap();
        assert_eq!(json["usage"]["oom_kills"], 1);
        assert!(json["usage"]["pids_hits"].as_u64().unwrap() > 0);
        s.stop("w", &before);

        // A RUN that ends so.
        w.config("MEMORY=32M\nRUN=\"/bin/tail /dev/zero\"\n");
        s.tool("subhost-start w").silent();
        eventually("it has ended", || s.state("w") == "hibernating");
        assert_has(
            &s.tool("subhost-info w").run().stdout,
            &["signal 9, out of memory"],
        );
        s.tool("subhost-stop --keep w").silent();
        assert_has(
            &s.tool("subhost-list w").ok().stdout,
            &["signal 9, out of memory"],
        );
        // One that was killed for another reason.
        w.config("RUN=\"/bin/sleep 1000\"\nSTOP_TIMEOUT=0s\n");
        s.tool("subhost-start w").silent();
        s.tool("subhost-stop --keep --kill w").silent();
        assert_lacks(&s.tool("subhost-list w").ok().stdout, &["out of memory"]);
    });
}

#[test]
fn frozen_and_thawed() {
    sandbox(|s| {
        s.overlay(
            "w",
            "RUN=\"/bin/sh -c 'while :; do echo x >>/run/x; usleep 10000; done'\"\n",
        );
        let before = s.snapshot();
        s.tool("subhost-limit --freeze w")
            .fails(3, &["not running"]);
        s.tool("subhost-start w").silent();
        let size = || {
            let file = format!("/proc/{}/root/run/x", s.pid("w"));
            fs::metadata(file).map_or(0, |meta| meta.len())
        };
        eventually("it runs", || size() > 4);
        s.tool("subhost-limit --freeze w").silent();
        s.tool("subhost-limit --freeze w").silent();
        assert_eq!(s.state("w"), "frozen");
        let now = size();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(size(), now);
        assert_has(&s.tool("subhost-info w").ok().stdout, &["frozen"]);
        assert_has(&s.tool("subhost-limit w").ok().stdout, &["Frozen"]);
        // Nothing hangs on it.
        s.tool("subhost-enter w -- true")
            .fails(125, &["frozen", "--thaw"]);
        s.tool("subhost-start w").fails(75, &["frozen", "--thaw"]);
        s.tool("subhost-check -q").ok();
        s.tool("subhost-limit --thaw w").silent();
        assert_eq!(s.state("w"), "running");
        eventually("it goes on", || size() > now);
        // Stopped as it should be, not killed.
        s.tool("subhost-limit --freeze w").silent();
        assert_has(&s.tool("subhost-stop -n w").ok().stdout, &["cgroup.freeze"]);
        s.stop("w", &before);
        s.tool("subhost-start w").silent();
        s.tool("subhost-limit --freeze w").silent();
        s.tool("subhost-stop --sync --kill w").silent();
        s.assert_same_but_state(&before);
    });
}

#[test]
fn frozen_without_v2() {
    sandbox(|s| {
        if is_unified() {
            // There, v2 is what there is.
            return;
        }
        s.overlay("w", "");
        s.host("umount /sys/fs/cgroup/unified; umount /sys/fs/cgroup/unified");
        let before = s.start("w");
        assert_eq!(procs(&top("freezer").join("subhost/w")), [s.pid("w")]);
        s.tool("subhost-limit --freeze w").silent();
        assert_eq!(s.state("w"), "frozen");
        s.stop("w", &before);
        s.tool("subhost-start w").silent();
        s.tool("subhost-limit --freeze w").silent();
        s.tool("subhost-stop --sync --kill w").silent();
        s.assert_same_but_state(&before);
    });
}

/// What a process of the host in the subhost's cgroup can open of these.
fn opens(s: &Sandbox, group: &Path, paths: &[&str]) -> Vec<bool> {
    let opens = |path: &&str| {
        s.test(&format!(
            "echo 0 >{}/cgroup.procs; exec head -c 1 {path} >/dev/null",
            group.display()
        ))
    };
    paths.iter().map(opens).collect()
}

#[test]
fn devices_are_bounded_whatever_nodes_there_are() {
    sandbox(|s| {
        if !need(&["losetup"]) {
            return;
        }
        s.host("truncate -s 1M one two; chmod 600 one two");
        let (one, two) = (
            s.host("losetup -f --show one"),
            s.host("losetup -f --show two"),
        );
        s.overlay("w", &format!("DEVICES={one}:r\n"));
        let before = s.start("w");
        let group = top("").join("subhost/w");
        let paths = ["/dev/zero", &one, &two, "/dev/mem", "/dev/kmsg"];
        assert_eq!(opens(s, &group, &paths), [true, true, false, false, false]);
        // For reading, and for that alone.
        let write = format!("echo 0 >{}/cgroup.procs; : >{one}", group.display());
        assert!(!s.test(&write));
        assert!(s.test(&format!(": >{one}")));
        // Terminals, and what a service opens.
        s.inside(
            "w",
            "for d in null zero full random urandom; do : <>/dev/$d || exit 1; done",
        );
        let mut pty = s.pty("subhost-enter w");
        pty.line(": <>/dev/tty && : <>/dev/ptmx && echo fi''ne; exit");
        pty.expect("fine");
        assert_eq!(pty.wait(), 0);
        s.stop("w", &before);

        // By v1 where there is no v2.
        if !is_unified() {
            s.host("umount /sys/fs/cgroup/unified; umount /sys/fs/cgroup/unified");
            let before = s.start("w");
            let group = top("devices").join("subhost/w");
            assert_eq!(opens(s, &group, &paths), [true, true, false, false, false]);
            s.inside("w", ": <>/dev/null");
            s.stop("w", &before);
        }
        s.host(&format!("losetup -d {one}; losetup -d {two}"));
    });
}

#[test]
fn a_disk_filler_ends_inside() {
    sandbox(|s| {
        s.overlay("v", "VOLATILE=yes\nDISK=4M\n");
        s.image("i", "ext4", "");
        let before = s.snapshot();
        s.tool("subhost-start v i").silent();
        assert_eq!(
            s.inside("v", "df -k / | tail -n 1 | awk '{ print $2 }'"),
            "4096"
        );
        stays_responsive(s, || {
            for name in ["v", "i"] {
                s.enter(name, "exec cat /dev/zero >/fill")
                    .fails(1, &["No space left on device"]);
            }
        });
        assert_eq!(s.inside("v", "echo in"), "in");
        s.tool("subhost-stop --sync v i").silent();
        s.assert_same_now(&before);

        // What a script makes is the same.
        assert_has(&s.tool("subhost-mount -n v").ok().stdout, &["size=4194304"]);
    });
}

#[test]
fn an_image_is_its_own_bound() {
    sandbox(|s| {
        let i = s.image("i", "ext4", "DISK=10M\n");
        s.tool("subhost-config --check i")
            .fails(5, &["DISK", "image", "size"]);
        i.config("DISK=10M\nVOLATILE=yes\n");
        s.tool("subhost-config --check i").ok();
    });
}
