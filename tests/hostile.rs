//! Trees, names and images made to harm: each is used or refused, within seconds and with a status
//! of the table, and nothing of the host outside the subhost's tree is opened, changed or mounted on.

mod common;

use common::*;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Files and directories of the host that tell whether anybody opened, read or changed them.
struct Canary {
    dir: PathBuf,
    events: OwnedFd,
}

/// What hostile links lead to: all that a tree has and that a subhost mounts on, writes or reads.
const FILES: &[&str] = &[
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
    "etc/passwd",
    "etc/group",
    "bin/sh",
    "srv/file",
];
const DIRS: &[&str] = &[
    "bin", "dev", "dev/pts", "dev/shm", "etc", "home", "home/web", "mnt", "mnt/deep", "proc",
    "run", "srv", "sys", "tmp", "tmp/deep",
];

impl Canary {
    fn new(s: &Sandbox) -> Self {
        let dir = s.base.join("outside");
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        for name in DIRS {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        for name in FILES {
            fs::write(dir.join(name), "spy:x:4242:4242::/:/bin/sh\n").unwrap();
        }
        let canary = Self { dir, events };
        for name in DIRS.iter().chain(FILES) {
            canary.watch(&canary.dir.join(name));
        }
        canary
    }

    /// Watches one more file.
    fn watch(&self, path: &Path) {
        let flags = WatchFlags::ALL_EVENTS | WatchFlags::DONT_FOLLOW;
        inotify::add_watch(&self.events, path, flags).unwrap();
    }

    /// What happened to the watched since last asked.
    fn events(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            // Our own removal of a watched file is none of theirs.
            if !event.events().contains(ReadFlags::IGNORED) {
                events.push(format!("{:?} {:?}", event.events(), event.file_name()));
            }
        }
        events
    }
}

