//! Manual pages of section 8 and completions are made from the command lines' definitions and kept
//! in the tree. Here the two are compared; with `BLESS=1` the kept ones are written anew.

use clap_complete::Shell;
use std::fs;
use std::path::{Path, PathBuf};

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

/// Every key is in the manual, and the manual has no other.
#[test]
fn every_key_is_documented() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/subhost.config.5"));
    let page = page.unwrap().replace("\\-", "-").replace("\\_", "_");
    for (key, _) in subhost::config::keys::KEYS {
        assert!(page.contains(key), "{key} is not in subhost.config(5)");
    }
}
