//! Trees, names and images made to harm: each is used or refused, within seconds and with a status
//! of the table, and nothing of the host outside the subhost's tree is opened, changed or mounted on.

mod common;

use common::*;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use std::ffi::OsStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
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
            fs::set_permissions(&at, fs::Permissions::from_mode(0o0)).unwrap();
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

fn places(kind: usize, one_in: usize) -> impl Iterator<Item = (&'static str, Shape)> {
    let all = PLACES
        .iter()
        .flat_map(|place| SHAPES.iter().map(move |shape| (*place, *shape)));
    // Each case with one kind of root at most; in full with all.
    let step = rounds(one_in, 1);
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
        for (place, shape) in places(0, 6) {
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
        for (place, shape) in places(1, 6) {
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
        for (place, shape) in places(2, 16) {
            s.host("cp --sparse=always kept.img opt/w/w.img; mount -o loop opt/w/w.img m");
            put(&s.base.join("m/root"), place, shape, &canary.dir);
            s.host("umount m");
            eventually("its loop device is gone", || {
                !s.test("losetup -nlO BACK-FILE | grep -q $PWD")
            });
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
            for (place, shape) in all.skip(number).step_by(rounds(6, 1)) {
                s.host("cp --sparse=always kept.img opt/w/w.img; mount -o loop opt/w/w.img m");
                put(&s.base.join("m"), place, shape, &canary.dir);
                s.host("umount m");
                eventually("its loop device is gone", || {
                    !s.test("losetup -nlO BACK-FILE | grep -q $PWD")
                });
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
                for number in 0..rounds(26, 5000) {
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
        for fd in 0..rounds(14, 64) {
            for way in ["self", "1"] {
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

/// A program inside that is a link to /proc/self/exe is what is about to become that program. Who gets hold
/// of that could write to it when it has ended (CVE-2019-5736). Usually it is a trampoline; to those who may
/// look into all processes it is the tool itself, by a mount that nobody can write through.
#[test]
fn the_tools_cannot_be_written_from_inside() {
    for caps in ["", "CAPS=+SYS_PTRACE\n"] {
        sandbox(move |s| tools_cannot_be_written(s, caps));
    }
}

fn tools_cannot_be_written(s: &Sandbox, caps: &str) {
    let w = s.rbind("w", &format!("RUN=/bin/catch\n{caps}"));
    s.host(&format!("mkdir tools; cp {}/subhost-enter {0}/subhost-init {0}/subhost-start {0}/subhost-stop tools", tools_dir()));
    s.host("for f in $(ldd tools/subhost-enter | grep -o '/[^ ]*'); do mkdir -p opt/w/root/${f%/*}; cp $f opt/w/root/$f; done");
    // The tool, taken for a program inside, finds a subhost there that keeps it waiting.
    w.write("root/opt/v/config", "PREMOUNT='/bin/sleep 1000'\n");
    w.mkdir("root/opt/v/root");
    s.host("chmod -R go-rwx opt/w/root/opt");
    symlink("/proc/self/exe", w.path("root/bin/self")).unwrap();
    w.write("root/bin/named", "#!/proc/self/exe\n");
    w.chmod("root/bin/named", 0o755);
    w.script(
        "root/bin/catch",
        "while :; do for p in /proc/[0-9]*; do
            case $(tr '\\0' ' ' <$p/cmdline) in self*)
                { kill -9 ${p#/proc/}; sleep 1; (: >>/proc/self/fd/3)
                echo $? >/tried; exec sleep 1000; } 3<$p/exe;; esac; done; done 2>>/said",
    );
    let before = s.world();
    let sums = s.host("cksum tools/*");
    let tool = |line: &str| {
        let tools = s.base.join("tools");
        s.sh(&format!("PATH={}:$PATH; {line}", tools.display()))
    };
    tool("subhost-start w").silent();
    let enter = tool("subhost-enter w -- self -S /opt v -- true >/dev/null 2>&1");
    if caps.is_empty() {
        // Over before anybody could see it; all the same who does gets nothing.
        let codes: Vec<i32> = (0..50)
            .map(|_| tool("subhost-enter w -- self -S /opt v").run().code)
            .collect();
        assert!(
            codes.iter().all(|code| [126, 137].contains(code)),
            "{codes:?}"
        );
        tool("subhost-enter w -- /bin/named").fails(126, &[]);
        enter.fails(126, &[]);
        assert_ne!(
            fs::read_to_string(w.path("root/tried")).unwrap_or_default(),
            "0\n"
        );
    } else {
        enter.fails(137, &[]);
        eventually("it has been tried", || w.exists("root/tried"));
        has(&w.read("root/said"), &["Read-only file system"]);
        assert_ne!(w.read("root/tried"), "0\n");
    }
    tool("subhost-stop --sync w").ok();
    assert_eq!(s.host("cksum tools/*"), sums);
    s.same_now(&before);
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

// Images.

/// Bytes that look like chance and are always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// `bytes` with others in their place from `at` on.
fn with(mut bytes: Vec<u8>, at: usize, others: &[u8]) -> Vec<u8> {
    let end = at + others.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[at..end].copy_from_slice(others);
    bytes
}

/// A boot record with these entries: type, first sector, sectors.
fn mbr(entries: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut bytes = with(vec![0; 1 << 16], 510, &[0x55, 0xaa]);
    for (number, (kind, first, sectors)) in entries.iter().enumerate() {
        let at = 446 + 16 * number;
        bytes[at + 4] = *kind;
        bytes = with(bytes, at + 8, &first.to_le_bytes());
        bytes = with(bytes, at + 12, &sectors.to_le_bytes());
    }
    bytes
}

/// A GPT with its table at a sector, so many entries of a size, and one entry: first and last sector.
fn gpt(table: u64, count: u32, size: u32, entry: (u64, u64)) -> Vec<u8> {
    let bytes = with(
        mbr(&[(0xee, 1, u32::MAX)]),
        512,
        b"EFI PART\0\0\x01\0\x5c\0\0\0",
    );
    let bytes = with(bytes, 584, &table.to_le_bytes());
    let bytes = with(bytes, 592, &count.to_le_bytes());
    let bytes = with(bytes, 596, &size.to_le_bytes());
    let bytes = with(bytes, 1024, &[7; 32]);
    let bytes = with(bytes, 1056, &entry.0.to_le_bytes());
    with(bytes, 1064, &entry.1.to_le_bytes())
}

/// Images that are none or lie about what they hold, with what the config says of them.
fn lies(good: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let zeros = |length| vec![0; length];
    let noisy = || noise(1 << 20);
    let good = || good.to_vec();
    let ext4 = |at: usize, bytes: &[u8]| with(good(), 1024 + at, bytes);
    let first = "IMAGE_PARTITION=1\n";
    let fifth = "IMAGE_PARTITION=5\n";
    vec![
        ("empty", vec![], ""),
        ("empty, as ext4", vec![], "IMAGE_FSTYPE=ext4\n"),
        ("one byte", vec![0x55], ""),
        ("zeros", zeros(1 << 20), ""),
        ("zeros, as xfs", zeros(1 << 20), "IMAGE_FSTYPE=xfs\n"),
        ("noise", noisy(), ""),
        ("noise, as ext4", noisy(), "IMAGE_FSTYPE=ext4\n"),
        ("noise, as proc", noisy(), "IMAGE_FSTYPE=proc\n"),
        ("noise, as overlay", noisy(), "IMAGE_FSTYPE=overlay\n"),
        (
            "noise, as nothing known",
            noisy(),
            "IMAGE_FSTYPE=nosuchfs\n",
        ),
        ("noise, as a path", noisy(), "IMAGE_FSTYPE=../../etc\n"),
        (
            "noise with the magic of ext4",
            with(noisy(), 0x438, &[0x53, 0xef]),
            "",
        ),
        (
            "noise with the magic of squashfs",
            with(noisy(), 0, b"hsqs"),
            "",
        ),
        ("noise with the magic of xfs", with(noisy(), 0, b"XFSB"), ""),
        (
            "noise with the magic of erofs",
            with(noisy(), 0x400, &[0xe2, 0xe1, 0xf5, 0xe0]),
            "",
        ),
        (
            "noise with the magic of f2fs",
            with(noisy(), 0x400, &[0x10, 0x20, 0xf5, 0xf2]),
            "",
        ),
        (
            "noise with the magic of iso9660",
            with(noisy(), 0x8001, b"CD001"),
            "",
        ),
        (
            "noise with the magic of btrfs",
            with(noisy(), 0x10040, b"_BHRfS_M"),
            "",
        ),
        ("a superblock alone", good()[..2048].to_vec(), ""),
        ("a superblock cut in half", good()[..1500].to_vec(), ""),
        ("a half", good()[..good().len() / 2].to_vec(), ""),
        (
            "all but the last byte",
            good()[..good().len() - 1].to_vec(),
            "",
        ),
        ("more blocks than the file has", ext4(4, &[0xff; 4]), ""),
        ("no blocks", ext4(4, &[0; 4]), ""),
        ("no inodes", ext4(0, &[0; 4]), ""),
        ("blocks of 2^200 bytes", ext4(0x18, &[200, 0, 0, 0]), ""),
        ("unknown features", ext4(0x60, &[0xff; 4]), ""),
        ("no blocks in a group", ext4(0x20, &[0; 4]), ""),
        (
            "group descriptors of noise",
            with(good(), 4096, &noise(4096)),
            "",
        ),
        (
            "the first inodes of noise",
            with(good(), 1 << 20, &noise(1 << 20)),
            "",
        ),
        (
            "options of noise",
            good(),
            "IMAGE_OPTIONS='%s,=,=x,\u{1}'\n",
        ),
        (
            "an option that is none",
            good(),
            "IMAGE_OPTIONS=nosuchoption\n",
        ),
        (
            "an offset of its own",
            good(),
            "IMAGE_OPTIONS=loop,offset=4096\n",
        ),
        ("long options", good(), "IMAGE_OPTIONS=LONG\n"),
        ("no table", zeros(1 << 20), first),
        (
            "no partition of this number",
            mbr(&[(0x83, 1, 8)]),
            "IMAGE_PARTITION=128\n",
        ),
        ("a partition of zeros", mbr(&[(0x83, 1, 8)]), first),
        (
            "a partition beyond the end",
            mbr(&[(0x83, 1, u32::MAX)]),
            first,
        ),
        (
            "a partition far beyond the end",
            mbr(&[(0x83, u32::MAX, u32::MAX)]),
            first,
        ),
        (
            "a partition that holds its table",
            mbr(&[(0x83, 0, 128)]),
            first,
        ),
        (
            "partitions over each other",
            mbr(&[(0x83, 1, 99), (0x83, 2, 9)]),
            "IMAGE_PARTITION=2\n",
        ),
        ("an extended one in itself", mbr(&[(0x05, 0, 128)]), fifth),
        (
            "a circle of extended ones",
            {
                let link = with(mbr(&[(0x83, 1, 1), (0x05, 0, 9)]), 0, &[]);
                with(
                    mbr(&[(0x05, 2, 99)]),
                    1024,
                    &with(link, 446 + 24, &1_u32.to_le_bytes())[..512],
                )
            },
            fifth,
        ),
        (
            "four circles of extended ones",
            mbr(&[(5, 0, 1), (15, 0, 1), (0x85, 0, 1), (5, 0, 1)]),
            fifth,
        ),
        (
            "a chain to far beyond the end",
            mbr(&[(5, u32::MAX, 9)]),
            fifth,
        ),
        (
            "a GPT of 2^32-1 entries",
            gpt(2, u32::MAX, 128, (3, 9)),
            "IMAGE_PARTITION=128\n",
        ),
        ("a GPT of no entries", gpt(2, 0, 128, (3, 9)), first),
        ("entries of no bytes", gpt(2, 128, 0, (3, 9)), first),
        ("entries of 2^31 bytes", gpt(2, 128, 1 << 31, (3, 9)), first),
        (
            "a table at the end of all",
            gpt(u64::MAX, 128, 128, (3, 9)),
            first,
        ),
        (
            "a table at the end of all but one",
            gpt(u64::MAX / 512, 128, 128, (3, 9)),
            first,
        ),
        ("a table over its header", gpt(1, 128, 128, (3, 9)), first),
        ("a GPT with no checksum", gpt(2, 128, 128, (3, 9)), first),
        (
            "an entry that ends before it begins",
            gpt(2, 128, 128, (9, 3)),
            first,
        ),
        (
            "an entry beyond the end",
            gpt(2, 128, 128, (3, u64::MAX)),
            first,
        ),
        (
            "an entry from the end of all on",
            gpt(2, 128, 128, (u64::MAX, u64::MAX)),
            first,
        ),
        ("an entry of all", gpt(2, 128, 128, (0, u64::MAX)), first),
    ]
}

/// Mounted or refused, in all three ways that an image is used; then nothing is left.
fn tried(s: &Sandbox, before: &World, name: &str, object: &str) -> Result<bool, String> {
    let mut wrong = String::new();
    let mut works = false;
    for set in ["X_A=", "READ_ONLY=yes", "VOLATILE=yes"] {
        let mount = s
            .tool(&format!("subhost-mount --set {set} {name}"))
            .limit(10)
            .run();
        let stop = s
            .tool(&format!("subhost-stop --sync {name}"))
            .limit(10)
            .run();
        works |= mount.code == 0;
        let told = [object, "IMAGE_FSTYPE"]
            .iter()
            .any(|o| mount.stderr.contains(o));
        let told = mount.code == 0 || told;
        if ![0, 1, 5].contains(&mount.code) || !told || mount.stderr.contains("panicked") {
            wrong += &format!("{mount}");
        }
        let diff = before.diff(&s.world());
        if stop.code != 0 || !diff.is_empty() {
            wrong += &format!("{stop}\n{diff}");
        }
    }
    match wrong.is_empty() {
        true => Ok(works),
        false => Err(wrong),
    }
}

#[test]
fn images_that_lie() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        let image = w.path("w.img");
        let good = fs::read(&image).unwrap();
        let before = s.world();
        let mut tally = Tally::default();
        for (case, bytes, config) in lies(&good) {
            fs::write(&image, bytes).unwrap();
            w.config(&config.replace("LONG", &"x".repeat(5000)));
            tally.count(case, tried(s, &before, "w", "w.img"));
        }
        println!("{} cases, {} work", tally.cases, tally.works);
        assert!(tally.wrong.is_empty(), "{}", tally.wrong);
    });
}

#[test]
fn images_that_are_no_files() {
    sandbox(|s| {
        let w = s.bare("w", "");
        let canary = Canary::new(s);
        fs::create_dir(canary.dir.join("w.img")).unwrap();
        let before = s.world();
        let mut tally = Tally::default();
        for shape in SHAPES {
            put(&w.dir, "w.img", *shape, &canary.dir);
            for config in [
                "IMAGE=w.img\n",
                "IMAGE=w.img\nIMAGE_FSTYPE=ext4\n",
                "LOWER=w.img\n",
            ] {
                w.config(config);
                w.mkdir("root");
                canary.events();
                // A link is called by what it leads to.
                let object = match shape {
                    Shape::To(_) => ": w: ",
                    _ => "w.img",
                };
                let outcome = tried(s, &before, "w", object);
                let events = canary.events();
                let outcome = match events.is_empty() {
                    true => outcome,
                    false => Err(format!("the host was touched: {events:?}")),
                };
                tally.count(&format!("{shape:?} {config}"), outcome);
            }
        }
        println!("{} cases, {} work", tally.cases, tally.works);
        assert!(tally.wrong.is_empty(), "{}", tally.wrong);
    });
}

/// What becomes of an image's file while it is mounted keeps nobody from stopping.
#[test]
fn an_image_that_changes_while_it_is_mounted() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        s.image("w", "ext4", "RUN='/bin/sleep 1000'\n");
        let before = s.world();
        s.host("cp --sparse=always opt/w/w.img kept.img");
        for change in [
            "truncate -s 1M opt/w/w.img",
            "truncate -s 0 opt/w/w.img",
            "dd if=/dev/zero of=opt/w/w.img bs=1M count=24 conv=notrunc status=none",
            "rm opt/w/w.img",
            "mv opt/w/w.img old.img",
        ] {
            s.tool("subhost-start w").silent();
            s.host(change);
            // Its files may be gone, so whether this works is nobody's business; that it ends, is.
            s.enter("w", "echo x >/root/x; sync").limit(10).run();
            let stop = s.tool("subhost-stop --sync w").limit(10).run();
            assert_eq!(stop.code, 0, "{change}: {stop}");
            s.host("rm -rf opt/w/w.img; cp --sparse=always kept.img opt/w/w.img");
            s.same_now(&before);
        }
    });
}

// Names.

/// What a name may hold to trip up a shell, a mount table, overlay options, a list or a message.
fn names() -> Vec<String> {
    let plain = [
        "a b",
        " a",
        "a\tb",
        "a\nb",
        "a\n",
        "a'b",
        "a\"b",
        "a\\b",
        "a\\",
        "a\\040b",
        "a,b",
        "a%sb",
        "a$b",
        "$(a)",
        "-x",
        "--",
        "#a",
        "a;b",
        "a=b",
        "*",
        "~",
        "a (deleted)",
        "\u{e9}\u{202e}",
        "\u{1b}[2J",
        "\u{7f}",
    ];
    let long = "l".repeat(255);
    plain
        .iter()
        .map(|name| (*name).to_owned())
        .chain([long])
        .collect()
}

/// Every path that a config or a command line names has such a name in it.
#[test]
fn strange_names_are_names() {
    sandbox(|s| {
        s.layer("base");
        for name in names() {
            let top = s.base.join("top").join(&name);
            let subhost = top.join(&name);
            let w = subhost.join("w");
            for dir in [w.join(&name), top.join("data").join(&name)] {
                fs::create_dir_all(dir).unwrap();
            }
            fs::write(top.join("data").join(&name).join("file"), &name).unwrap();
            let layer = top.join("layer").join(&name);
            fs::create_dir_all(layer.parent().unwrap()).unwrap();
            Command::new("cp")
                .arg("-a")
                .arg(s.layer("base"))
                .arg(&layer)
                .status()
                .unwrap();
            let bind = format!(
                "{}:/mnt/{name}/{name}:ro",
                top.join("data").join(&name).display()
            );
            let one = |key: &str, value: &str| format!("{key}={}\n", quote(value));
            let config = [
                setting("LOWER", &[&layer]),
                one("UPPER", &name),
                one("WORK", &format!("work/{name}")),
                one("LIVE", &format!("live/{name}")),
                setting("BIND", &[bind]),
                setting("TMPFS", &[format!("/srv/{name}")]),
                setting("RUN", &["/bin/sleep", "1000"]),
                one("ENV_X", &name),
            ];
            for dir in ["work", "live"] {
                fs::create_dir(w.join(dir)).unwrap();
            }
            fs::write(w.join("config"), config.concat()).unwrap();
            let before = s.world();
            let tool = |line: &str| {
                let (tool, rest) = line.split_once(' ').unwrap();
                s.tool(tool)
                    .without("SUBHOST")
                    .arg("-S")
                    .arg(&subhost)
                    .args(rest.split(' '))
            };
            tool("subhost-mount w").silent();
            tool("subhost-start w").silent();
            let inside = format!("/mnt/{name}/{name}");
            let cat = tool("subhost-enter w -- cat")
                .arg(format!("{inside}/file"))
                .ok();
            assert_eq!(cat.stdout, name, "{cat}");
            let said = tool("subhost-enter w -- printenv X").run();
            let pwd = tool("subhost-enter -w")
                .arg(&inside)
                .args(["w", "--", "cat", "file"])
                .ok();
            assert_eq!(pwd.stdout, name, "{pwd}");
            let info = tool("subhost-info w").ok();
            for out in [&info, &said] {
                lacks(&out.stderr, &["\u{1b}", "\u{202e}", "panicked"]);
            }
            lacks(&info.stdout, &["\u{1b}", "\u{202e}"]);
            tool("subhost-list -o state,root w").ok();
            tool("subhost-stop --sync w").silent();
            s.same_now(&before);
            fs::remove_dir_all(&top).unwrap();
        }
    });
}

#[test]
fn images_of_strange_names() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        fs::rename(w.path("w.img"), s.base.join("kept.img")).unwrap();
        for name in names() {
            let image = w.path(&name);
            Command::new("cp")
                .arg("--sparse=always")
                .arg(s.base.join("kept.img"))
                .arg(&image)
                .status()
                .unwrap();
            w.config(&format!("IMAGE={}\n", quote(&name)));
            let before = s.world();
            s.tool("subhost-start w").silent();
            s.tool("subhost-start w").silent();
            assert_eq!(s.inside("w", "hostname"), "w");
            s.tool("subhost-stop --sync w").silent();
            s.same_now(&before);
            fs::remove_file(image).unwrap();
        }
    });
}

