//! Root steps as the shell commands that a person knows, for `-n`.

use super::TMPFS_SOURCE;
use super::overlay::{escaped_options, plain_options};
use crate::envfile::quote;
use crate::plan::Step;
use std::path::Path;

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
        Step::Tmpfs { at } => vec![format!(
            "mount -t tmpfs -o mode=0755 {TMPFS_SOURCE} {}",
            word(at)
        )],
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
        Step::Claim { .. } | Step::Netns { .. } | Step::Cable { .. } | Step::Routes { .. } => {
            vec![]
        }
    }
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
        Step::Image { at, .. } | Step::Tmpfs { at } | Step::Overlay { at, .. } => {
            vec![format!("umount -R {}", word(at))]
        }
        _ => vec![],
    }
}
