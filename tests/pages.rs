//! Manual pages of section 8 and completions are made from the command lines' definitions,
//! subhost.config(5) from the table of keys, and all are kept in the tree. Here the two are compared;
//! with `BLESS=1` the kept ones are written anew.

use clap_complete::Shell;
use std::fs;
use std::path::{Path, PathBuf};
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
    let frame = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/subhost.config.5.in");
    let frame = fs::read_to_string(frame).unwrap();
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

fn section(group: &Group) -> String {
    let mut page = format!(".SH {}\n{}", group.heading, text(group.about));
    let mut tag = Vec::new();
    for row in group.rows {
        tag.push(name(row));
        if row.text.is_empty() {
            continue;
        }
        page.push_str(&format!(".TP\n{}\n{}", tag.join(", "), text(row.text)));
        tag.clear();
    }
    assert!(tag.is_empty(), "{} has no text", tag.join(", "));
    page
}

/// A key as the page heads its text: with what it takes and what holds without it.
fn name(row: &Row) -> String {
    let bold = |text: &str| format!("\\fB{}\\fP", literal(text));
    let (name, default) = match row.form {
        Form::Fixed(default) => (bold(row.key), default),
        Form::Numbered(_) => {
            let [first, second] = [0, 1].map(|i| bold(&format!("{}{i}", row.key)));
            (format!("{first}, {second}, ..."), "")
        }
        Form::Prefix(rest) => (format!("{}\\fI{rest}\\fP", bold(row.key)), ""),
    };
    let takes = match (row.takes, default) {
        ("", "") => return name,
        ("", default) => default.to_owned(),
        (takes, _) if takes.contains(';') => takes.to_owned(),
        (takes, "") => format!("{takes}; unset"),
        (takes, default) => format!("{takes}; {default}"),
    };
    format!("{name} ({takes})")
}

/// A text of the table as roff.
fn text(text: &str) -> String {
    let text = text.trim_end();
    let body = text.trim_start_matches('\n');
    let indent = body.len() - body.trim_start().len();
    let mut page = String::new();
    let mut paragraph = String::new();
    let mut lines = body.lines().map(|line| line.get(indent..).unwrap_or(""));
    let mut terms = false;
    let mut next = lines.next();
    while let Some(line) = next {
        next = lines.next();
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
            // An example makes its own room.
            page.push_str(if next.is_some_and(is_example) {
                ""
            } else {
                ".IP\n"
            });
        } else if is_example(line) {
            let mut example = vec![line];
            while let Some(line) = next.filter(|line| is_example(line)) {
                example.push(line);
                next = lines.next();
            }
            page.push_str(".RS\n.PP\n.EX\n");
            for line in example {
                page.push_str(&format!("{}\n", literal(line.trim_start())));
            }
            page.push_str(".EE\n.RE\n");
        } else {
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    page.push_str(&filled(&paragraph));
    page.push_str(if terms { ".RE\n" } else { "" });
    page
}

fn is_example(line: &str) -> bool {
    line.starts_with("    ")
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
