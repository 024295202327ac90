//! The law of the config grammar, held against the real shells: a file that `envfile` accepts means in
//! dash, bash, `bash --posix` and busybox sh exactly what we read; a quoted string comes back equal.
//!
//! The shells run with an empty environment in a directory of their own, many files in one run, and get
//! only files that we accepted. This must not need root.

mod common;

use common::{rounds, timed};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use subhost::envfile::{SyntaxError, parse, quote};

const SHELLS: &[&[&str]] = &[
    &["dash"],
    &["bash", "--norc", "--noprofile"],
    &["bash", "--norc", "--noprofile", "--posix"],
    &["busybox", "sh"],
];

const SCOPE: &[(&str, &str)] = &[("SUBHOST", "/opt/sub host"), ("NAME", "web-1.a")];

/// The keys that generated files use; after every file all of them are looked at.
const KEYS: &[&str] = &[
    "A", "B", "C", "AB", "Ab", "A1", "_x", "export", "if", "X_A", "SUBHOST", "NAME",
];

/// Says whether all shells are here.
fn shells() -> bool {
    let missing = SHELLS.iter().find(|shell| {
        let mut command = Command::new(shell[0]);
        command
            .args(&shell[1..])
            .args(["-c", ":"])
            .stderr(Stdio::null());
        !command.status().is_ok_and(|status| status.success())
    });
    let Some(shell) = missing else { return true };
    let must_run = std::env::var_os("SUBHOST_MUST_RUN").is_some_and(|value| value == "1");
    assert!(!must_run, "SUBHOST_MUST_RUN=1, but {} is missing", shell[0]);
    println!("SKIP: {} is missing", shell[0]);
    false
}

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unique = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(format!("subhost-grammar-{unique}"));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file's text, and what the keys that are looked at must be after it: None is unset.
struct Case {
    text: Vec<u8>,
    keys: Vec<String>,
    want: Vec<Option<String>>,
}

impl Case {
    /// Some if we accept the text.
    fn of(text: &[u8]) -> Option<Case> {
        let pairs = parse(text, SCOPE).ok()?;
        let mut values: BTreeMap<&str, &str> = SCOPE.iter().copied().collect();
        values.extend(
            pairs
                .iter()
                .map(|pair| (pair.key.as_str(), pair.value.as_str())),
        );
        let mut keys: BTreeSet<&str> = KEYS.iter().copied().collect();
        keys.extend(values.keys());
        Some(Case {
            text: text.to_vec(),
            want: keys
                .iter()
                .map(|key| values.get(key).map(|v| v.to_string()))
                .collect(),
            keys: keys.into_iter().map(str::to_owned).collect(),
        })
    }
}

/// Sources every case's text in every shell. The error describes the first difference.
fn hold_law(directory: &Path, cases: &[Case]) -> Result<(), String> {
    let _clock = timed();
    let mut driver = String::new();
    for (number, case) in cases.iter().enumerate() {
        fs::write(directory.join(format!("f{number}")), &case.text).unwrap();
        // Not the others: a shell forgets what is special about a variable that is unset.
        write!(driver, "unset {}", KEYS.join(" ")).unwrap();
        driver.push('\n');
        for (key, value) in SCOPE {
            writeln!(driver, "{key}='{value}'").unwrap();
        }
        writeln!(driver, ". ./f{number}").unwrap();
        // The status first: it must not be that of printf.
        write!(driver, "printf '%s\\0' \"case {number} $?\"").unwrap();
        case.keys
            .iter()
            .for_each(|key| write!(driver, " \"${{{key}+=}}${key}\"").unwrap());
        driver.push('\n');
    }
    fs::write(directory.join("driver"), driver).unwrap();
    for shell in SHELLS {
        // A shell that stands still is waiting for input: it has none.
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .arg("./driver")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut got = output.stdout.split(|b| *b == 0);
        for (number, case) in cases.iter().enumerate() {
            let status = format!("case {number} 0");
            let values = case.want.iter().map(|value| match value {
                Some(value) => format!("={value}"),
                None => String::new(),
            });
            for (what, want) in std::iter::once(status).chain(values).enumerate() {
                let got = got.next().unwrap_or(b"(nothing more)");
                if got != want.as_bytes() {
                    let text = String::from_utf8_lossy(&case.text);
                    let key = if what == 0 {
                        "its status"
                    } else {
                        &case.keys[what - 1]
                    };
                    let got = String::from_utf8_lossy(got);
                    return Err(format!(
                        "{shell:?} differs in {key}\n file: {text:?}\n  got: {got:?}\n want: {want:?}\n{talk}"
                    ));
                }
            }
        }
        if !talk.is_empty() || !output.status.success() {
            return Err(format!("{shell:?}: {}: {talk}", output.status));
        }
    }
    let made = fs::read_dir(directory).unwrap().count() - 1;
    if made > cases.len() {
        return Err(format!("a file was made: {made} and {}", cases.len()));
    }
    cases
        .iter()
        .enumerate()
        .for_each(|(n, _)| fs::remove_file(directory.join(format!("f{n}"))).unwrap());
    Ok(())
}

