//! A thread with mount, network, uts and ipc namespaces of its own, in which one test lives.
//!
//! It has a tmpfs on /run, on /var/log, on /var/lib/subhost and on a directory of its own; children inherit all of it. It
//! has the host's processes, so that a tool that would end a foreign one is seen.

use super::{Output, Pty, Run, World, skip, tree};
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

/// A place of a test's own. Dropping it ends what still runs there; the rest goes with the namespaces.
pub struct Sandbox {
    /// A tmpfs, 0700, at a path that no other test has.
    pub base: PathBuf,
    /// `$SUBHOST`, below `base`.
    pub subhost: PathBuf,
}

/// Runs `test` on a host as systemd sets it up: all mounts shared.
pub fn sandbox(test: impl FnOnce(&Sandbox) + Send + 'static) {
    run(MsFlags::MS_SHARED, test);
}

/// Runs `test` on a host as sysvinit leaves it: all mounts private.
pub fn sandbox_private(test: impl FnOnce(&Sandbox) + Send + 'static) {
    run(MsFlags::MS_PRIVATE, test);
}

fn run(propagation: MsFlags, test: impl FnOnce(&Sandbox) + Send + 'static) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !geteuid().is_root() {
        return skip("must be root");
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // Of one length, so that none is the beginning of another.
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
    // A thread is joined a moment before the kernel has dropped its namespaces: their cgroups and
    // the tmpfs do not matter for the directory, which is empty here.
    let _ = fs::remove_dir(&base);
    for (_, dir) in cgroups(&base) {
        // What has been killed may still be on its way out.
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
    // Trees need what /run must not have: devices, setuid.
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
    // An empty directory is all that the host gets of it.
    let kept = Path::new("/var/lib/subhost");
    fs::create_dir_all(kept).unwrap();
    tmpfs(kept, "mode=0755");
    change(propagation);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(base.join("opt"))
        .unwrap();
    // As on a host where `ip netns add` has been used once: its mount on /run/netns stays for good.
    Run::host(
        base,
        "ip link set lo up; ip netns add once; ip netns delete once",
    )
    .ok();
}

/// /sys shows the network namespace of the process that mounted it: one of our own, with the host's
/// cgroups moved over.
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

/// Each cgroup hierarchy with the directory in it that belongs to the test at `base`.
fn cgroups(base: &Path) -> Vec<(PathBuf, PathBuf)> {
    let name = base.file_name().unwrap();
    super::world::mounts()
        .iter()
        .filter(|m| m.fstype.starts_with("cgroup") && m.point.starts_with("/sys/fs/cgroup"))
        .map(|m| (PathBuf::from(&m.point), Path::new(&m.point).join(name)))
        .collect()
}

/// With what a test that did not stop its subhosts has left in it.
fn remove_cgroup(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// Tests run side by side and use the same names of subhosts: each gets a part of the cgroup tree
/// for the whole, as a container does.
fn own_cgroups(base: &Path) {
    for (top, ours) in cgroups(base) {
        if fs::create_dir(&ours).is_ok() {
            give_down(&top, &ours);
            mount(Some(&ours), &top, NONE, MsFlags::MS_BIND, NONE).unwrap();
        }
    }
}

/// What a root has by itself: its controllers in v2, CPUs and memory in v1.
fn give_down(top: &Path, ours: &Path) {
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        // One that cannot be had is missed by the test that needs it.
        let _ = fs::write(top.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let (Ok(all), true) = (fs::read_to_string(top.join(file)), controllers.is_empty()) {
            fs::write(ours.join(file), all.trim()).unwrap();
        }
    }
}

impl Sandbox {
    /// One of our tools with its arguments, as one line: blanks separate, no quotes (see [`Run::arg`]).
    /// Its environment holds SUBHOST and nothing else, its standard input is empty.
    pub fn tool(&self, line: &str) -> Run {
        Run::tool(&self.subhost, line)
    }

    /// The same with `-S` instead of the environment.
    pub fn tool_s(&self, line: &str) -> Run {
        let (tool, rest) = line.split_once(' ').unwrap_or((line, ""));
        Run::tool(Path::new(""), tool)
            .without("SUBHOST")
            .arg("-S")
            .arg(self.subhost.to_str().unwrap())
            .args(rest.split_whitespace())
    }

    /// A script of the user's: `sh -c`, with our tools in PATH and SUBHOST set.
    pub fn sh(&self, script: &str) -> Run {
        Run::sh(script)
            .env(
                "PATH",
                &format!("{}:{}", super::tools_dir(), super::HOST_PATH),
            )
            .env("SUBHOST", self.subhost.to_str().unwrap())
    }

    /// A script that prepares or asks the host, in `base`; it must succeed. Its output, trimmed.
    #[track_caller]
    pub fn host(&self, script: &str) -> String {
        Run::host(&self.base, script).ok().text()
    }

    /// The same, but it may fail: did it succeed?
    pub fn test(&self, script: &str) -> bool {
        Run::host(&self.base, script).run().code == 0
    }

    /// As [`Sandbox::host`], with JSON as output.
    #[track_caller]
    pub fn json(&self, script: &str) -> Value {
        let text = self.host(script);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{script}: {e}:\n{text}"))
    }

    /// One of our tools on a terminal of 33 rows and 77 columns.
    pub fn pty(&self, line: &str) -> Pty {
        Pty::start(self.tool(line))
    }

    /// A user's script on such a terminal.
    pub fn pty_sh(&self, script: &str) -> Pty {
        Pty::start(self.sh(script))
    }

    /// Makes a bridge and brings it up.
    pub fn bridge(&self, name: &str) {
        self.host(&format!(
            "ip link add {name} type bridge; ip link set {name} up"
        ));
    }

    /// A small system tree at `$SUBHOST/layers/NAME`, made if it is not there.
    pub fn layer(&self, name: &str) -> PathBuf {
        let dir = self.subhost.join("layers").join(name);
        if !dir.exists() {
            tree::make(&dir);
        }
        dir
    }

    /// The world as the kernel and /run tell it, once the kernel is through with the links of earlier stops:
    /// what is to be held against a later one.
    pub fn world(&self) -> World {
        let mut world = self.world_now();
        for _ in 0..1000 {
            if !world.has_unreaped() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            world = self.world_now();
        }
        world
    }

    /// The same at once.
    pub fn world_now(&self) -> World {
        World::snapshot(&self.base)
    }

    /// Asserts that the world is as it was `before`, at once: what `subhost-stop --sync` promises.
    #[track_caller]
    pub fn same_now(&self, before: &World) {
        let diff = before.diff(&self.world_now());
        assert!(diff.is_empty(), "the world is not as before:\n{diff}");
    }

    /// The same, soon: without `--sync` the kernel may still be reaping links and processes.
    #[track_caller]
    pub fn same(&self, before: &World) {
        self.soon(|| before.diff(&self.world_now()));
    }

    /// The same but for /run/subhost: after `-u`, whether a lock file stays is nobody's business.
    #[track_caller]
    pub fn same_but_state(&self, before: &World) {
        self.soon(|| before.diff_but_state(&self.world_now()));
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

    /// The state of a subhost as `subhost-list` has it.
    #[track_caller]
    pub fn state(&self, name: &str) -> String {
        self.column(name, "state")
    }

    /// One cell of `subhost-list`.
    #[track_caller]
    pub fn column(&self, name: &str, column: &str) -> String {
        self.tool(&format!("subhost-list -o {column} {name}"))
            .ok()
            .text()
    }

    /// The pid of a running subhost's PID 1.
    #[track_caller]
    pub fn pid(&self, name: &str) -> i32 {
        let pid = self.column(name, "pid");
        pid.parse()
            .unwrap_or_else(|_| panic!("{name} has no pid but '{pid}'"))
    }

    /// Does a process with these words in its command line run, ours not counted?
    pub fn runs(&self, words: &str) -> bool {
        super::world::processes(&self.base)
            .iter()
            .any(|(_, command)| command.contains(words) && !command.contains("subhost-"))
    }

    /// What a command prints inside: `subhost-enter NAME -- sh -c SCRIPT`, trimmed.
    #[track_caller]
    pub fn inside(&self, name: &str, script: &str) -> String {
        self.enter(name, script).ok().text()
    }

    /// `subhost-enter NAME -- sh -c SCRIPT`.
    pub fn enter(&self, name: &str, script: &str) -> Run {
        self.tool(&format!("subhost-enter {name} -- sh -c"))
            .arg(script)
    }

    /// `subhost-stop --sync NAME`, then the world must be as `before`.
    #[track_caller]
    pub fn stop(&self, name: &str, before: &World) -> Output {
        let output = self.tool(&format!("subhost-stop --sync {name}")).silent();
        self.same_now(before);
        output
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for _ in 0..200 {
            let left = super::world::processes(&self.base);
            for (pid, _) in &left {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Mounts are taken apart here, not left to the end of the namespace: the removal of `base` may
        // come first and would keep them together, an image and the tmpfs that its file lies on, for ever.
        let _ = umount2(&self.base, MntFlags::MNT_DETACH);
    }
}
