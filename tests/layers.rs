//! The layers of `lib/`: a room uses only rooms on floors below its own.
//!
//! Read from the sources, so that an import that runs upwards fails with its line. Circles between the
//! files of one room are normal Rust and no matter.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up; rooms of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["sys"],
    &["kernel", "confine"],
    &["config"],
    &["plan"],
    &["state"],
    &["root", "net", "cgroup", "image"],
    &["login"],
    &["init"],
    &["boot"],
    &["enter", "rootless"],
    &["subhost"],
    &["report", "check"],
    &["oci", "control", "lab"],
    &["cli"],
];

/// What `lib.rs` passes on under another path, with the room that it is of.
const PASSED_ON: &[(&str, &str)] = &[("envfile", "base"), ("error", "base"), ("program", "cli")];

fn floor(room: &str) -> Option<usize> {
    let of = PASSED_ON.iter().find(|(name, _)| *name == room);
    let room = of.map_or(room, |(_, room)| room);
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The room of a file, by its path below `lib/`.
fn room_of(file: &Path) -> String {
    let first = file.components().next().unwrap();
    let name = first.as_os_str().to_str().unwrap();
    name.trim_end_matches(".rs").to_owned()
}

/// A line without comment and without what is in quotes.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('\\', true) => drop(chars.next()),
            ('"', _) => quoted = !quoted,
            ('/', false) if chars.peek() == Some(&'/') => break,
            (c, false) => code.push(c),
            _ => {}
        }
    }
    code
}

/// The rooms that a text names as `crate::ROOM`, `crate::{ROOM::..., ROOM}` too, each with its line.
fn named(text: &str) -> Vec<(usize, String)> {
    let text: String = text.lines().map(|line| code(line) + "\n").collect();
    let mut found = Vec::new();
    let word = |text: &str| -> String {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    for (at, start) in text.match_indices("crate::") {
        // `$crate::` is this one as others see it.
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push((line, word(rest)));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if depth == 0 && begins && !c.is_whitespace() => {
                    let line = line + group[..at].matches('\n').count();
                    found.push((line, word(&group[at..])));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// What a file names that its room may not use.
fn upward(file: &Path, text: &str) -> Vec<String> {
    let room = room_of(file);
    let Some(own) = floor(&room) else {
        return vec![format!("lib/{}: a room without a floor", file.display())];
    };
    let mut wrong = Vec::new();
    for (line, named) in named(text) {
        let place = format!("lib/{}:{line}", file.display());
        match floor(&named) {
            None => wrong.push(format!("{place}: crate::{named} is no room")),
            Some(floor) if named != room && floor >= own => {
                wrong.push(format!(
                    "{place}: {room} uses {named}, which is not below it"
                ));
            }
            _ => {}
        }
    }
    wrong
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => {
                found.extend((path.extension().is_some_and(|end| end == "rs")).then_some(path))
            }
        }
    }
}

#[test]
fn no_room_uses_what_is_not_below_it() {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("lib");
    let mut files = Vec::new();
    sources(&lib, &mut files);
    assert!(files.len() > 100, "{} sources", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let file = path.strip_prefix(&lib).unwrap();
        if file != Path::new("lib.rs") {
            wrong.extend(upward(file, &fs::read_to_string(&path).unwrap()));
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Nothing but the front ends, and PID 1, which is a program, writes to a terminal or ends a process.
#[test]
fn only_front_ends_print_and_exit() {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("lib");
    let mut files = Vec::new();
    sources(&lib, &mut files);
    let mut wrong = Vec::new();
    for path in files {
        let file = path.strip_prefix(&lib).unwrap();
        if ["cli", "init"].contains(&room_of(file).as_str()) {
            continue;
        }
        for (index, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = code(line);
            // `sys` has the call; what it is used for there is the end of a child.
            let ends = code.contains("process::exit(") || code.contains("sys::exit(");
            if ends || code.contains("println!") || code.contains("print!") {
                wrong.push(format!(
                    "lib/{}:{}: {}",
                    file.display(),
                    index + 1,
                    code.trim()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_upward_import_is_found() {
    let found = |file: &str, text: &str| upward(Path::new(file), text);
    let planted = "use crate::base::error::Error;\nfn f() { crate::cli::messages::print(\"\") }\n";
    let wrong = found("kernel/proc.rs", planted);
    assert_eq!(
        wrong,
        ["lib/kernel/proc.rs:2: kernel uses cli, which is not below it"]
    );
    // In a group, on the same floor, in the middle of a line.
    let grouped = "use crate::{\n    base::{error, name},\n    net::netns, sys,\n};\n";
    assert_eq!(found("root/mod.rs", grouped).len(), 1);
    assert!(found("root/mod.rs", grouped)[0].contains("lib/root/mod.rs:3"));
    assert_eq!(
        found("report/mod.rs", "let a = crate::check::world();\n").len(),
        1
    );
    // By the paths of before, which lib.rs passes on.
    assert_eq!(found("sys/mod.rs", "use crate::error::Error;").len(), 0);
    assert_eq!(found("base/mod.rs", "use crate::program::begin;").len(), 1);
    // Text and comments are no imports; a room that nobody knows is.
    let text = "/// [`crate::cli`]\nlet a = \"crate::cli\"; // crate::cli\n";
    assert_eq!(found("base/words.rs", text).len(), 0);
    assert_eq!(found("attic.rs", "").len(), 1);
    assert_eq!(found("base/words.rs", "use crate::attic::f;").len(), 1);
}

/// What ARCHITECTURE.md and CONTRIBUTING.md name is there, and the table of floors is the one above.
#[test]
fn the_documents_name_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["ARCHITECTURE.md", "CONTRIBUTING.md", "RELEASING.md"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        // Code has odd places between its quotes.
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = word.contains('/') && (word.ends_with(".rs") || word.ends_with(".md"));
            let is_name = word.chars().any(|c| c.is_ascii_uppercase()) && word.contains('/');
            if is_path && !is_name {
                let there = [root.join(word), root.join("lib").join(word)];
                assert!(there.iter().any(|path| path.exists()), "{file}: no {word}");
            }
        }
    }
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let mut floors: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let mut cells = row.split(" | ");
        let Ok(floor) = cells.next().unwrap().parse::<usize>() else {
            continue;
        };
        floors.resize(floor, Vec::new());
        let rooms = cells.next().unwrap().split(", ");
        floors[floor - 1].extend(rooms.map(|room| room.trim_matches('`').to_owned()));
    }
    let is_there = |room: &&&str| root.join("lib").join(room).is_dir();
    let there = FLOORS.iter().map(|rooms| rooms.iter().filter(is_there));
    let there: Vec<Vec<&str>> = there.map(|rooms| rooms.copied().collect()).collect();
    let there: Vec<_> = there
        .into_iter()
        .filter(|rooms| !rooms.is_empty())
        .collect();
    assert_eq!(floors, there);
}