/// Runs batches of `size` texts through the law. Gives how many were made, and how many accepted.
fn run_batches(batches: u32, size: usize, text: impl Strategy<Value = String>) -> (usize, usize) {
    let (made, accepted) = (Cell::new(0), Cell::new(0));
    let config = Config {
        cases: batches,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let result =
        TestRunner::new(config).run(&prop::collection::vec(text, size / 2..=size), |texts| {
            let cases: Vec<Case> = texts
                .iter()
                .filter_map(|text| Case::of(text.as_bytes()))
                .collect();
            made.set(made.get() + texts.len());
            accepted.set(accepted.get() + cases.len());
            // A directory for each batch: what a wrong file left would spoil the ones after it.
            hold_law(&Scratch::new().0, &cases).map_err(TestCaseError::fail)
        });
    if let Err(error) = result {
        panic!("{error}");
    }
    (made.get(), accepted.get())
}

/// Characters that some shell, some locale or some encoding treats on its own.
const NASTY: &str = "  \t\n\r'\"\\$`#~*?[]{}()<>|&;!=:,%^@+-_/.aAbBnrx019\
    \u{1}\u{2}\u{7}\u{8}\u{b}\u{c}\u{1b}\u{7f}\u{80}\u{81}\u{88}\u{a0}\u{c1}\u{e9}\u{2028}\u{201c}\u{feff}\u{65e5}\u{1f600}";

fn nasty_char() -> impl Strategy<Value = char> {
    prop_oneof![
        6 => select(NASTY.chars().collect::<Vec<_>>()),
        1 => any::<char>().prop_filter("NUL", |c| *c != '\0'),
    ]
}

fn nasty_string(longest: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(nasty_char(), 0..=longest).prop_map(String::from_iter)
}

fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    select(texts).prop_map(str::to_owned).boxed()
}

fn joined(part: BoxedStrategy<String>, most: usize) -> BoxedStrategy<String> {
    prop::collection::vec(part, 0..=most)
        .prop_map(|parts| parts.concat())
        .boxed()
}

fn word() -> BoxedStrategy<String> {
    let variable = one_of(&[
        "$A", "${A}", "$B", "${B}", "${AB}", "$SUBHOST", "${NAME}", "$A1", "$_x",
    ]);
    let bare = one_of(&[
        "a", "b1", "/", ":", "=", "#", "-", "a#b", "!", "^", "]", "%", "+", ",", "@", ".", "_",
        "0", "==", "x=",
    ]);
    let escape = prop_oneof![
        (b' '..=b'~').prop_map(|c| format!("\\{}", char::from(c))),
        one_of(&[
            "\\\n",
            "\\\n\\\n",
            "\\\t",
            "\\\\",
            "\\\n#",
            "\\~",
            "\\$A",
            "\\{a,b\\}"
        ]),
    ];
    let single = nasty_string(6).prop_map(|s| format!("'{}'", s.replace('\'', "\"")));
    let in_double = prop_oneof![
        4 => one_of(&[
            "a", " ", "'", "\\\\", "\\\"", "\\$", "\\`", "\\\n", "\\n", "\\'", "\\}", "\\ ", "\n", "#", " #", "~",
            ":~", "*", "[a]", "{a,b}", "!", "}", ")", "$(:)", "\\$(:)", "\\!",
        ]),
        3 => variable.clone(),
        2 => one_of(&["$A[", "$A[0]", "$Ab", "$A1", "${A}b", "$A-x", "$A:-x", "$A\\$B", "$A#", "$A'", "${A}}", "$A."]),
        1 => nasty_char().prop_map(|c| format!("\\{c}")),
        3 => nasty_char().prop_filter("it ends or runs", |c| !"\"\\$`".contains(*c)).prop_map(|c| c.to_string()),
    ];
    let double = joined(in_double.boxed(), 5).prop_map(|s| format!("\"{s}\""));
    let refused = one_of(&[
        "~", "*", "[a]", "?", "{a,b}", "$(:)", "`:`", "$'a'", "$\"a\"", "(", ";", "&", "|", "<f",
        ">f", "\r", "é", "${A:-b}", "$1", "$$", "$", "$A\\\nB", "$Aé", "\\é", "\u{1}",
    ]);
    let part = prop_oneof![
        30 => bare, 25 => escape, 30 => single, 40 => double, 20 => variable, 1 => refused,
    ];
    joined(part.boxed(), 5)
}

