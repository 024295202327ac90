//! Manual pages of section 8 and completions are made from the command lines' definitions,
//! subhost.config(5) from the table of keys, and all are kept in the tree. Here the two are compared;
//! with `BLESS=1` the kept ones are written anew.

use clap_complete::Shell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use subhost::config::keys::{Form, GROUPS, Group, Row};

fn keep(path: &Path, made: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let kept = fs::read(&path).unwrap_or_default();
    assert!(
        kept == made,
        "{} is not what the definitions say: BLESS=1 cargo test --test pages",
        path.display()
    );
}

/// What every page ends with.
const SEE_ALSO: &str = ".SH \"SEE ALSO\"\n\
    .BR subhost (7),\n.BR subhost.config (5),\n.BR subhost\\-mount (8),\n.BR subhost\\-net (8),\n\
    .BR subhost\\-enter (8),\n.BR subhost\\-start (8),\n.BR subhost\\-stop (8),\n\
    .BR subhost\\-list (8),\n.BR subhost\\-info (8),\n.BR subhost\\-limit (8),\n.BR subhost\\-config (8),\n\
    .BR subhost\\-check (8)\n";

#[test]
fn manual_pages() {
    for command in subhost::cli::commands() {
        let name = command.get_name().to_owned();
        let version = format!("subhost {}", env!("CARGO_PKG_VERSION"));
        let man = clap_mangen::Man::new(command)
            .section("8")
            .source(version)
            .manual("Subhosts");
        let mut page = Vec::new();
        man.render_title(&mut page).unwrap();
        man.render_name_section(&mut page).unwrap();
        man.render_synopsis_section(&mut page).unwrap();
        man.render_description_section(&mut page).unwrap();
        man.render_options_section(&mut page).unwrap();
        // Examples and statuses keep their lines.
        page.extend_from_slice(b".SH EXAMPLES AND STATUS\n.nf\n");
        let after = subhost::cli::commands()
            .into_iter()
            .find(|other| other.get_name() == name)
            .and_then(|other| other.get_after_help().map(ToString::to_string));
        for line in after.unwrap_or_default().lines() {
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            let guard = if line.starts_with(['.', '\'']) {
                "\\&"
            } else {
                ""
            };
            page.extend_from_slice(format!("{guard}{line}\n").as_bytes());
        }
        page.extend_from_slice(b".fi\n");
        page.extend_from_slice(SEE_ALSO.as_bytes());
        keep(&PathBuf::from(format!("man/{name}.8")), &page);
    }
}

#[test]
fn completions() {
    for mut command in subhost::cli::commands() {
        let name = command.get_name().to_owned();
        for (shell, file) in [
            (Shell::Bash, format!("bash/{name}")),
            (Shell::Zsh, format!("zsh/_{name}")),
            (Shell::Fish, format!("fish/{name}.fish")),
        ] {
            let mut made = Vec::new();
            clap_complete::generate(shell, &mut command, &name, &mut made);
            keep(&Path::new("contrib/completions").join(file), &made);
        }
    }
}

/// subhost.config(5): its frame, and the table of keys in the place of the mark.
#[test]
fn settings() {
    let frame = frame();
    let from = frame.find(".TH").unwrap();
    let (before, after) = frame[from..].split_once(".\\\" KEYS\n").unwrap();
    let mut page = String::from(
        ".\\\" Made of subhost.config.5.in and lib/config/table.rs: BLESS=1 cargo test --test pages\n",
    );
    page.push_str(before);
    for group in GROUPS {
        page.push_str(&section(group));
    }
    page.push_str(after);
    keep(Path::new("man/subhost.config.5"), page.as_bytes());
}

fn frame() -> String {
    let frame = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/subhost.config.5.in");
    fs::read_to_string(frame).unwrap()
}

/// The parser accepts each line of a key's examples after those before it, and each key has one.
#[test]
fn examples_of_keys() {
    for row in GROUPS.iter().flat_map(|group| group.rows) {
        let (body, examples) = parts(row.text);
        let verb = body.split_whitespace().next().unwrap();
        assert!(verb.ends_with('s'), "{}: '{verb}' is no verb", row.key);
        assert!(!examples.is_empty(), "{} has no example", row.key);
        let mut file = needed(row.key).to_owned();
        for line in examples {
            let (key, _) = line.split_once('=').unwrap();
            let same = match row.form {
                Form::Fixed(_) => key == row.key,
                Form::Numbered(_) | Form::Prefix(_) => {
                    key.starts_with(row.key) && subhost::config::keys::kind(key).is_ok()
                }
            };
            assert!(same, "{line} is an example of {}", row.key);
            // Behind "Example: " on a terminal of 80 columns.
            assert!(line.len() <= 78 - 14 - 9, "{line} is too long for the page");
            file += &format!("{line}\n");
            accepted(&file);
        }
    }
}

/// What must be set for the examples of a key to have a meaning.
fn needed(key: &str) -> &'static str {
    match key {
        "ADDR" | "MTU" => "BRIDGES=\"br0 br1\"\n",
        "GATEWAY" => "BRIDGES=br0\nADDR0=\"192.0.2.10/24 2001:db8::10/64\"\n",
        "IMAGE_PARTITION" | "IMAGE_FSTYPE" | "IMAGE_OPTIONS" => "IMAGE=/srv/images/web.img\n",
        "MEMORY_SWAP" => "MEMORY=512M\n",
        "DISK" => "VOLATILE=yes\n",
        _ => "",
    }
}