/// What stands at a place of a tree instead of what should be there.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A link to the same place below `outside`, behind this.
    Link(&'static str),
    /// A link to exactly this.
    To(&'static str),
    Loop,
    File,
    Huge,
    Directory,
    Closed,
    Fifo,
    Socket,
    Device(u32, u32),
    Disk,
    Nothing,
}

const SHAPES: &[Shape] = &[
    Shape::Link(""),
    Shape::Link("../../../../../../../.."),
    Shape::Link("/none"),
    Shape::Link("/proc/self/root"),
    Shape::Link("/proc/1/root"),
    Shape::Link("/proc/1/cwd"),
    Shape::To("/proc/self/exe"),
    Shape::To("/proc/1/exe"),
    Shape::To("/proc/self/fd/1"),
    Shape::To("/proc/1/fd/4"),
    Shape::To("/proc/kmsg"),
    Shape::To("/proc/1/ns/mnt"),
    Shape::To("/dev/ptmx"),
    Shape::To(".."),
    Shape::Loop,
    Shape::File,
    Shape::Huge,
    Shape::Directory,
    Shape::Closed,
    Shape::Fifo,
    Shape::Socket,
    Shape::Device(1, 5),
    Shape::Device(10, 130),
    Shape::Disk,
    Shape::Nothing,
];

const PLACES: &[&str] = &[
    "proc",
    "dev",
    "dev/pts",
    "dev/shm",
    "sys",
    "run",
    "etc",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
    "etc/passwd",
    "etc/group",
    "mnt",
    "mnt/deep",
    "srv",
    "srv/file",
    "tmp",
    "tmp/deep",
    "home/web",
    "bin",
    "bin/sh",
    "root",
];

fn clear(path: &Path) {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Puts `shape` at `place` of the tree `root`.
fn put(root: &Path, place: &str, shape: Shape, outside: &Path) {
    let at = root.join(place);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    clear(&at);
    let outside = outside.join(place);
    let node = |kind, device| {
        mknodat(CWD, &at, kind, Mode::from_raw_mode(0o666), device).unwrap();
    };
    match shape {
        Shape::Link(way) => symlink(format!("{way}{}", outside.display()), &at).unwrap(),
        Shape::To(target) => symlink(target, &at).unwrap(),
        Shape::Loop => {
            let other = format!("{}.loop", at.display());
            let _ = fs::remove_file(&other);
            symlink(&other, &at).unwrap();
            symlink(at.file_name().unwrap(), other).unwrap();
        }
        Shape::File => fs::write(&at, "root:x:0:0::/proc/1/root:/proc/self/exe\n").unwrap(),
        // Sparse: 1 GiB of nothing.
        Shape::Huge => fs::File::create(&at).unwrap().set_len(1 << 30).unwrap(),
        Shape::Directory => fs::create_dir(&at).unwrap(),
        Shape::Closed => {
            fs::create_dir(&at).unwrap();
            fs::set_permissions(&at, fs::Permissions::from_mode(0)).unwrap();
        }
        Shape::Fifo => node(FileType::Fifo, 0),
        Shape::Socket => node(FileType::Socket, 0),
        Shape::Device(major, minor) => {
            node(FileType::CharacterDevice, rustix::fs::makedev(major, minor));
        }
        Shape::Disk => node(FileType::BlockDevice, rustix::fs::makedev(7, 0)),
        Shape::Nothing => {}
    }
}

/// The mount points of this thread that are not `before` and not below $SUBHOST.
fn mounted_outside(s: &Sandbox, before: &[String]) -> Vec<String> {
    let inside = s.subhost.to_str().unwrap();
    let now = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let text = |line: &str| line.splitn(3, ' ').nth(2).unwrap().to_owned();
    now.lines()
        .map(text)
        .filter(|line| !before.contains(line) && !line.contains(inside))
        .filter(|line| !line.contains("/run/netns"))
        .collect()
}

/// Up in both ways and down: whatever the tools say, they say it soon, with a status of the table,
/// about the right thing, and the host is as it was. Gives whether both ways up work.
fn survived(s: &Sandbox, canary: &Canary, before: &World, object: &str) -> Result<bool, String> {
    canary.events();
    let start = s.tool("subhost-start w").limit(10).run();
    let enter = s.tool("subhost-enter -u web w -- sh -c :").limit(10).run();
    let outside = mounted_outside(s, before.lines("mount"));
    let stop = s.tool("subhost-stop --sync w").limit(10).run();
    let events = canary.events();
    let mut wrong = String::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong += &format!("{what}\n");
        }
    };
    must([0, 1].contains(&start.code), &start.to_string());
    must([0, 125, 126, 127].contains(&enter.code), &enter.to_string());
    for out in [&start, &enter] {
        // What is missed is a user of a passwd that is none, or a program of a directory that is none.
        let objects = [object, "user 'web'", "run sh", "run /bin/sleep"];
        let told = objects.iter().any(|object| out.stderr.contains(object));
        must(out.code == 0 || told, &format!("no '{object}': {out}"));
        must(!out.stderr.contains("panicked"), &out.to_string());
    }
    must(outside.is_empty(), &format!("mounted: {outside:?}"));
    must(stop.code == 0, &stop.to_string());
    must(
        events.is_empty(),
        &format!("the host was touched: {events:?}"),
    );
    let diff = before.diff(&s.world());
    must(diff.is_empty(), &diff);
    match wrong.is_empty() {
        true => Ok(start.code == 0 && enter.code == 0),
        false => Err(wrong),
    }
}

/// How a table of cases went: all must hold, and some of them must work.
#[derive(Default)]
struct Tally {
    cases: usize,
    works: usize,
    wrong: String,
}

impl Tally {
    fn count(&mut self, case: &str, outcome: Result<bool, String>) {
        self.cases += 1;
        match outcome {
            Ok(works) => self.works += usize::from(works),
            Err(wrong) => self.wrong += &format!("--- {case}\n{wrong}"),
        }
    }

    #[track_caller]
    fn holds(&self) {
        println!("{} cases, {} work", self.cases, self.works);
        assert!(self.wrong.is_empty(), "{}", self.wrong);
        assert!(self.works * 5 > self.cases, "a test of refusals only");
    }
}

