//! Root steps as the shell commands that a person knows, for `-n`.

use super::TMPFS_SOURCE;
use super::overlay::{escaped_options, plain_options};
use crate::base::envfile::quote;
use crate::kernel::userns;
use crate::plan::Step;
use crate::sys;
use std::path::{Path, PathBuf};

fn word(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// The commands that do `step`.
pub fn up(step: &Step) -> Vec<String> {
    match step {
        Step::Directory { path, keep: true } => {
            vec![format!("[ -d {0} ] || mkdir {0}", word(path))]
        }
        Step::Directory { path, keep: false } => vec![format!("mkdir -p {}", word(path))],
        Step::Image {
            file,
            at,
            partition,
            fstype,
            options,
            read_only,
        } => image(
            file,
            at,
            *partition,
            fstype.as_deref(),
            options.as_deref(),
            *read_only,
        ),
        Step::Within { path, .. } => vec![format!("[ -d {0} ] && [ ! -L {0} ]", word(path))],
        Step::Tmpfs { at, size } => vec![format!(
            "mount -t tmpfs -o {} {TMPFS_SOURCE} {}",
            super::tmpfs_options(*size),
            word(at)
        )],
        Step::Overlay {
            lowers,
            upper,
            at,
            ids: Some(base),
        } => overlay(lowers, upper.as_ref(), at, *base),
        Step::Overlay {
            lowers, upper, at, ..
        } => {
            let data = plain_options(lowers, upper.as_ref())
                .unwrap_or_else(|| escaped_options(lowers, upper.as_ref()));
            let read_only = if upper.is_none() { "ro," } else { "" };
            let options = quote(&format!("{read_only}{data}"));
            vec![format!(
                "mount -t overlay -o {options} overlay {}",
                word(at)
            )]
        }
        Step::Rbind {
            source,
            at,
            read_only,
            ids: Some(base),
        } => {
            let attributes = if *read_only { sys::RDONLY } else { 0 };
            let what = format!("bind {} {attributes}", word(source));
            let mut lines = mapped(at, *base, &what);
            lines.push(format!("mount --make-rslave {}", word(at)));
            lines
        }
        Step::Rbind {
            source,
            at,
            read_only,
            ..
        } => {
            let mut lines = vec![
                format!("mount --rbind {} {}", word(source), word(at)),
                format!("mount --make-rslave {}", word(at)),
            ];
            if *read_only {
                // ro=recursive needs util-linux 2.39; this reaches submounts with any.
                lines.push(format!(
                    "findmnt -Rnlo TARGET {} | while IFS= read -r m; do mount -o remount,bind,ro \"$m\"; done",
                    word(at)
                ));
            }
            lines
        }
        Step::Claim { .. }
        | Step::Netns { .. }
        | Step::Cable { .. }
        | Step::Helper { .. }
        | Step::Routes { .. } => {
            vec![]
        }
    }
}

/// Mounts with mapped ids. For a bind util-linux has that from 2.39 on (X-mount.idmap), for layers
/// nobody.
fn mapped(at: &Path, base: u32, what: &str) -> Vec<String> {
    let mut lines = userns::shell(base, "user", "--user");
    lines.push(format!("perl - $p {} {what} <<'END'", word(at)));
    lines.extend(include_str!("map.pl").lines().map(str::to_owned));
    lines.push("END".to_owned());
    lines.push(userns::SHELL_END.to_owned());
    lines
}

fn overlay(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    at: &Path,
    base: u32,
) -> Vec<String> {
    let name = super::mapped::source(lowers, upper, base);
    let mut words = vec![base.to_string(), name, lowers.len().to_string()];
    let lowers = lowers.iter().map(|lower| word(lower));
    match upper {
        None => words.extend(["''".to_owned()].into_iter().chain(lowers)),
        Some((upper, work)) => {
            let common = super::mapped::common(upper, work);
            words.push(word(&common));
            words.extend(lowers);
            for path in [upper, work] {
                words.push(word(path.strip_prefix(&common).unwrap_or(path)));
            }
            words.extend(["index=on", "metacopy=off"].map(str::to_owned));
        }
    }
    mapped(at, base, &format!("overlay {}", words.join(" ")))
}

fn image(
    file: &Path,
    at: &Path,
    partition: Option<u32>,
    fstype: Option<&str>,
    options: Option<&str>,
    read_only: bool,
) -> Vec<String> {
    let mode = if read_only { "ro" } else { "rw" };
    let options = options.map_or(String::new(), |o| format!(",{o}"));
    let fstype = fstype.map_or(String::new(), |t| format!(" -t {}", quote(t)));
    let Some(number) = partition else {
        let all = quote(&format!("loop,{mode}{options}"));
        return vec![format!(
            "mount{fstype} -o {all} {} {}",
            word(file),
            word(at)
        )];
    };
    let line = format!(
        "partx -bgo START,SECTORS -n {number} {} | {{ read -r start size; mount{fstype} -o {},offset=$((start * 512)),sizelimit=$((size * 512)) {} {}; }}",
        word(file),
        quote(&format!("loop,{mode}{options}")),
        word(file),
        word(at)
    );
    vec![line]
}

/// The commands that undo `step`.
pub fn down(step: &Step) -> Vec<String> {
    match step {
        Step::Directory { path, keep: false } => {
            let line = format!(
                "rmdir -p --ignore-fail-on-non-empty {} 2>/dev/null || :",
                word(path)
            );
            vec![line]
        }
        Step::Rbind { at, .. } => vec![
            // Else the host's own submounts would be unmounted as well.
            format!("mount --make-rslave {}", word(at)),
            format!("umount -R {}", word(at)),
        ],
        Step::Image { at, .. } | Step::Tmpfs { at, .. } | Step::Overlay { at, .. } => {
            vec![format!("umount -R {}", word(at))]
        }
        _ => vec![],
    }
}
