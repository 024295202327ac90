//! Manual pages of section 8 and completions are made from the command lines' definitions,
//! subhost.config(5) from the table of keys, and all are kept in the tree. These tests compare the two;
//! with `BLESS=1` they write the kept ones anew.

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

/// The files that the page of a command names, with what each is.
fn files(name: &str) -> &'static [(&'static str, &'static str)] {
    const CONFIG: (&str, &str) = ("$SUBHOST/NAME/config", "settings");
    const STATE: (&str, &str) = ("/run/subhost/NAME/", "state: locks, and what was made");
    const NETNS: (&str, &str) = ("/run/netns/NAME", "the network namespace");
    const LOG: (&str, &str) = (
        "/var/log/subhost/NAME.log",
        "the output of RUN, or the console of INIT",
    );
    match name {
        "subhost-config" => &[("$SUBHOST/defaults", "settings of all subhosts"), CONFIG],
        "subhost-mount" => &[CONFIG, ("$SUBHOST/NAME/live", "the mounted root"), STATE],
        "subhost-net" => &[
            CONFIG,
            ("$SUBHOST/NAME/assigned", "the MAC addresses that it keeps"),
            NETNS,
            STATE,
        ],
        "subhost-start" => &[CONFIG, LOG, STATE],
        "subhost-enter" | "subhost-stop" => &[CONFIG, STATE],
        _ => &[],
    }
}

/// The pages that the page of a command refers to, beside subhost(7).
fn related(name: &str) -> &'static str {
    match name {
        "subhost-mount" => "subhost.config(5) subhost-net(8) subhost-start(8) mount(8)",
        "subhost-net" => "subhost.config(5) subhost-mount(8) subhost-start(8) ip-netns(8) veth(4)",
        "subhost-enter" => "subhost-cookbook(7) subhost-start(8) nsenter(1)",
        "subhost-start" => {
            "subhost.config(5) subhost-cookbook(7) subhost-enter(8) subhost-list(8) subhost-stop(8)"
        }
        "subhost-stop" => "subhost.config(5) subhost-check(8) subhost-start(8)",
        "subhost-list" => "subhost-info(8)",
        "subhost-info" => "subhost-security(7) subhost-config(8) subhost-limit(8) subhost-list(8)",
        "subhost-config" => "subhost.config(5) subhost-info(8)",
        "subhost-limit" => "subhost.config(5) subhost-info(8) cgroups(7)",
        "subhost-check" => "subhost-cookbook(7) subhost-stop(8)",
        other => panic!("which pages does {other}(8) refer to?"),
    }
}

#[test]
fn manual_pages() {
    for command in subhost::cli::commands() {
        let name = command.get_name().to_owned();
        keep(
            &PathBuf::from(format!("man/{name}.8")),
            &manual_page(command),
        );
    }
}

/// The page of a command, in the order of man-pages(7).
fn manual_page(mut command: clap::Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let about = command.get_about().unwrap().to_string();
    let about = about[..1].to_lowercase() + &about[1..];
    let usage = command.render_usage().to_string();
    let description = command.get_long_about().unwrap().to_string();
    let (_, description) = description.split_once("\n\n").expect("a description");
    let after = command.get_after_help().unwrap().to_string();
    let man = clap_mangen::Man::new(command);
    let mut page = b".\\\" Made of lib/cli: BLESS=1 cargo test --test pages\n".to_vec();
    let title = literal(&name.to_uppercase());
    let source = format!("subhost {}", env!("CARGO_PKG_VERSION"));
    page.extend(format!(".TH {title} 8 \"\" \"{source}\" \"Subhosts\"\n").bytes());
    let synopsis = usage.strip_prefix("Usage: ").unwrap();
    let synopsis = literal(synopsis)
        .replace("]...", "...]")
        .replace('<', "\\fI")
        .replace('>', "\\fR")
        .replace("[OPTIONS]", "[\\fIOPTION\\fR...]");
    page.extend(format!(".SH NAME\n{} \\- {about}\n", literal(&name)).bytes());
    page.extend(format!(".SH SYNOPSIS\n\\fB{}\n", synopsis.replacen(' ', "\\fR ", 1)).bytes());
    page.extend(format!(".SH DESCRIPTION\n{}", paragraphs(description)).bytes());
    let mut options = Vec::new();
    man.render_options_section(&mut options).unwrap();
    let options = String::from_utf8(options).unwrap();
    let options = [
        ("\\fI<", "\\fI"),
        (">\\fR", "\\fR"),
        ("\n<\\fI", "\n\\fI"),
        ("\\fR>\n", "\\fR\n"),
    ]
    .iter()
    .fold(options, |text, (from, to)| text.replace(from, to));
    page.extend(options.bytes());
    let sections = sections(&after);
    let section = |page: &mut Vec<u8>, of: fn(&str) -> bool| {
        for (heading, lines) in sections.iter().filter(|(heading, _)| of(heading)) {
            let heading = heading.to_uppercase();
            page.extend(format!(".SH \"{heading}\"\n{}", table(lines)).bytes());
        }
    };
    section(&mut page, |heading| {
        !["Examples", "Notes"].contains(&heading)
    });
    if !files(&name).is_empty() {
        page.extend_from_slice(b".SH FILES\n");
    }
    for (file, what) in files(&name) {
        page.extend(format!(".TP\n.I {}\n{}\n", literal(file), literal(what)).bytes());
    }
    section(&mut page, |heading| heading == "Notes");
    let examples = sections.iter().find(|(heading, _)| heading == "Examples");
    page.extend_from_slice(b".SH EXAMPLES\n.EX\n");
    for line in &examples.expect("examples").1 {
        page.extend(format!("{}\n", literal(line.trim_start())).bytes());
    }
    page.extend_from_slice(b".EE\n.SH \"SEE ALSO\"\n");
    let related = format!("subhost(7) {}", related(&name));
    let mut pages: Vec<(&str, &str)> = related
        .split(' ')
        .map(|page| page.split_once('(').unwrap())
        .map(|(page, section)| (section.trim_end_matches(')'), page))
        .collect();
    pages.sort_unstable();
    let lines = pages
        .iter()
        .map(|(section, page)| format!(".BR {} ({section})", literal(page)));
    page.extend(lines.collect::<Vec<_>>().join(",\n").bytes());
    page.push(b'\n');
    page
}