/// What a hostile place is to do with: all that a config can have put there.
fn config(s: &Sandbox) -> String {
    let base = s.base.display();
    format!(
        "DNS=192.0.2.53\nBIND='{base}/data:/mnt/deep {base}/data/file:/srv/file'\n\
         TMPFS=/tmp/deep\nRUN='/bin/sleep 1000'\nRUN_DIR=/srv\nBRIDGES==\nADDR0=192.0.2.2/24\n"
    )
}

fn places(kind: usize) -> impl Iterator<Item = (&'static str, Shape)> {
    let all = PLACES
        .iter()
        .flat_map(|place| SHAPES.iter().map(move |shape| (*place, *shape)));
    // Each case with one kind of root at most; in full with all.
    let step = rounds(4, 1);
    all.enumerate()
        .filter(move |(number, _)| number % step == kind % step)
        .map(|(_, case)| case)
}

#[test]
fn hostile_places_in_a_tree_of_its_own() {
    sandbox(|s| {
        s.host("mkdir data; echo data >data/file");
        let w = s.rbind("w", &config(s));
        let (root, kept) = (w.path("root"), s.base.join("kept"));
        fs::rename(&root, &kept).unwrap();
        let canary = Canary::new(s);
        let mut tally = Tally::default();
        for (place, shape) in places(0) {
            clear(&root);
            s.host("cp -a kept opt/w/root");
            let before = s.world();
            put(&root, place, shape, &canary.dir);
            let node = root.join(place);
            if matches!(shape, Shape::Device(..) | Shape::Disk) {
                // To open a device is to use it: some wind a tape, some count down to a reset.
                canary.watch(&node);
            }
            let case = format!("{place} {shape:?}");
            let object = place.split('/').next().unwrap();
            tally.count(&case, survived(s, &canary, &before, object));
        }
        tally.holds();
    });
}

#[test]
fn hostile_places_in_the_layers_of_an_overlay() {
    sandbox(|s| {
        s.host("mkdir data; echo data >data/file");
        let w = s.overlay("w", &config(s));
        let root = w.path("root");
        let canary = Canary::new(s);
        let before = s.world();
        let mut tally = Tally::default();
        for (place, shape) in places(1) {
            clear(&root);
            clear(&w.path("work"));
            fs::create_dir(&root).unwrap();
            put(&root, place, shape, &canary.dir);
            let case = format!("{place} {shape:?}");
            let object = place.split('/').next().unwrap();
            tally.count(&case, survived(s, &canary, &before, object));
        }
        tally.holds();
    });
}

#[test]
fn hostile_places_in_an_image() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        s.host("mkdir data m; echo data >data/file");
        let w = s.image("w", "ext4", &config(s));
        fs::rename(w.path("w.img"), s.base.join("kept.img")).unwrap();
        let canary = Canary::new(s);
        let mut tally = Tally::default();
        for (place, shape) in places(2) {
            s.host("cp --sparse=always kept.img opt/w/w.img; mount -o loop opt/w/w.img m");
            put(&s.base.join("m/root"), place, shape, &canary.dir);
            s.host("umount m");
            eventually("its loop device is gone", || s.world().loops().is_empty());
            let before = s.world();
            let case = format!("{place} {shape:?}");
            let object = place.split('/').next().unwrap();
            tally.count(&case, survived(s, &canary, &before, object));
        }
        tally.holds();
    });
}

