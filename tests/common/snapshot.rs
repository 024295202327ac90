//! Snapshots of the host, which a test compares: mounts, links, namespaces, loop devices, cgroups, processes, state.
//! They have all of mountinfo: a mount of the host must not go either.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The host at one moment: for each subject its lines.
#[derive(PartialEq, Eq, Clone)]
pub struct Snapshot(BTreeMap<&'static str, Vec<String>>);

/// One line of mountinfo (`proc_pid_mountinfo(5)`).
pub struct Mount {
    /// The line without the ids of the mount and its parent.
    pub text: String,
    /// The mount point, unescaped.
    pub point: String,
    /// The type.
    pub fstype: String,
}

/// Returns the mounts of this thread's namespace. `/proc/self` has those of the main thread.
pub fn mounts() -> Vec<Mount> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    text.lines().map(parse).collect()
}

fn parse(line: &str) -> Mount {
    let text = line.splitn(3, ' ').nth(2).unwrap();
    let (place, source) = text.split_once(" - ").unwrap();
    let point = place.split(' ').nth(2).unwrap();
    let octal = [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\134", "\\"),
    ];
    Mount {
        text: text.to_owned(),
        point: octal
            .iter()
            .fold(point.to_owned(), |p, (from, to)| p.replace(from, to)),
        fstype: source.split(' ').next().unwrap().to_owned(),
    }
}

/// Returns the processes of a test, inside a subhost and outside: they see the tmpfs at `base`, or have a path below
/// it in their command line.
pub fn processes(base: &Path) -> Vec<(i32, String)> {
    let base = base.to_str().unwrap();
    let devices: Vec<String> = mounts()
        .iter()
        .filter(|m| m.fstype == "tmpfs" && (m.point == base || m.point == "/run"))
        .map(|m| format!(" {} ", m.text.split(' ').next().unwrap()))
        .filter(|device| !host_has(device))
        .collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        if pid == std::process::id().cast_signed() {
            continue;
        }
        let read = |name| fs::read(entry.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let sees = String::from_utf8_lossy(&read("mountinfo")).into_owned();
        let ours = sees.contains(base)
            || command.contains(base)
            || devices.iter().any(|device| sees.contains(device));
        if ours && !command.is_empty() {
            found.push((pid, command.trim_end().to_owned()));
        }
    }
    found
}

fn host_has(device: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/mountinfo", std::process::id()))
        .is_ok_and(|text| text.contains(device))
}

impl Snapshot {
    /// Takes a snapshot of the host of the test at `base`.
    pub fn take(base: &Path) -> Self {
        Self(BTreeMap::from([
            ("mount", mounts().into_iter().map(|m| m.text).collect()),
            ("netns", names(Path::new("/run/netns"))),
            ("link", links()),
            ("loop", loops(base)),
            ("run", run()),
            ("state", state()),
            ("cgroup", cgroups()),
            (
                "process",
                processes(base)
                    .into_iter()
                    .map(|(pid, command)| format!("{pid} {command}"))
                    .collect(),
            ),
        ]))
    }

    /// Returns the lines of one subject.
    pub fn lines(&self, subject: &str) -> &[String] {
        &self.0[subject]
    }

    /// Returns whether there is a link that a stop renamed and the kernel has not removed yet.
    pub fn has_unreaped(&self) -> bool {
        self.lines("link")
            .iter()
            .any(|link| link.starts_with("\"gone"))
    }

    /// Returns the loop devices of this test's files.
    pub fn loops(&self) -> &[String] {
        self.lines("loop")
    }

    /// Returns what went (`-`) and what came (`+`); empty if the two are equal.
    pub fn diff(&self, later: &Self) -> String {
        self.compare(later, &[])
    }

    /// Returns the same without /run/subhost.
    pub fn diff_but_state(&self, later: &Self) -> String {
        self.compare(later, &["state"])
    }

