//! What the integration tests share: a sandbox with namespaces of its own, the tools, small system trees,
//! terminals, and snapshots of the host.
//!
//! A test reads `sandbox(|s| { ... })`, or `started("CONFIG", |s, w| { ... })`. It looks with `findmnt`, `ip -j`,
//! `losetup` and `/proc`, never with our library. Nothing of it reaches the machine itself: `tests/README.md`.

#![allow(dead_code)] // Every test file is a program of its own and uses its part.
#![allow(unused_imports)]

mod fixture;
#[cfg(target_arch = "x86_64")]
pub mod inject;
mod pty;
mod run;
mod sandbox;
mod snapshot;
mod times;
mod tree;
mod user;

pub use fixture::{
    KINDS, Subhost, assert_network_refused, assert_refused, in_each_state, set_mode, started,
    write_script,
};
pub use pty::Pty;
pub use run::{Background, Output, Run, tools_dir};
pub use sandbox::{Sandbox, sandbox, sandbox_private};
pub use snapshot::Snapshot;
pub use times::timed;
pub use user::{User, first_subid, user};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// PATH of the host's programs, for the harness and the scripts of tests.
pub const HOST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Prints that a test cannot run here, and why. With `SUBHOST_MUST_RUN=1` the test fails.
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("SUBHOST_MUST_RUN").is_none_or(|v| v != "1"),
        "cannot run here: {why}"
    );
    println!("SKIP: {why}");
}

/// Returns `bounded`, or `full` with `SUBHOST_SOAK=1`.
pub fn rounds(bounded: usize, full: usize) -> usize {
    let soak = std::env::var_os("SUBHOST_SOAK").is_some_and(|v| v == "1");
    if soak { full } else { bounded }
}

/// Returns whether these programs are installed. If not, the test is skipped: `if !need(&["x"]) { return }`.
pub fn need(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|p| program(p).is_none());
    if let Some(missing) = missing {
        skip(&format!("{missing} is not installed"));
    }
    missing.is_none()
}

/// Returns whether the kernel has this file system, as [`need`].
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

/// Returns the path of a program of the host.
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

/// Returns `text` quoted as one word for a shell.
pub fn quote(text: impl AsRef<str>) -> String {
    format!("'{}'", text.as_ref().replace('\'', r"'\''"))
}

/// Returns a config line whose value is a list of `words`: quoted once for the list and once for the file.
pub fn setting<T: AsRef<Path>>(key: &str, words: &[T]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|w| quote(w.as_ref().to_str().unwrap()))
        .collect();
    format!("{key}={}\n", quote(words.join(" ")))
}

/// Waits until `now` is true. After 15 seconds the test fails with `what`.
pub fn eventually(what: &str, mut now: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !now() {
        assert!(Instant::now() < end, "did not come true in 15 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that `text` contains all `parts`.
#[track_caller]
pub fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no '{part}' in:\n{text}");
    }
}

/// Asserts that `text` contains none of `parts`.
#[track_caller]
pub fn assert_lacks(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(!text.contains(part), "'{part}' is in:\n{text}");
    }
}
