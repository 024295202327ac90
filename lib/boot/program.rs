//! Where our programs are, and how they are run so that nobody inside can get hold of them.

use crate::error::{Doing, Errno, Error, Result, shown};
use crate::spawn::Exec;
use crate::sys;
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the tools are, for a program that uses the library and does not lie beside them.
static TOOLS: OnceLock<PathBuf> = OnceLock::new();

/// Says where the tools, `subhost-init` above all, are to be found; the first call counts.
pub fn tools_in(dir: &Path) {
    TOOLS.get_or_init(|| dir.to_owned());
}

/// Another of our tools: where it was said to be, beside us, or where it is installed.
///
/// # Errors
/// It is not there.
pub fn sibling(tool: &str) -> Result<PathBuf> {
    let us = own_program()?;
    let installed = ["/usr/local/sbin", "/usr/sbin"].map(Path::new);
    let dirs = [TOOLS.get().map(PathBuf::as_path), us.parent()];
    dirs.into_iter()
        .flatten()
        .chain(installed)
        .map(|dir| dir.join(tool))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            let what = format!("find {tool} beside {}", shown(&us));
            Error::sys(what, Errno::ENOENT).hint("install the tools together")
        })
}

/// Where our own program is.
fn own_program() -> Result<PathBuf> {
    let us = std::env::current_exe().doing(|| "tell where our own program is")?;
    // Run by `out_of_reach`, we lie nowhere and were told by our name.
    match us.parent() {
        None => Ok(PathBuf::from(
            std::env::args_os().next().unwrap_or_default(),
        )),
        Some(_) => Ok(us),
    }
}

/// One of our programs by a mount that nobody can write through.
///
/// A program inside may be a link to /proc/self/exe, or have that in its first line: what is about
/// to execute it then executes itself, and is in the hands of whoever is root inside
/// (CVE-2019-5736). They could write to the host's own file, but not by this mount, which is no
/// part of any namespace.
fn unwritable(program: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let doing = || format!("keep {} out of reach", shown(program));
    let fd = open_tree(CWD, program, flags).doing(doing)?;
    sys::mount_setattr_tree(&fd, sys::RDONLY, 0).doing(doing)?;
    Ok(fd)
}

/// Executes our own program anew in such a way that those inside cannot get hold of it, unless this
/// has been done. For tools that execute programs of a tree themselves; before they do anything.
///
/// # Errors
/// The failed call.
pub fn out_of_reach() -> Result<()> {
    let us = std::env::current_exe().doing(|| "tell where our own program is")?;
    if us.parent().is_none() {
        // It would be called by the number of a descriptor.
        let name = CString::new(crate::cli::program()).unwrap_or_default();
        let _ = rustix::thread::set_name(&name);
        return Ok(());
    }
    let fd = unwritable(&us)?;
    let text = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let args = std::iter::once(text(us.as_os_str()));
    let args: Vec<_> = args
        .chain(std::env::args_os().skip(1).map(|arg| text(&arg)))
        .collect();
    let mark = crate::rootless::mark()?.map(|mark| text(mark.as_ref()));
    Err(Error::sys(
        format!("execute {}", shown(&us)),
        sys::exec_fd(&fd, &args, mark),
    ))
}

/// subhost-init, not within reach of those inside either.
pub(super) fn init_command() -> Result<(OwnedFd, Exec)> {
    let program = sibling("subhost-init")?;
    let fd = unwritable(&program)?;
    let mut command = Exec::new(&format!("/proc/self/fd/{}", fd.as_raw_fd()));
    command.arg0(&program.to_string_lossy());
    Ok((fd, command))
}