/// The directories of an image that become root and work of its subhost, as something else.
#[test]
fn hostile_tops_of_an_image() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        s.host("mkdir m");
        let layer = s.layer("base");
        let w = s.image("w", "ext4", "");
        fs::rename(w.path("w.img"), s.base.join("kept.img")).unwrap();
        let canary = Canary::new(s);
        fs::create_dir(canary.dir.join("root")).unwrap();
        fs::create_dir(canary.dir.join("work")).unwrap();
        canary.watch(&canary.dir.join("root"));
        canary.watch(&canary.dir.join("work"));
        let mut wrong = String::new();
        for (number, lower) in [String::new(), setting("LOWER", &[layer])]
            .iter()
            .enumerate()
        {
            w.config(lower);
            let all = ["root", "work"]
                .iter()
                .flat_map(|place| SHAPES.iter().map(move |shape| (*place, *shape)));
            for (place, shape) in all.skip(number).step_by(rounds(2, 1)) {
                s.host("cp --sparse=always kept.img opt/w/w.img; mount -o loop opt/w/w.img m");
                put(&s.base.join("m"), place, shape, &canary.dir);
                s.host("umount m");
                eventually("its loop device is gone", || s.world().loops().is_empty());
                let before = s.world();
                if let Err(what) = survived(s, &canary, &before, place) {
                    wrong += &format!("--- {place} {shape:?} {lower}\n{what}");
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    });
}

/// While a subhost is started, entered and stopped, somebody exchanges directories of its tree with
/// links to the host, all the time.
#[test]
fn a_tree_that_changes_under_our_hands() {
    sandbox(|s| {
        s.host("mkdir data; echo data >data/file");
        let w = s.rbind("w", &config(s));
        let canary = Canary::new(s);
        let root = w.path("root");
        let mut pairs = Vec::new();
        for place in [
            "proc", "dev", "sys", "run", "etc", "mnt", "srv", "tmp", "home/web",
        ] {
            let there = root.join(place);
            let link = root.join(format!("{place}.link"));
            symlink(canary.dir.join(place), &link).unwrap();
            pairs.push((there, link));
        }
        for place in ["etc/hosts", "etc/resolv.conf", "etc/passwd", "bin/sh"] {
            let link = root.join(format!("{place}.link"));
            symlink(
                format!("/proc/1/root{}", canary.dir.join(place).display()),
                &link,
            )
            .unwrap();
            pairs.push((root.join(place), link));
        }
        let before = s.world();
        canary.events();
        let (end, turn) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut counts = [0; 2];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    let (one, other) = &pairs[turn.load(Ordering::Relaxed) % pairs.len()];
                    // And back, so that the next turn finds the tree as it was.
                    for _ in 0..2 {
                        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                    }
                }
            });
            let work = || {
                for number in 0..rounds(52, 5000) {
                    turn.store(number, Ordering::Relaxed);
                    let start = s.tool("subhost-start w").limit(10).run();
                    let enter = s.tool("subhost-enter -u web w -- sh -c :").limit(10).run();
                    let outside = mounted_outside(s, before.lines("mount"));
                    s.tool("subhost-stop --sync w").limit(10).ok();
                    assert!([0, 1].contains(&start.code), "{start}");
                    assert!([0, 125, 126, 127].contains(&enter.code), "{enter}");
                    assert!(outside.is_empty(), "mounted outside: {outside:?}");
                    counts[usize::from(start.code != 0)] += 1;
                }
            };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            end.store(true, Ordering::Relaxed);
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        });
        println!("{} starts succeeded, {} were refused", counts[0], counts[1]);
        s.same_now(&before);
        let events = canary.events();
        assert!(events.is_empty(), "the host was touched: {events:?}");
    });
}

