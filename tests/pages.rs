//! Manual pages of section 8 and completions are made from the command lines' definitions,
//! subhost.config(5) from the table of keys, and all are kept in the tree. These tests compare the two;
//! with `BLESS=1` they write the kept ones anew.

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