/// As long as a path may be, and longer.
#[test]
fn long_paths_work_or_are_refused() {
    sandbox(|s| {
        let layer = s.layer("base");
        for (length, works) in [(1000, true), (2000, true), (3900, false), (4060, false)] {
            let mut dir = s.base.join("deep");
            while dir.as_os_str().len() < length {
                let left = length - dir.as_os_str().len();
                dir.push("d".repeat((left - 1).clamp(1, 200)));
            }
            fs::create_dir_all(dir.join("w/root")).unwrap();
            fs::write(dir.join("w/config"), setting("LOWER", &[&layer])).unwrap();
            let before = s.world();
            let tool = |tool: &str| {
                s.tool(tool)
                    .without("SUBHOST")
                    .arg("-S")
                    .arg(&dir)
                    .arg("w")
                    .limit(10)
            };
            let start = tool("subhost-start").run();
            assert!([0, 1, 4, 5].contains(&start.code), "{start}");
            assert!(!works || start.code == 0, "{start}");
            assert!(start.code == 0 || !start.stderr.is_empty(), "{start}");
            lacks(&start.stderr, &["panicked"]);
            let stop = tool("subhost-stop").arg("--sync").run();
            assert!([0, 4].contains(&stop.code), "{stop}");
            s.same_now(&before);
            // A target inside may be as long, and no longer than it can be opened.
            let w = s.bare(&format!("w{length}"), "");
            w.mkdir("root");
            let target = format!("/{}", "t".repeat(200) + "/").repeat(length / 202);
            w.config(&(setting("LOWER", &[&layer]) + &setting("TMPFS", &[target])));
            let before = s.world();
            let name = w.dir.file_name().unwrap().to_str().unwrap();
            let start = s.tool(&format!("subhost-start {name}")).limit(10).run();
            assert!([0, 1].contains(&start.code), "{start}");
            s.tool(&format!("subhost-stop --sync {name}")).ok();
            s.same_now(&before);
        }
    });
}

