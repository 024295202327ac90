//! Where our programs are, and how they are run so that nobody inside can get hold of them.

use crate::base::error::{Doing, Errno, Error, Result, shown};
use crate::kernel::spawn::Exec;
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

/// One of our programs by a mount that nobody can write through: those inside who get hold of it
/// (lib/trampoline.rs says how) could write to the host's own file, but not by this mount, which is no
/// part of any namespace.
fn unwritable(program: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let doing = || format!("keep {} out of reach", shown(program));
    let fd = open_tree(CWD, program, flags).doing(doing)?;
    sys::mount_setattr_tree(&fd, sys::RDONLY, 0).doing(doing)?;
    Ok(fd)
}

/// Has [`out_of_reach`] been done?
///
/// # Errors
/// There is no /proc.
pub fn is_out_of_reach() -> Result<bool> {
    let us = std::env::current_exe().doing(|| "tell where our own program is")?;
    Ok(us.parent().is_none())
}

/// Executes our own program anew in such a way that those inside cannot get hold of it, unless this
/// has been done. For what executes programs of a tree itself; before it does anything.
///
/// # Errors
/// The failed call.
pub fn out_of_reach() -> Result<()> {
    if is_out_of_reach()? {
        // It would be called by the number of a descriptor.
        let name = CString::new(crate::base::message::program()).unwrap_or_default();
        let _ = rustix::thread::set_name(&name);
        return Ok(());
    }
    let us = own_program()?;
    let fd = unwritable(&us)?;
    let text = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let args = std::env::args_os().skip(1).map(|arg| text(&arg));
    let args: Vec<_> = std::iter::once(text(us.as_os_str())).chain(args).collect();
    let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
    let mark = crate::kernel::privilege::mark()?.map(|mark| text(mark.as_ref()));
    let env = std::env::vars_os().map(|(key, value)| text(&[key, value].join(OsStr::new("="))));
    let env: Vec<_> = env.chain(mark).collect();
    Err(Error::sys(
        format!("execute {}", shown(&us)),
        sys::exec_fd(&fd, &args, &env),
    ))
}

/// subhost-init, not within reach of those inside either.
pub(crate) fn init_command() -> Result<(OwnedFd, Exec)> {
    let program = sibling("subhost-init")?;
    let fd = unwritable(&program)?;
    let mut command = Exec::new(&format!("/proc/self/fd/{}", fd.as_raw_fd()));
    command.arg0(&program.to_string_lossy());
    Ok((fd, command))
}