fn line() -> impl Strategy<Value = String> {
    let lead = one_of(&[
        "",
        "",
        "",
        "",
        " ",
        "\t",
        "export ",
        "export \t",
        "  export  ",
    ]);
    let tail = one_of(&[
        "",
        "",
        "",
        " ",
        "\t",
        " #",
        " # c",
        " # it's \" $(:) `\\",
        " #\\",
        "#no",
        " # é",
    ]);
    let assignment = (lead, select(KEYS), word(), tail);
    prop_oneof![
        20 => assignment.prop_map(|(lead, key, word, tail)| format!("{lead}{key}={word}{tail}")),
        3 => one_of(&["", " ", "\t", "#", " # x", "# it's \\", "#A=1", "A=", "A= # c", "A=#c", "A=''", "A=\"\"''"]),
        1 => one_of(&[
            "A= 1", "A =1", "A", "export", "export A", "A=1 B=2", "A+=1", "A[0]=1", "\\", ":", "1A=2", "UID=1",
            "A=1 \\", "exp\\\nort A=1", "A\\\n=1", "\\\nA=1", "A=1 \\\n# c",
        ]),
    ]
}

/// Files that are nasty and yet mostly accepted. A and B are set at first, so that `$A` often is known.
fn file() -> impl Strategy<Value = String> {
    let first = (nasty_string(5), nasty_string(5));
    (first, prop::collection::vec(line(), 0..4), any::<bool>()).prop_map(|((a, b), lines, end)| {
        let first = format!("A={}\nB={}\nAB=ab\nA1=one\n_x='  '\n", quote(&a), quote(&b));
        let end = if end { "\n" } else { "" };
        format!("{first}{}{end}", lines.join("\n"))
    })
}

/// Such files with one to three characters put in, taken out, doubled or exchanged.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..4_u8, nasty_char());
    (file(), prop::collection::vec(change, 1..=3)).prop_map(|(text, changes)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (place, how, c) in changes {
            let at = place.index(chars.len() + 1);
            match how {
                0 => chars.insert(at, c),
                _ if at == chars.len() => chars.push(c),
                1 => drop(chars.remove(at)),
                2 => chars.insert(at, chars[at]),
                _ => chars[at] = c,
            }
        }
        chars.into_iter().collect()
    })
}

#[test]
fn quoted_strings_come_back_equal() {
    if !shells() {
        return;
    }
    let key = |export: bool, quoted: String| match export {
        true => format!("export A={quoted}\n"),
        false => format!("A={quoted}\n"),
    };
    let text = (any::<bool>(), nasty_string(12)).prop_map(move |(export, value)| {
        let text = key(export, quote(&value));
        let pairs = parse(text.as_bytes(), SCOPE).unwrap();
        assert_eq!(pairs[0].value, value, "{text:?}");
        text
    });
    let (made, accepted) = run_batches(10, 400, text);
    assert_eq!(made, accepted);
}

