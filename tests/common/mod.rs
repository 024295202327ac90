//! What all integration tests share: a sandbox with namespaces of its own, the tools, a small system
//! tree, terminals, and the world as the kernel tells it.
//!
//! A test reads `sandbox(|s| { ... })` and judges with `findmnt`, `ip -j`, `losetup` and `/proc`,
//! never with our library. The host stays untouched, whatever a test or a tool does wrong.

#![allow(dead_code)] // Every test file is a program of its own and uses its part.
#![allow(unused_imports)]

mod fixture;
#[cfg(target_arch = "x86_64")]
pub mod inject;
mod pty;
mod run;
mod sandbox;
mod tree;
mod user;
mod world;

pub use fixture::Subhost;
pub use pty::Pty;
pub use run::{Background, Output, Run, tools_dir};
pub use sandbox::{Sandbox, sandbox, sandbox_private};
pub use user::{User, first_subid, user};
pub use world::World;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the host's own programs are looked for, by us and by the scripts that tests run.
pub const HOST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Says that a test cannot run here and why. Where all must run (`SUBHOST_MUST_RUN=1`) it fails.
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("SUBHOST_MUST_RUN").is_none_or(|v| v != "1"),
        "cannot run here: {why}"
    );
    println!("SKIP: {why}");
}

/// How much of a sweep or a race to do: `bounded` in `make check`, `full` in `make soak`.
pub fn rounds(bounded: usize, full: usize) -> usize {
    let soak = std::env::var_os("SUBHOST_SOAK").is_some_and(|v| v == "1");
    if soak { full } else { bounded }
}

/// Are these programs of the host there? If not, the test is skipped: `if !need(&["x"]) { return }`.
pub fn need(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|p| program(p).is_none());
    if let Some(missing) = missing {
        skip(&format!("{missing} is not installed"));
    }
    missing.is_none()
}

/// Does the kernel know this file system? As [`need`].
pub fn need_fs(name: &str) -> bool {
    let known = || {
        std::fs::read_to_string("/proc/filesystems")
            .unwrap()
            .split_whitespace()
            .any(|word| word == name)
    };
    if known() {
        return true;
    }
    if let Some(modprobe) = program("modprobe") {
        let _ = std::process::Command::new(modprobe)
            .args(["-q", name])
            .status();
    }
    if !known() {
        skip(&format!("the kernel has no {name}"));
    }
    known()
}

/// The path of a program of the host.
pub fn program(name: &str) -> Option<PathBuf> {
    HOST_PATH
        .split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

/// The examples of subhost-cookbook(7) in their order, each with the heading of its task.
pub fn recipes() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/subhost-cookbook.7");
    let text = std::fs::read_to_string(page).unwrap();
    let text = ["-", "&", "e", "(aq", "(ga", "(ti", "(ha"]
        .iter()
        .zip(["-", "", "\\", "'", "`", "~", "^"])
        .fold(text, |text, (roff, plain)| {
            text.replace(&format!("\\{roff}"), plain)
        });
    let mut recipes = Vec::new();
    for task in text.split("\n.SS ").skip(1) {
        let (heading, body) = task.split_once('\n').unwrap();
        for part in body.split(".EX\n").skip(1) {
            let (block, _) = part.split_once(".EE\n").unwrap();
            recipes.push((heading.to_owned(), block.to_owned()));
        }
    }
    recipes
}

/// The examples of one task there.
pub fn recipe(task: &str) -> String {
    let recipes = recipes().into_iter();
    let found: Vec<String> = recipes
        .filter(|(heading, _)| heading == task)
        .map(|(_, block)| block)
        .collect();
    assert!(
        !found.is_empty(),
        "subhost-cookbook(7) has no task '{task}'"
    );
    found.concat()
}

/// `text` as one word of a shell, whatever is in it.
pub fn quote(text: impl AsRef<str>) -> String {
    format!("'{}'", text.as_ref().replace('\'', r"'\''"))
}

/// A setting whose value is a list of `words`, whatever is in them: quoted once for the list and
/// once for the file.
pub fn setting<T: AsRef<Path>>(key: &str, words: &[T]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|w| quote(w.as_ref().to_str().unwrap()))
        .collect();
    format!("{key}={}\n", quote(words.join(" ")))
}

/// Waits until `now` is true, at most 15 seconds; then the test fails with `what`.
pub fn eventually(what: &str, mut now: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !now() {
        assert!(Instant::now() < end, "did not come true in 15 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that `text` has all `parts`, and prints both if not.
#[track_caller]
pub fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no '{part}' in:\n{text}");
    }
}

/// Asserts that `text` has none of `parts`.
#[track_caller]
pub fn lacks(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(!text.contains(part), "'{part}' is in:\n{text}");
    }
}
