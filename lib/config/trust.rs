//! Who could have written a file, and who can reach a tree.
//!
//! Settings grant everything (CVE-2026-40226 of nspawn is a config that others could write), and
//! a setuid file planted inside a tree serves every user who can reach it from the host.

use crate::base::error::{Doing, Error, Exit, Result, shown};
use nix::unistd::geteuid;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A config is text of this many bytes at most.
const MAX: u64 = 1 << 20;

/// Reads `file` after checking that it and every directory above it belong to root or to us and
/// can be written by nobody else.
///
/// In a user's world, where others than he are all one, this has been seen of `tree` and what is above
/// it before.
pub(super) fn read(file: &Path, tree: &Path) -> Result<Vec<u8>> {
    let real = std::fs::canonicalize(file).doing(|| format!("read {}", shown(file)))?;
    let ways = if real == file {
        vec![file]
    } else {
        vec![file, real.as_path()]
    };
    for path in ways {
        for dir in path.ancestors().skip(1) {
            let meta = std::fs::metadata(dir).doing(|| format!("look at {}", shown(dir)))?;
            let seen = crate::kernel::privilege::has_entered() && tree.starts_with(dir);
            if !(seen && is_unmapped(&meta)) {
                written_by_us(dir, &meta, is_sticky(&meta))?;
            }
        }
    }
    // A FIFO of this name must not hang us.
    let open = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(&real);
    let opened = open.doing(|| format!("read {}", shown(file)))?;
    let meta = opened
        .metadata()
        .doing(|| format!("read {}", shown(file)))?;
    if !meta.is_file() {
        return Err(Error::new(
            Exit::Invalid,
            format!("{} is not a regular file", shown(file)),
        ));
    }
    written_by_us(file, &meta, false)?;
    let mut text = Vec::with_capacity(meta.len().min(MAX) as usize + 1);
    opened
        .take(MAX + 1)
        .read_to_end(&mut text)
        .doing(|| format!("read {}", shown(file)))?;
    Ok(text)
}

/// In a sticky directory (/tmp) others can add but not replace.
fn is_sticky(meta: &Metadata) -> bool {
    meta.mode() & 0o1000 != 0
}

/// Is its owner somebody who has no id in our user namespace?
fn is_unmapped(meta: &Metadata) -> bool {
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
    overflow.is_ok_and(|text| text.trim().parse() == Ok(meta.uid()))
}

/// Checks that `tree` and every directory above it that is there belong to root or to us and can be
/// written by nobody else.
///
/// # Errors
/// `Invalid` with the one that does not.
pub fn check_above(tree: &Path) -> Result<()> {
    for dir in tree.ancestors() {
        match std::fs::metadata(dir) {
            Ok(meta) => written_by_us(dir, &meta, is_sticky(&meta))?,
            // Told when it is looked into.
            Err(_) => continue,
        }
    }
    Ok(())
}

fn written_by_us(path: &Path, meta: &Metadata, others_may_add: bool) -> Result<()> {
    if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
        return Err(Error::new(
            Exit::Invalid,
            format!("{} belongs to uid {}", shown(path), meta.uid()),
        )
        .hint(format!("chown root {}", shown(path))));
    }
    if meta.mode() & 0o022 != 0 && !others_may_add {
        return Err(Error::new(
            Exit::Invalid,
            format!(
                "{} can be written by others (mode {:04o})",
                shown(path),
                meta.mode() & 0o7777
            ),
        )
        .hint(format!("chmod go-w {}", shown(path))));
    }
    Ok(())
}

/// Is there a directory on the way to `path`, or `path` itself, that keeps everybody but root (or
/// us) out? Links on the way count where they lead.
///
/// # Errors
/// `Invalid` with the chmod that helps, on `guard`; none where that could harm the host.
pub fn unreachable_by_others(path: &Path, guard: Option<&Path>) -> Result<()> {
    let Ok(real) = std::fs::canonicalize(path) else {
        return Ok(()); // What does not exist is refused elsewhere, by the step that needs it.
    };
    let closed = |p: &Path| {
        std::fs::metadata(p).is_ok_and(|meta| {
            let ours = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
            let others = if meta.is_dir() { 0o011 } else { 0o066 };
            // A user's group may have others in it.
            let alone = meta.gid() == 0 && !crate::kernel::privilege::is_user();
            let group = if alone { 0o070 } else { 0 };
            ours && meta.mode() & others & !group == 0
        })
    };
    if real.ancestors().any(closed) {
        return Ok(());
    }
    Err(Error::new(
        Exit::Invalid,
        format!("other users of the host can reach {}", shown(path)),
    )
    .hint(match guard {
        Some(guard) => format!(
            "a setuid file inside would serve them: chmod 700 {}",
            shown(guard)
        ),
        None => "a setuid file inside would serve them: keep it in a directory that only root may \
                 enter"
            .into(),
    }))
}