#[test]
fn every_character_comes_back_in_every_kind_of_word() {
    if !shells() {
        return;
    }
    let characters = (1..0x250)
        .chain([0x2028, 0x201c, 0xfeff, 0xfffd, 0x1f600])
        .filter_map(char::from_u32);
    let texts = characters.flat_map(|c| {
        let q = quote(&c.to_string());
        [
            format!("A={q}\nB=$A\"$A\"${{A}}\nexport C=\"$A\"\n"),
            format!("A=\"{c}\"\nB=x\"\\{c}\"\n"),
            format!("A=\\{c}\nexport B=\\{c}x\n"),
            format!("A={c}\nB=x{c}y\nexport C=x{c}\n"),
            format!("A=1\nB=\"$A{c}\"\n"),
            format!("A=1 #{c}\n"),
            format!("C=s\nexport A=\"\\{c}$C\"\nB=\"$C{c}$C\\{c}\"'\\{c}'\"$C\"\n"),
        ]
    });
    let cases: Vec<Case> = texts.filter_map(|text| Case::of(text.as_bytes())).collect();
    assert!(cases.len() > 1800, "{} accepted", cases.len());
    hold_law(&Scratch::new().0, &cases).unwrap();
}

/// The same with `batches` shared among all processors.
fn run_everywhere<S: Strategy<Value = String>>(
    batches: usize,
    text: impl Fn() -> S + Sync,
) -> (usize, usize) {
    let _clock = timed();
    let many = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let text = &text;
        let share = batches.div_ceil(many).try_into().unwrap();
        let all: Vec<_> = (0..many)
            .map(|_| scope.spawn(move || run_batches(share, 400, text())))
            .collect();
        all.into_iter()
            .map(|one| one.join().unwrap())
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    })
}

#[test]
fn accepted_files_mean_what_we_read() {
    if !shells() {
        return;
    }
    // A batch has 300 files on average: in full a million.
    let batches = rounds(16, 1_000_000 / 300 / 2);
    let (made, accepted) = run_everywhere(batches, file);
    println!("{accepted} of {made} accepted");
    assert!(accepted * 2 > made, "only {accepted} of {made} accepted");
    let (made, accepted) = run_everywhere(batches, mutated);
    println!("{accepted} of {made} accepted after mutation");
    assert!(
        accepted * 5 > made,
        "only {accepted} of {made} accepted after mutation"
    );
}