    fn compare(&self, later: &Self, but: &[&str]) -> String {
        let mut text = String::new();
        for (subject, before) in self.0.iter().filter(|(s, _)| !but.contains(s)) {
            let after = &later.0[subject];
            let gone = before.iter().filter(|line| !after.contains(line));
            let come = after.iter().filter(|line| !before.contains(line));
            let start = text.len();
            gone.for_each(|line| writeln!(text, "{subject}: - {line}").unwrap());
            come.for_each(|line| writeln!(text, "{subject}: + {line}").unwrap());
            if text.len() == start && before != after {
                writeln!(
                    text,
                    "{subject}: other order or number:\n{before:#?}\n{after:#?}"
                )
                .unwrap();
            }
        }
        text
    }

    /// Returns the snapshot without the numbers that the kernel gives: devices, peer groups, namespaces, loop
    /// devices, the order of mounts. What a script makes can then be compared with what a tool makes, by whichever of
    /// the two ways it mounts an overlay.
    #[must_use]
    pub fn without_numbers(mut self) -> Self {
        let mounts = self.0.get_mut("mount").unwrap();
        for line in mounts.iter_mut() {
            let words: Vec<String> = line.split(' ').skip(1).map(without_number).collect();
            *line = words
                .join(" ")
                .replace(",lowerdir+=", ":")
                .replacen("rw:", "rw,lowerdir=", 1)
                .replacen("ro:", "ro,lowerdir=", 1)
                .replace(r"\134:", ":")
                .replace(",uuid=on", ""); // Shown for a work directory's first mount only.
        }
        mounts.sort();
        for subject in ["state", "process", "loop", "run", "cgroup"] {
            self.0.insert(subject, Vec::new());
        }
        self
    }
}

fn without_number(word: &str) -> String {
    for start in [
        "shared:",
        "master:",
        "propagate_from:",
        "net:[",
        "/dev/loop",
    ] {
        if word.starts_with(start) {
            return format!("{start}N");
        }
    }
    word.to_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Returns name, alias and bridge of each interface. The MAC address of a bridge follows its ports, so it is left
/// out.
fn links() -> Vec<String> {
    let text = super::Run::host(Path::new("/"), "ip -j link").ok().stdout;
    let links: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut lines: Vec<String> = links
        .as_array()
        .unwrap()
        .iter()
        .map(|link| format!("{} {} {}", link["ifname"], link["ifalias"], link["master"]))
        .collect();
    lines.sort();
    lines
}

fn loops(base: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for device in names(Path::new("/sys/block")) {
        let file = format!("/sys/block/{device}/loop/backing_file");
        if let Ok(text) = fs::read_to_string(file)
            && text.starts_with(base.to_str().unwrap())
        {
            found.push(format!("{device} {}", text.trim_end()));
        }
    }
    found
}

/// Returns the files of /run without our own state and without /run/mount, where mount(8) keeps notes.
fn run() -> Vec<String> {
    let others = ["/run/subhost", "/run/mount"].map(Path::new);
    walk(Path::new("/run"), &|path| !others.contains(&path))
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// Returns the files of /run/subhost with their content. The content of a lock file names its last holder and does
/// not count.
fn state() -> Vec<String> {
    let dir = PathBuf::from("/run/subhost");
    if !dir.exists() {
        return Vec::new();
    }
    let mut lines = vec![dir.display().to_string()];
    for path in walk(&dir, &|_| true) {
        let plain = path
            .symlink_metadata()
            .is_ok_and(|m| m.is_file() && path.file_name() != Some("lock".as_ref()));
        let text = if plain {
            String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned()
        } else {
            String::new()
        };
        lines.push(format!("{} {text}", path.display()));
    }
    lines
}

fn cgroups() -> Vec<String> {
    let tops = mounts()
        .into_iter()
        .filter(|m| m.fstype.starts_with("cgroup"));
    let mut lines = Vec::new();
    for top in tops {
        lines.extend(
            walk(Path::new(&top.point), &|path| path.is_dir())
                .iter()
                .filter(|path| path.is_dir())
                .map(|path| path.display().to_string()),
        );
    }
    lines.sort();
    lines.dedup();
    lines
}

fn walk(dir: &Path, into: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(dir) {
        let path = dir.join(name);
        let is_dir = path.symlink_metadata().is_ok_and(|m| m.is_dir());
        if !into(&path) {
            continue;
        }
        found.push(path.clone());
        if is_dir {
            found.extend(walk(&path, into));
        }
    }
    found
}
