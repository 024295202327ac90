//! Checks who can write a file and who can reach a tree.
//!
//! A config grants everything to its author (in CVE-2026-40226 of systemd-nspawn others could write one). A
//! setuid file in a tree serves every user of the host who can reach it.

use crate::base::error::{Doing, Error, Exit, Result, shown};
use nix::unistd::geteuid;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The largest config in bytes.
const MAX: u64 = 1 << 20;

/// Reads `file` after checking that it and each directory above it belong to root or to us and that no
/// other user can write them.
///
/// In the user namespace of an ordinary user all other owners look the same. There, `tree` and the
/// directories above it were checked before ([`check_above`]).
///
/// # Errors
/// `Invalid` if another user can write it; `Failed` with the failed call.
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
            let checked = crate::kernel::privilege::has_entered() && tree.starts_with(dir);
            if !(checked && is_unmapped(&meta)) {
                check_directory(dir, &meta)?;
            }
        }
    }
    // O_NONBLOCK, so that a FIFO with this name does not block us.
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
    check_owner(file, &meta)?;
    check_mode(file, &meta)?;
    let mut text = Vec::with_capacity(meta.len().min(MAX) as usize + 1);
    opened
        .take(MAX + 1)
        .read_to_end(&mut text)
        .doing(|| format!("read {}", shown(file)))?;
    Ok(text)
}

/// Tells whether the owner has no id in our user namespace.
fn is_unmapped(meta: &Metadata) -> bool {
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
    overflow.is_ok_and(|text| text.trim().parse() == Ok(meta.uid()))
}

/// Checks that `tree` and each existing directory above it belong to root or to us and that no other user
/// can write them.
///
/// # Errors
/// `Invalid`, with the first directory that fails.
pub fn check_above(tree: &Path) -> Result<()> {
    for dir in tree.ancestors() {
        match std::fs::metadata(dir) {
            Ok(meta) => check_directory(dir, &meta)?,
            // The reader of the directory reports the failure.
            Err(_) => continue,
        }
    }
    Ok(())
}

/// Checks owner and mode of a directory. Others may write a sticky directory such as /tmp: they can add
/// names there but not replace ours.
fn check_directory(path: &Path, meta: &Metadata) -> Result<()> {
    check_owner(path, meta)?;
    match meta.mode() & 0o1000 {
        0 => check_mode(path, meta),
        _ => Ok(()),
    }
}

/// Checks that root or we own a file.
fn check_owner(path: &Path, meta: &Metadata) -> Result<()> {
    if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
        return Err(Error::new(
            Exit::Invalid,
            format!("{} belongs to uid {}", shown(path), meta.uid()),
        )
        .hint(format!("chown root {}", shown(path))));
    }
    Ok(())
}

/// Checks that only its owner can write a file.
fn check_mode(path: &Path, meta: &Metadata) -> Result<()> {
    if meta.mode() & 0o022 != 0 {
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

/// Checks that a directory on the way to `path`, or `path` itself, admits only root or us. Symbolic links
/// are followed.
///
/// # Errors
/// `Invalid`, with a chmod of `guard` as the remedy; without a remedy if that could harm the host.
pub fn check_unreachable(path: &Path, guard: Option<&Path>) -> Result<()> {
    let Ok(real) = std::fs::canonicalize(path) else {
        return Ok(()); // The step that needs the path reports that it does not exist.
    };
    let closed = |p: &Path| {
        std::fs::metadata(p).is_ok_and(|meta| {
            let ours = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
            let others = if meta.is_dir() { 0o011 } else { 0o066 };
            // The group of an ordinary user may have other members.
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