/// What the grammar must accept, because people write it, and what it means.
#[test]
fn accepted_examples() {
    let examples: &[(&str, &[(&str, &str)])] = &[
        ("", &[]),
        ("\n \n\t# only a comment \\\n#", &[]),
        ("A=1", &[("A", "1")]),
        ("  A=1  # c \\\nB=2", &[("A", "1"), ("B", "2")]),
        ("export A=1\n export\tB=2 \n", &[("A", "1"), ("B", "2")]),
        (
            "A=\nB= # c\nC=''\nAB=\"\"",
            &[("A", ""), ("B", ""), ("C", ""), ("AB", "")],
        ),
        (
            "A=a#b\nB=#c\nC=''#d\nAB=\\\n#e",
            &[("A", "a#b"), ("B", "#c"), ("C", "#d"), ("AB", "#e")],
        ),
        ("A='a'\"b\"c\\ d''e", &[("A", "abc de")]),
        (
            "A=\"\\\\ \\\" \\$ \\` \\n \\\nx ' !\"",
            &[("A", "\\ \" $ ` \\n x ' !")],
        ),
        ("A='\\ \" $x `\n#'", &[("A", "\\ \" $x `\n#")]),
        ("A=a\\\nb\\\n", &[("A", "ab")]),
        (
            "A='1 2'\nB=$A/${A}x\"$A[0]\"",
            &[("A", "1 2"), ("B", "1 2/1 2x1 2[0]")],
        ),
        (
            "A=1\nAb=2\nB=$Ab${A}b",
            &[("A", "1"), ("Ab", "2"), ("B", "21b")],
        ),
        ("A=1\nA=$A$A\n", &[("A", "1"), ("A", "11")]),
        ("A=$SUBHOST/$NAME", &[("A", "/opt/sub host/web-1.a")]),
        ("NAME=x\nA=$NAME", &[("NAME", "x"), ("A", "x")]),
        ("export A=\"$NAME\"", &[("A", "web-1.a")]),
        (
            "export=1\nif=2\nexport export=3",
            &[("export", "1"), ("if", "2"), ("export", "3")],
        ),
        ("A='é'\"\u{201c}\" # é", &[("A", "é\u{201c}")]),
        ("A=a=b:c,d+e@f%g^h!i]j", &[("A", "a=b:c,d+e@f%g^h!i]j")]),
        ("A='x\r\ny'", &[("A", "x\r\ny")]),
        (
            "HOSTNAME=web\nMEMORY=64M\nENV_LANG=C",
            &[("HOSTNAME", "web"), ("MEMORY", "64M"), ("ENV_LANG", "C")],
        ),
    ];
    let mut cases = Vec::new();
    for (text, want) in examples {
        let pairs = parse(text.as_bytes(), SCOPE).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        let got: Vec<(&str, &str)> = pairs
            .iter()
            .map(|p| (p.key.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(&got, want, "{text:?}");
        cases.extend(Case::of(text.as_bytes()));
    }
    let pairs = parse(b"\nA='x\ny'\n\\\n", SCOPE).map_err(|e| (e.line, e.column));
    assert_eq!(pairs, Err((4, 1)));
    let pairs = parse(b"\nA='x\ny'\n # c\n export B=\\\n1\nC=2", SCOPE).unwrap();
    assert_eq!(pairs.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 5, 7]);
    if shells() {
        hold_law(&Scratch::new().0, &cases).unwrap();
    }
}

fn refused(text: &[u8]) -> SyntaxError {
    match parse(text, SCOPE) {
        Ok(pairs) => panic!(
            "{:?} was accepted: {pairs:?}",
            String::from_utf8_lossy(text)
        ),
        Err(error) => error,
    }
}

/// What can be told of a file that holds secrets.
#[test]
fn a_bare_refusal_shows_nothing_of_a_value() {
    for text in [
        "A=secret secret",
        "A=secret B=secret",
        "A='secret",
        "A=\"secret",
        "A=$secret",
        "A=${secret:-secret}",
        "secret=1\nA=$secre",
        "export A=$secret",
        "A=(secret)",
        "A=secret;secret",
        "A= secret",
        "secret",
        "secret+=secret",
        "A=secret\u{e9}",
        "A=secret\\",
    ] {
        let error = refused(text.as_bytes());
        assert!(error.to_string().contains("secre"), "{text}");
        assert!(!error.bare.contains("secre"), "{text}: {}", error.bare);
    }
    // The key's name helps, and is no secret.
    assert!(
        refused(b"PATH=secret")
            .bare
            .starts_with("PATH is a variable")
    );
    let unquoted = refused(b"A=a;b").bare;
    assert!(
        unquoted.starts_with("unquoted ...: a shell would end"),
        "{unquoted}"
    );
}

/// Text, line, column, and what message and hint must say.
#[test]
fn refused_examples() {
    let examples: &[(&str, usize, usize, &str, &str)] = &[
        ("A=$(id)", 1, 3, "run or compute", "\\$"),
        ("A=$((1))", 1, 3, "run or compute", "\\$"),
        ("A=\"x$(id)\"", 1, 5, "run or compute", "\\$"),
        ("A=1\nB=`id`", 2, 3, "run a command", "\\`"),
        ("A=\"`id`\"", 1, 4, "run a command", "\\`"),
        ("A=1;B=2", 1, 4, "unquoted ;", "one assignment a line"),
        ("A=1 ; B=2", 1, 5, "second word", "quotes"),
        ("A=a&", 1, 4, "unquoted &", "quotes"),
        ("A=a|b", 1, 4, "unquoted |", "quotes"),
        ("A=<f", 1, 3, "unquoted <", "quotes"),
        ("A=a>f", 1, 4, "unquoted >", "quotes"),
        ("A=*.c", 1, 3, "unquoted *", "quotes"),
        ("A=a?", 1, 4, "unquoted ?", "quotes"),
        ("A=[ab]", 1, 3, "unquoted [", "quotes"),
        ("A=~/x", 1, 3, "home", "in full"),
        ("A=x:~/x", 1, 5, "home", "in full"),
        ("A=''~", 1, 5, "home", "in full"),
        ("A=(a b)", 1, 3, "no arrays", "words in quotes"),
        ("A[1]=a", 1, 2, "no arrays", "a key for each"),
        ("A() { :; }", 1, 2, "no functions", "ever run"),
        ("export A={a,b}", 1, 10, "braces", "quotes"),
        ("A=1 B=2", 1, 5, "two assignments", "one a line"),
        ("A=a b", 1, 5, "second word", "quotes"),
        ("A = 1", 1, 2, "blank before =", "KEY=value"),
        ("A= 1", 1, 3, "blank after =", "KEY=value"),
        ("export = 1", 1, 8, "where a key", "KEY=value"),
        ("echo hello", 1, 1, "echo without =", "no command"),
        ("A", 1, 1, "A without =", "KEY=value"),
        ("export A", 1, 8, "A without =", "KEY=value"),
        ("export ", 1, 8, "export without a key", "export KEY=value"),
        ("export\n", 1, 1, "export without =", "KEY=value"),
        ("export -p", 1, 8, "- where a key", "KEY=value"),
        ("=1", 1, 1, "where a key", "KEY=value"),
        ("\"A\"=1", 1, 1, "where a key", "KEY=value"),
        ("1A=1", 1, 1, "digit", "KEY=value"),
        ("A-B=1", 1, 2, "- in a key", "letters, digits and _"),
        ("A+=1", 1, 2, "bash alone", "A=\"${A}...\""),
        ("\\\nA=1", 1, 1, "where a key", "KEY=value"),
        ("A=1 \\\n", 1, 5, "second word", "quotes"),
        ("A=x\\", 1, 4, "end of the file", "newline"),
        ("A=\\\n\\\n\\\\", 3, 1, "end of the file", "newline"),
        ("B=${A:-x}", 1, 3, "compute", "only ${A}"),
        ("B=${#A}", 1, 3, "compute", "${NAME}"),
        ("B=${}", 1, 3, "compute", "${NAME}"),
        ("B=${A", 1, 3, "compute", "only ${A}"),
        ("B=$1", 1, 3, "$1 is the shell's own", "\\$"),
        ("B=\"$?\"", 1, 4, "$? is the shell's own", "\\$"),
        ("B=$$", 1, 3, "$$ is the shell's own", "\\$"),
        ("B=$'a'", 1, 3, "bash alone", "leave out"),
        ("B=$\"a\"", 1, 3, "bash alone", "leave out"),
        ("B=\"a$\"", 1, 5, "$ without a name", "\\$"),
        ("B=$", 1, 3, "$ without a name", "\\$"),
        ("B=$A", 1, 3, "A is not set above", "SUBHOST and NAME"),
        ("B=$B", 1, 3, "B is not set above", "SUBHOST and NAME"),
        ("B=$HOME", 1, 3, "HOME is not set above", ""),
        (
            "BRIDGES=1\nB=$BRIDGE",
            2,
            3,
            "BRIDGE is not set above",
            "did you mean BRIDGES?",
        ),
        ("B=$subhost", 1, 3, "not set above", "did you mean SUBHOST?"),
        ("A=1\nB=$A\\\nb", 2, 5, "where the name ends", "${A}"),
        ("A=1\nB=\"$A\\\nb\"", 2, 6, "where the name ends", "${A}"),
        ("A=1\nB=\"$Aé\"", 2, 6, "where the name ends", "${A}"),
        ("A=1\nexport B=$A", 2, 10, "after export", "\"$A\""),
        ("A=1\nB='x\ny\n", 2, 3, "' is never closed", "closing '"),
        ("A=1\nB=é\"x\ny\n", 2, 3, "é outside quotes", "quotes"),
        ("A=1\nB=x\"x\ny\n", 2, 4, "\" is never closed", "closing \""),
        ("A=1\r\nB=2\r\n", 1, 4, "carriage return", "Windows"),
        ("# c\r\nA=1\r\n", 1, 4, "carriage return", "Windows"),
        ("\r\nA=1\r\n", 1, 1, "carriage return", "Windows"),
        ("A='a\r\nb'\r\n", 2, 3, "carriage return", "Windows"),
        ("A=\\\r\n", 1, 4, "carriage return", "Windows"),
        ("A=a\0", 1, 4, "NUL", "text"),
        ("A=\u{1}", 1, 3, "U+0001", "quotes"),
        ("A=a\u{c}", 1, 4, "U+000C", "quotes"),
        ("A=\"a\\\u{1}\"", 1, 6, "U+0001", "single quotes"),
        ("A=\"a\u{7f}\"", 1, 5, "U+007F", "single quotes"),
        ("# \u{1b}[2J", 1, 3, "U+001B", ""),
        ("\u{feff}A=1", 1, 1, "byte order mark", "without"),
        ("A=ä", 1, 3, "ä outside quotes", "quotes"),
        ("ä=1", 1, 1, "ä outside quotes", ""),
        ("A=“x”", 1, 3, "no quote to a shell", "write '"),
        ("\tA='é' ~", 1, 8, "second word", "quotes"),
        (
            "UID=1",
            1,
            1,
            "UID is a variable that shells set",
            "another name",
        ),
        (
            "export PATH=/bin",
            1,
            8,
            "PATH is a variable",
            "another name",
        ),
        ("BASH_ENV=x", 1, 1, "BASH_ENV is a variable", "another name"),
        ("ENV=x", 1, 1, "ENV is a variable", "another name"),
        ("_=x", 1, 1, "_ is a variable", "another name"),
        (
            "LC_ALL=ja_JP.SJIS",
            1,
            1,
            "LC_ALL is a variable",
            "another name",
        ),
    ];
    for (text, line, column, message, hint) in examples {
        let error = refused(text.as_bytes());
        assert_eq!(
            (error.line, error.column),
            (*line, *column),
            "{text:?}: {error}"
        );
        assert!(error.message.contains(message), "{text:?}: {error}");
        assert!(error.hint.contains(hint), "{text:?}: {error}");
    }
    let error = refused(b"A=1\nB='\xc3\xa9'\xff\xfe~\n");
    assert_eq!((error.line, error.column), (2, 6), "{error}");
    assert!(error.message.contains("not UTF-8"));
    let error = refused(&vec![b'\n'; (1 << 20) + 1]);
    assert!(error.message.contains("larger than 1 MiB"));
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn errors_point_at_the_place() {
    let want = "2:4: unquoted ~: a shell might put a home directory (quote it, or write the path in full)\n  \tB=~\n  \t  ^";
    assert_eq!(refused(b"A=1\n\tB=~\nC=2").to_string(), want);
    // What would steer a terminal or turn the text around is shown, and counts as one.
    let error = refused("A='\u{1b}\u{202e}\u{9b}'*".as_bytes());
    assert_eq!(
        (error.column, error.source.as_str()),
        (8, "A='\u{241b}\u{fffd}\u{fffd}'*")
    );
    let long = format!("A={}*{}", "x".repeat(5000), "y".repeat(5000));
    let shown = refused(long.as_bytes()).to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(shown.len() < 500, "{shown}");
    assert_eq!(lines[1].find('*'), lines[2].find('^'));
}

/// Every name that a shell's own file contains and that could be one of its variables is refused, or
/// is an ordinary variable there.
#[test]
fn no_accepted_key_is_special_to_a_shell() {
    if !shells() {
        return;
    }
    let mut names = BTreeSet::new();
    for shell in ["dash", "bash", "busybox"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .find_map(|directory| fs::read(directory.join(shell)).ok())
            .unwrap();
        let allowed = |b: &u8| *b == b'_' || b.is_ascii_uppercase() || b.is_ascii_digit();
        for name in found
            .split(|b| !allowed(b))
            .filter(|name| (2..30).contains(&name.len()))
        {
            let name = String::from_utf8(name.to_vec()).unwrap();
            names.extend(Some(name).filter(|name| !name.starts_with(|c: char| c.is_ascii_digit())));
        }
    }
    // Machine code is full of short names: those that are only there are not worth a shell's time.
    names.retain(|name| name.len() > 3 || ["PS", "UID", "ENV", "IFS"].contains(&name.as_str()));
    let texts = names.iter().map(|name| format!("{name}='a b'\nC=$NAME\n"));
    let cases: Vec<Case> = texts.filter_map(|text| Case::of(text.as_bytes())).collect();
    println!("{} names, {} accepted", names.len(), cases.len());
    assert!(cases.len() > 100 && names.contains("POSIXLY_CORRECT") && names.contains("SHELLOPTS"));
    hold_law(&Scratch::new().0, &cases).unwrap();
}

/// Something that a file may hold many times: a piece of a file, with bytes that are no text in it.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..3);
    (mutated(), any::<prop::sample::Index>(), 1..24_usize, bytes).prop_map(
        |(text, start, length, bytes)| {
            let text = text.into_bytes();
            let start = start.index(text.len());
            let end = (start + length).min(text.len());
            [&text[start..end], &bytes].concat()
        },
    )
}

proptest! {
    #![proptest_config(Config { cases: rounds(60, 5000) as u32, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_repetition_takes_more_than_linear_time(first in mutated(), piece in piece(), end in piece()) {
        let mut text = first.into_bytes();
        text.extend(piece.repeat(((1 << 20) - 2000) / piece.len()));
        text.extend(end);
        let start = Instant::now();
        let _ = parse(&text, SCOPE).map_err(|error| error.to_string());
        prop_assert!(start.elapsed() < Duration::from_secs(3), "took {:?}", start.elapsed());
    }
}