/// PID 1 works in the tree with descriptors of the host open. A link to one of them, on the way to
/// what is made inside, must not lead there: what would be made lies below a name of the host's root.
#[test]
fn no_descriptor_of_pid_1_leads_to_the_host() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        s.host("mkdir data look; mount --bind / look; mount --make-private look");
        // The host's root as PID 1 would reach it: without what is mounted on it.
        let marks = s.base.join("look").join(s.base.strip_prefix("/").unwrap());
        let before = s.world();
        for fd in 0..rounds(24, 64) {
            for way in ["self", "1", "thread-self"] {
                let there = format!("/proc/{way}/fd/{fd}{}", s.base.display());
                for (place, target) in [
                    ("mnt", there.clone()),
                    ("etc/hosts", format!("{there}/hosts")),
                ] {
                    clear(&w.path("root").join(place));
                    symlink(target, w.path("root").join(place)).unwrap();
                }
                w.config(&format!(
                    "BIND={}/data:/mnt/bind\nTMPFS=/mnt/tmpfs\n",
                    s.base.display()
                ));
                let out = s.tool("subhost-start w").limit(10).run();
                assert!([0, 1].contains(&out.code), "{out}");
                w.config("");
                let out = s.tool("subhost-start w").limit(10).run();
                assert!([0, 1].contains(&out.code), "{out}");
                let made: Vec<_> = fs::read_dir(&marks).unwrap().collect();
                assert!(made.is_empty(), "descriptor {fd}: {made:?}");
                s.tool("subhost-stop --sync w").ok();
            }
        }
        s.same_now(&before);
        s.host("umount look");
    });
}

/// A program inside that is a link to /proc/self/exe is the tool itself, as it is about to become
/// that program. Who then gets hold of it could write to it when it has ended (CVE-2019-5736).
#[test]
fn the_tools_cannot_be_written_from_inside() {
    sandbox(|s| {
        let w = s.rbind("w", "RUN=/bin/catch\n");
        s.host(&format!("mkdir tools; cp {}/subhost-enter {0}/subhost-init {0}/subhost-start {0}/subhost-stop tools", tools_dir()));
        s.host("for f in $(ldd tools/subhost-enter | grep -o '/[^ ]*'); do mkdir -p opt/w/root/${f%/*}; cp $f opt/w/root/$f; done");
        // The tool, taken for a program inside, finds a subhost there that keeps it waiting.
        w.write("root/opt/v/config", "PREMOUNT='/bin/sleep 1000'\n");
        w.mkdir("root/opt/v/root");
        s.host("chmod -R go-rwx opt/w/root/opt");
        symlink("/proc/self/exe", w.path("root/bin/self")).unwrap();
        w.script(
            "root/bin/catch",
            "while :; do for p in /proc/[0-9]*; do
                case $(tr '\\0' ' ' <$p/cmdline) in self*)
                    exec 3<$p/exe && kill -9 ${p#/proc/} && sleep 1 && (: >>/proc/self/fd/3)
                    echo $? >/tried; exec sleep 1000;; esac; done; done 2>>/said",
        );
        let before = s.world();
        let tool = |line: &str| {
            let tools = s.base.join("tools");
            s.sh(&format!("PATH={}:$PATH; {line}", tools.display()))
        };
        tool("subhost-start w").silent();
        tool("subhost-enter w -- self -S /opt v -- true >/dev/null 2>&1").fails(137, &[]);
        eventually("it has been tried", || w.exists("root/tried"));
        has(&w.read("root/said"), &["Read-only file system"]);
        assert_ne!(w.read("root/tried"), "0\n");
        tool("subhost-stop --sync w").ok();
        s.same_now(&before);
    });
}

/// A process can call itself what it likes. An init whose name was no UTF-8 could not be found in
/// /proc: its network and root were taken from under it, and a second one was booted beside it.
#[test]
fn an_init_with_a_name_that_is_no_text_is_still_seen() {
    sandbox(|s| {
        let w = s.rbind("w", "INIT=/sbin/strange\nSTOP=TERM\nSTOP_TIMEOUT=2s\n");
        w.script(
            "root/sbin/strange",
            "trap 'exit 0' TERM; printf '\\377) R (' >/proc/1/comm; : >/ready; while :; do sleep 0.1; done",
        );
        let before = s.world();
        s.tool("subhost-start w").silent();
        eventually("it has its name", || w.exists("root/ready"));
        assert_eq!(s.state("w"), "running");
        let pid = s.pid("w");
        s.tool("subhost-start w").silent();
        assert_eq!(s.pid("w"), pid, "a second one was booted");
        s.tool("subhost-mount -u w").fails(75, &["running"]);
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-stop --sync w").limit(10).ok();
        s.same_now(&before);
    });
}