/// The configs that the frame shows are accepted, and the first sets all of the usual keys.
#[test]
fn examples_of_the_frame() {
    let frame = frame();
    let shown = |block: &str| block.split(".EE\n").next().unwrap().to_owned();
    let plain = |text: String| text.replace("\\-", "-").replace("\\e", "\\");
    let blocks = frame.split(".EX\n").skip(1).map(shown).map(plain);
    let configs: Vec<String> = blocks.filter(|block| !block.contains("$(")).collect();
    assert!(configs.len() >= 2);
    configs.iter().for_each(|config| accepted(config));
    let usual = frame
        .split(".SH ")
        .find(|part| part.starts_with("USUAL KEYS"));
    let lines = usual.unwrap().lines();
    let keys: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix(".B ").or(line.strip_prefix(".BI ")))
        .map(|key| key.strip_suffix(" i").unwrap_or(key))
        .collect();
    assert_eq!(keys.len(), 10, "{keys:?}");
    for key in keys {
        let mut set = configs[0].lines().filter_map(|line| line.split_once('='));
        assert!(set.any(|(set, _)| set.starts_with(key)), "{key}");
    }
}

/// Checks that `text` is accepted as a config.
fn accepted(text: &str) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pages-{count}"));
    fs::create_dir_all(tree.join("web")).unwrap();
    fs::write(tree.join("web/config"), text).unwrap();
    let name = subhost::Name::new("web").unwrap();
    let config = subhost::Config::load(&tree, &name, &[]);
    fs::remove_dir_all(&tree).unwrap();
    if let Err(error) = config {
        panic!("{error}\n{text}");
    }
}

fn section(group: &Group) -> String {
    // What goes for all has no indent.
    let about = roff(group.about).replace(".IP\n", ".PP\n");
    let mut page = format!(".SH {}\n{about}", group.heading);
    for row in group.rows {
        let (body, examples) = parts(row.text);
        let (takes, default) = takes(row);
        let takes = match takes {
            "" => String::new(),
            takes => format!(" ({takes})"),
        };
        page.push_str(&format!(".TP\n{}{takes}\n{}", name(row), roff(&body)));
        let effect = row.effect.as_str();
        page.push_str(".IP\n.EX\n");
        for line in [format!("Default: {default}"), format!("Applies: {effect}")] {
            page.push_str(&format!("{}\n", literal(&line)));
        }
        for (at, example) in examples.iter().enumerate() {
            let label = if at == 0 { "Example:" } else { "        " };
            page.push_str(&format!("{}\n", literal(&format!("{label} {example}"))));
        }
        page.push_str(".EE\n");
    }
    page
}

/// A key as the page heads its text.
fn name(row: &Row) -> String {
    let key = format!("\\fB{}\\fP", literal(row.key));
    match row.form {
        Form::Fixed(_) => key,
        Form::Numbered(rest) | Form::Prefix(rest) => format!("{key}\\fI{rest}\\fP"),
    }
}

/// What a key takes, and its default in words.
fn takes(row: &Row) -> (&'static str, &'static str) {
    match (row.takes.split_once("; "), row.form) {
        (Some(both), _) => both,
        (None, Form::Fixed(default)) if !default.is_empty() => (row.takes, default),
        _ => (row.takes, "unset"),
    }
}

/// A text of the table without its indent, and the examples at its end.
fn parts(text: &str) -> (String, Vec<&str>) {
    let text = text.trim_end().trim_start_matches('\n');
    let indent = text.len() - text.trim_start().len();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.get(indent..).unwrap_or(""))
        .collect();
    let is_example = |line: &&str| line.starts_with("    ");
    let body = lines.iter().position(is_example).unwrap_or(lines.len());
    let examples = &lines[body..];
    assert!(examples.iter().all(is_example), "{text}");
    let examples = examples.iter().copied().map(str::trim_start).collect();
    (lines[..body].join("\n"), examples)
}

/// A text of the table as roff.
fn roff(text: &str) -> String {
    let (text, examples) = parts(text);
    assert!(examples.is_empty(), "{text}");
    let mut page = String::new();
    let mut paragraph = String::new();
    let mut terms = false;
    for line in text.trim_end().lines() {
        if let Some(term) = line.strip_prefix("= ") {
            page.push_str(&filled(&std::mem::take(&mut paragraph)));
            page.push_str(if terms { "" } else { ".RS\n" });
            page.push_str(&format!(".TP\n{}\n", marked(term)));
            terms = true;
        } else if line.is_empty() {
            page.push_str(&filled(&std::mem::take(&mut paragraph)));
            page.push_str(if std::mem::take(&mut terms) {
                ".RE\n"
            } else {
                ""
            });
            page.push_str(".IP\n");
        } else {
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    page.push_str(&filled(&paragraph));
    page.push_str(if terms { ".RE\n" } else { "" });
    page
}

/// A paragraph, each sentence on lines of its own.
fn filled(text: &str) -> String {
    let mut page = String::new();
    for line in marked(&text.replace(". ", ".\n")).lines() {
        let guard = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        page.push_str(&format!("{guard}{line}\n"));
    }
    page
}

/// With its marks as fonts.
fn marked(text: &str) -> String {
    let mut page = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '{']) {
        let (font, end) = match rest.as_bytes()[at] {
            b'`' => ('B', '`'),
            _ => ('I', '}'),
        };
        let (span, after) = rest[at + 1..].split_once(end).expect(text);
        page.push_str(&format!("{}\\f{font}{}\\fP", &rest[..at], literal(span)));
        rest = after;
    }
    page + rest
}

/// Text that is copied from the page into a shell.
fn literal(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    text.replace('\'', "\\(aq").replace('`', "\\(ga")
}