#[test]
fn names_and_trees_that_are_none_are_refused_in_words() {
    sandbox(|s| {
        let before = s.world();
        let long = vec![b'n'; 4096];
        let names: &[&[u8]] = &[
            b"",
            b".",
            b"..",
            b"../w",
            b"/",
            b"w/",
            b"w/..",
            b"-x",
            b"w\n",
            b"\nw",
            b"w w",
            b"w\xff",
            b"\xc3\xa9",
            b"\x1b[2J",
            b"control",
            b"defaults",
            b".in-use",
            b".netns",
            &long,
        ];
        for name in names.iter().map(|name| OsStr::from_bytes(name)) {
            for tool in [
                "mount", "mount -u", "net", "start", "stop", "list", "info", "config",
            ] {
                let out = s
                    .tool(&format!("subhost-{tool} --"))
                    .arg(name)
                    .limit(10)
                    .run();
                assert_eq!(out.code, 2, "{out}");
                assert!(!out.stderr.is_empty(), "{out}");
                lacks(&out.stderr, &["panicked", "\u{1b}"]);
            }
            let out = s
                .tool("subhost-enter --")
                .arg(name)
                .args(["true"])
                .limit(10)
                .run();
            assert_eq!(out.code, 125, "{out}");
        }
        let trees: &[&[u8]] = &[
            b"/no/such",
            b"\n",
            b"/\xff",
            b"-x",
            b"/dev/null",
            b"/proc/1/fd/0",
            &long,
        ];
        for tree in trees.iter().map(|tree| OsStr::from_bytes(tree)) {
            for tool in ["mount", "start", "stop", "info"] {
                let out = s
                    .tool(&format!("subhost-{tool} w -S"))
                    .arg(tree)
                    .limit(10)
                    .run();
                assert!([1, 2, 4].contains(&out.code), "{out}");
                lacks(&out.stderr, &["panicked"]);
                let env = s
                    .sh("SUBHOST=$1 exec subhost-$2 w")
                    .arg("-")
                    .arg(tree)
                    .arg(tool)
                    .limit(10)
                    .run();
                assert!([1, 2, 4].contains(&env.code), "{env}");
                assert!(!env.stderr.is_empty(), "{env}");
            }
        }
        s.same_now(&before);
    });
}