proptest! {
    #![proptest_config(Config { cases: rounds(2000, 200_000) as u32, failure_persistence: None, ..Config::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = parse(&bytes, SCOPE) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn changed_bytes_never_panic(text in mutated(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = text.into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let pairs = parse(&text, SCOPE).unwrap_or_default();
        for pair in pairs {
            let again = parse(format!("A={}", quote(&pair.value)).as_bytes(), &[]).unwrap();
            prop_assert_eq!(&again[0].value, &pair.value);
        }
    }

    #[test]
    fn places_lie_in_the_text(text in mutated()) {
        if let Err(error) = parse(text.as_bytes(), SCOPE) {
            let line = text.split('\n').nth(error.line - 1);
            prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1), "{}", error);
            prop_assert!(error.to_string().contains('^'));
        }
    }

    #[test]
    fn cut_files_never_panic(text in file(), cut in any::<prop::sample::Index>()) {
        let _ = parse(&text.as_bytes()[..cut.index(text.len() + 1)], SCOPE).map_err(|e| e.to_string());
    }
}

#[test]
fn a_mebibyte_of_anything_is_read_in_linear_time() {
    const SIZE: usize = 1 << 20;
    let filled = |start: &str, part: &str| {
        let mut text = start.to_owned();
        text.push_str(&part.repeat((SIZE - start.len()) / part.len()));
        text
    };
    let many_keys: String = (0..60_000).map(|i| format!("KEY_{i}=1\n")).collect();
    let texts = [
        filled("", "\n"),
        filled("", " "),
        filled("", "# x\n"),
        filled("#", "\\"),
        filled("", "A=\n"),
        filled("", "A=\\\n"),
        filled("A=", "\\\n"),
        filled("A=", "''"),
        filled("A=", "\"\""),
        filled("A=\"", "\\"),
        filled("A=\"", "\n"),
        filled("A='", "\n"),
        filled("A='", "\"'"),
        filled("A=1\nB=", "$A"),
        filled("A=1\n", "A=$A$A\n"),
        filled("A=1\n", "B=\"${A}\"\n"),
        filled("A=\"$", "A"),
        filled("A", "B"),
        filled("export ", "export "),
        filled("A=~\n", "x\n"),
        filled("A=", "\u{e9}"),
        filled("A='", "\u{1f600}"),
        format!("{many_keys}A=$KEY_99999\n"),
        format!("{many_keys}A=${}", "K".repeat(SIZE - many_keys.len() - 3)),
    ];
    for text in texts {
        assert!(text.len() <= SIZE && text.len() > SIZE / 2);
        let start = Instant::now();
        let _ = parse(text.as_bytes(), SCOPE).map_err(|error| error.to_string());
        let took = start.elapsed();
        let begin: String = text.chars().take(20).collect();
        assert!(took < Duration::from_secs(3), "{begin:?}... took {took:?}");
    }
    let error = refused(filled("A=1\n", "A=$A$A\n").as_bytes());
    assert!(error.message.contains("grow beyond"), "{error}");
}
