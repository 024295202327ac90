//! The sandbox: a thread with mount, network, UTS and IPC namespaces of its own, in which one test runs. A tmpfs is
//! on /run, on /var/log, on /var/lib/subhost and on a directory of the test's own; children inherit all of it. The
//! host's processes stay visible, so that a tool that kills a foreign one is noticed.

use super::{Output, Pty, Run, Snapshot, skip, tree};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a test has of its sandbox. Dropping it kills what still runs in it; the rest goes with the namespaces.
pub struct Sandbox {
    /// A tmpfs, 0700, at a path that no other test has.
    pub base: PathBuf,
    /// `$SUBHOST`, below `base`.
    pub subhost: PathBuf,
}

/// Runs `test` in a sandbox where all mounts are shared, as systemd makes them.
pub fn sandbox(test: impl FnOnce(&Sandbox) + Send + 'static) {
    run(MsFlags::MS_SHARED, test);
}

/// Runs `test` in a sandbox where all mounts are private, as sysvinit leaves them.
pub fn sandbox_private(test: impl FnOnce(&Sandbox) + Send + 'static) {
    run(MsFlags::MS_PRIVATE, test);
}

fn run(propagation: MsFlags, test: impl FnOnce(&Sandbox) + Send + 'static) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !geteuid().is_root() {
        return skip("must be root");
    }
    let _clock = super::timed();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // All have the same length, so that none is a prefix of another.
    let base = PathBuf::from(format!(
        "/tmp/subhost-test.{}.{number:04}",
        std::process::id()
    ));
    fs::DirBuilder::new().mode(0o700).create(&base).unwrap();
    let inside = base.clone();
    let ended = std::thread::spawn(move || {
        set_up(&inside, propagation);
        let sandbox = Sandbox {
            subhost: inside.join("opt"),
            base: inside,
        };
        test(&sandbox);
    })
    .join();
    // The kernel drops the namespaces of the thread a moment after the join. The directory is empty here
    // nevertheless: the tmpfs was mounted inside.
    let _ = fs::remove_dir(&base);
    for (_, dir) in cgroups(&base) {
        // A killed process may not have ended yet.
        for _ in 0..100 {
            remove_cgroup(&dir);
            if !dir.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

const NONE: Option<&str> = None;

fn set_up(base: &Path, propagation: MsFlags) {
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .unwrap();
    let change = |flags| mount(NONE, "/", NONE, flags | MsFlags::MS_REC, NONE).unwrap();
    change(MsFlags::MS_PRIVATE);
    let tmpfs = |on: &Path, mode: &str| {
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        mount(Some("tmpfs"), on, Some("tmpfs"), flags, Some(mode)).unwrap();
    };
    // Trees need devices and setuid, which /run must not have.
    mount(
        Some("tmpfs"),
        base,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .unwrap();
    own_sysfs(base);
    own_cgroups(base);
    tmpfs(Path::new("/run"), "mode=0755");
    tmpfs(Path::new("/var/log"), "mode=0755");
    // The host only gets an empty directory.
    let kept = Path::new("/var/lib/subhost");
    fs::create_dir_all(kept).unwrap();
    tmpfs(kept, "mode=0755");
    change(propagation);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(base.join("opt"))
        .unwrap();
    // The first `ip netns add` of a host mounts /run/netns, and the mount stays.
    Run::host(
        base,
        "ip link set lo up; ip netns add once; ip netns delete once",
    )
    .ok();
}

/// Mounts /sys, which shows the network namespace of the process that mounted it, and moves the host's cgroups there.
fn own_sysfs(base: &Path) {
    let keep = base.join("cgroup");
    let groups = Path::new("/sys/fs/cgroup");
    fs::create_dir(&keep).unwrap();
    let had = mount(
        Some(groups),
        &keep,
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    )
    .is_ok();
    umount2("/sys", MntFlags::MNT_DETACH).unwrap(); // All is private: the host's own stays.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), NONE).unwrap();
    if had {
        mount(Some(&keep), groups, NONE, MsFlags::MS_MOVE, NONE).unwrap();
    }
    fs::remove_dir(&keep).unwrap();
}

/// Returns each cgroup hierarchy with the directory in it that belongs to the test at `base`.
fn cgroups(base: &Path) -> Vec<(PathBuf, PathBuf)> {
    let name = base.file_name().unwrap();
    super::snapshot::mounts()
        .iter()
        .filter(|m| m.fstype.starts_with("cgroup") && m.point.starts_with("/sys/fs/cgroup"))
        .map(|m| (PathBuf::from(&m.point), Path::new(&m.point).join(name)))
        .collect()
}

/// Removes a cgroup and the cgroups in it, which a test that did not stop its subhosts leaves.
fn remove_cgroup(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// Mounts a cgroup of the test's own over each hierarchy, as for a container: tests run in parallel and use the same
/// names of subhosts.
fn own_cgroups(base: &Path) {
    for (top, ours) in cgroups(base) {
        if fs::create_dir(&ours).is_ok() {
            give_down(&top, &ours);
            mount(Some(&ours), &top, NONE, MsFlags::MS_BIND, NONE).unwrap();
        }
    }
}

/// Gives the test's cgroup what a root cgroup has: its controllers in v2, CPUs and memory nodes in v1.
fn give_down(top: &Path, ours: &Path) {
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        // The test that needs a missing controller fails.
        let _ = fs::write(top.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let (Ok(all), true) = (fs::read_to_string(top.join(file)), controllers.is_empty()) {
            fs::write(ours.join(file), all.trim()).unwrap();
        }
    }
}

impl Sandbox {
    /// Returns one of our tools with its arguments. Blanks separate the words of `line`; there are no quotes (see
    /// [`Run::arg`]). The environment has SUBHOST only, and standard input is /dev/null.
    pub fn tool(&self, line: &str) -> Run {
        Run::tool(&self.subhost, line)
    }

    /// Returns the same with `-S` instead of the environment.
    pub fn tool_s(&self, line: &str) -> Run {
        let (tool, rest) = line.split_once(' ').unwrap_or((line, ""));
        Run::tool(Path::new(""), tool)
            .without("SUBHOST")
            .arg("-S")
            .arg(self.subhost.to_str().unwrap())
            .args(rest.split_whitespace())
    }

    /// Returns a script for `sh -c`, with our tools in PATH and SUBHOST set.
    pub fn sh(&self, script: &str) -> Run {
        Run::sh(script)
            .env(
                "PATH",
                &format!("{}:{}", super::tools_dir(), super::HOST_PATH),
            )
            .env("SUBHOST", self.subhost.to_str().unwrap())
    }

    /// Runs a script on the host, in `base`, and asserts that it succeeds. Returns its output, trimmed.
    #[track_caller]
    pub fn host(&self, script: &str) -> String {
        Run::host(&self.base, script).ok().text()
    }

    /// Runs a script on the host, in `base`. Returns whether it succeeds.
    pub fn test(&self, script: &str) -> bool {
        Run::host(&self.base, script).run().code == 0
    }

    /// Runs a script as [`Sandbox::host`] does, and parses its output as JSON.
    #[track_caller]
    pub fn json(&self, script: &str) -> Value {
        let text = self.host(script);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{script}: {e}:\n{text}"))
    }

    /// Starts one of our tools on a terminal of 33 rows and 77 columns.
    pub fn pty(&self, line: &str) -> Pty {
        Pty::start(self.tool(line))
    }

    /// Starts a script on such a terminal.
    pub fn pty_sh(&self, script: &str) -> Pty {
        Pty::start(self.sh(script))
    }

    /// Makes a bridge and brings it up.
    pub fn bridge(&self, name: &str) {
        self.host(&format!(
            "ip link add {name} type bridge; ip link set {name} up"
        ));
    }

    /// Returns the path of a small system tree, `$SUBHOST/layers/NAME`, which it makes if there is none.
    pub fn layer(&self, name: &str) -> PathBuf {
        let dir = self.subhost.join("layers").join(name);
        if !dir.exists() {
            tree::make(&dir);
        }
        dir
    }

    /// Takes a snapshot, after the kernel has removed the links of earlier stops.
    pub fn snapshot(&self) -> Snapshot {
        let mut world = self.snapshot_now();
        for _ in 0..1000 {
            if !world.has_unreaped() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            world = self.snapshot_now();
        }
        world
    }

    /// Takes a snapshot at once.
    pub fn snapshot_now(&self) -> Snapshot {
        Snapshot::take(&self.base)
    }

    /// Asserts that the host is as it was `before`, at once: `subhost-stop --sync` promises that.
    #[track_caller]
    pub fn assert_same_now(&self, before: &Snapshot) {
        let diff = before.diff(&self.snapshot_now());
        assert!(diff.is_empty(), "the world is not as before:\n{diff}");
    }

    /// Asserts the same within ten seconds: without `--sync` the kernel may still be removing links and processes.
    #[track_caller]
    pub fn assert_same(&self, before: &Snapshot) {
        self.soon(|| before.diff(&self.snapshot_now()));
    }

    /// Asserts the same without /run/subhost, where `-u` may leave a lock file.
    #[track_caller]
    pub fn assert_same_but_state(&self, before: &Snapshot) {
        self.soon(|| before.diff_but_state(&self.snapshot_now()));
    }

    #[track_caller]
    fn soon(&self, diff: impl Fn() -> String) {
        for _ in 0..1000 {
            if diff().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the world is not as before:\n{}", diff());
    }

    /// Returns the state of a subhost, as `subhost-list` prints it.
    #[track_caller]
    pub fn state(&self, name: &str) -> String {
        self.column(name, "state")
    }

    /// Returns one cell of `subhost-list`.
    #[track_caller]
    pub fn column(&self, name: &str, column: &str) -> String {
        self.tool(&format!("subhost-list -o {column} {name}"))
            .ok()
            .text()
    }

    /// Returns the host's pid of a subhost's PID 1.
    #[track_caller]
    pub fn pid(&self, name: &str) -> i32 {
        let pid = self.column(name, "pid");
        pid.parse()
            .unwrap_or_else(|_| panic!("{name} has no pid but '{pid}'"))
    }

    /// Returns whether a process of the test runs whose command line contains `words`. Our tools do not count.
    pub fn runs(&self, words: &str) -> bool {
        super::snapshot::processes(&self.base)
            .iter()
            .any(|(_, command)| command.contains(words) && !command.contains("subhost-"))
    }

    /// Runs `subhost-enter NAME -- sh -c SCRIPT` and asserts that it succeeds. Returns its output, trimmed.
    #[track_caller]
    pub fn inside(&self, name: &str, script: &str) -> String {
        self.enter(name, script).ok().text()
    }

    /// Returns `subhost-enter NAME -- sh -c SCRIPT`.
    pub fn enter(&self, name: &str, script: &str) -> Run {
        self.tool(&format!("subhost-enter {name} -- sh -c"))
            .arg(script)
    }

    /// Takes a snapshot, then runs `subhost-start NAME`. Returns the snapshot, for [`Sandbox::stop`].
    #[track_caller]
    pub fn start(&self, name: &str) -> Snapshot {
        let before = self.snapshot();
        self.tool(&format!("subhost-start {name}")).silent();
        before
    }

    /// Runs `subhost-stop --sync NAME` and asserts that the host is as it was `before`.
    #[track_caller]
    pub fn stop(&self, name: &str, before: &Snapshot) -> Output {
        let output = self.tool(&format!("subhost-stop --sync {name}")).silent();
        self.assert_same_now(before);
        output
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for _ in 0..200 {
            let left = super::snapshot::processes(&self.base);
            for (pid, _) in &left {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // The mounts are detached here. If `base` is removed before the namespace ends, an image and the tmpfs with
        // its file keep each other for ever.
        let _ = umount2(&self.base, MntFlags::MNT_DETACH);
    }
}