/// What follows the options in a help text, by its headings: lines that end in a colon.
fn sections(after: &str) -> Vec<(String, Vec<&str>)> {
    let mut sections: Vec<(String, Vec<&str>)> = Vec::new();
    for line in after.lines().filter(|line| !line.is_empty()) {
        match line.strip_suffix(':') {
            Some(heading) if !line.starts_with(' ') => sections.push((heading.into(), Vec::new())),
            _ => sections.last_mut().expect("a heading").1.push(line),
        }
    }
    sections
}

/// Lines of a term and its text; and lines of text alone.
fn table(lines: &[&str]) -> String {
    let mut page = String::new();
    let mut is_table = false;
    for line in lines {
        match line.strip_prefix("  ").map(|line| line.split_once("  ")) {
            Some(Some((term, text))) => {
                page += &format!(".TP\n.B {}\n{}\n", literal(term), prose(text.trim_start()));
                is_table = true;
            }
            Some(None) => page += &format!("{}\n", prose(line.trim_start())),
            None => {
                page += if is_table { ".PP\n" } else { "" };
                page += &format!("{}\n", prose(line));
                is_table = false;
            }
        }
    }
    page
}

fn paragraphs(text: &str) -> String {
    let paragraphs = text
        .split("\n\n")
        .map(|paragraph| format!("{}\n", prose(paragraph)));
    paragraphs.collect::<Vec<_>>().join(".PP\n")
}

/// Words in bold are commands, options, and pages that are referred to.
fn prose(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let end = word.trim_end_matches([',', '.', ':', ';']).len();
        let (word, stop) = word.split_at(end);
        let refers = word
            .split_once('(')
            .filter(|(_, section)| section.ends_with(')'));
        match refers {
            Some((page, section)) if !page.is_empty() => {
                format!("\\fB{}\\fR({section}{stop}", literal(page))
            }
            _ if word.starts_with("subhost-") || word.starts_with('-') => {
                format!("\\fB{}\\fR{stop}", literal(word))
            }
            _ => format!("{}{stop}", literal(word)),
        }
    });
    words.collect::<Vec<_>>().join(" ").replace(". ", ".\n")
}

/// Every reference to a page of ours, in pages and other documents, is to a page that exists.
#[test]
fn references() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<PathBuf> = ["README.md", "SECURITY.md", "subhosts.example/README.md"]
        .map(|name| root.join(name))
        .to_vec();
    for dir in ["man", "docs", "contrib"] {
        let entries = fs::read_dir(root.join(dir)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        texts.extend(paths.filter(|path| path.is_file()));
    }
    let mut count = 0;
    for path in texts {
        let text = fs::read_to_string(&path).unwrap();
        let text = ["\\fB", "\\fI", "\\fP", "\\fR", "\"", "`"]
            .iter()
            .fold(text.replace("\\-", "-"), |text, mark| {
                text.replace(mark, "")
            });
        for (page, section) in references_in(&text) {
            let there = root.join(format!("man/{page}.{section}"));
            assert!(there.exists(), "{}: {page}({section})", path.display());
            count += 1;
        }
    }
    assert!(count > 100, "{count} references");
}

fn references_in(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("subhost") {
        let rest = &text[at..];
        let is_name = |c: char| c.is_ascii_lowercase() || "-.".contains(c);
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let after = rest[end..].trim_start_matches(' ');
        let section = after.strip_prefix('(').and_then(|after| after.get(..2));
        if let Some(section) = section.and_then(|section| section.strip_suffix(')'))
            && section.chars().all(|c| c.is_ascii_digit())
        {
            found.push((&rest[..end], section));
        }
    }
    found
}

/// subhost(7) leads to every page, and `make install` to every section.
#[test]
fn overview_names_every_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let overview = fs::read_to_string(root.join("man/subhost.7")).unwrap();
    let (_, see_also) = overview.split_once(".SH SEE ALSO").unwrap();
    let see_also = see_also.replace("\\-", "-");
    let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
    for entry in fs::read_dir(root.join("man")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let (page, section) = file.rsplit_once('.').unwrap();
        if section == "in" || page == "subhost" {
            continue;
        }
        assert!(
            see_also.contains(&format!(".BR {page} ({section})")),
            "no {file}"
        );
        assert!(
            makefile.contains(&format!("man/*.{section} ")),
            "{file} is not installed"
        );
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
