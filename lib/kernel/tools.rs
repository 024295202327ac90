//! The executables of the tools: where they are, and how they are executed out of reach of processes
//! inside.

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

/// The directory of the tools, for a program that uses the library and lies elsewhere.
static TOOLS: OnceLock<PathBuf> = OnceLock::new();

/// Sets the directory of the tools, above all of `subhost-init`. The first call counts.
pub fn tools_in(dir: &Path) {
    TOOLS.get_or_init(|| dir.to_owned());
}

/// Finds another tool: in the directory of [`tools_in`], beside this program, or where it is installed.
///
/// # Errors
/// The tool is in none of these directories.
pub fn find_tool(tool: &str) -> Result<PathBuf> {
    let us = own_path()?;
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

/// Returns the path of this program.
fn own_path() -> Result<PathBuf> {
    let us = std::env::current_exe().doing(|| "tell where our own program is")?;
    // After `out_of_reach` this program has no path; `argv[0]` is its path before.
    match us.parent() {
        None => Ok(PathBuf::from(
            std::env::args_os().next().unwrap_or_default(),
        )),
        Some(_) => Ok(us),
    }
}

/// Opens a program on a read-only mount that is in no namespace. A process inside that gets hold of the
/// program (see trampoline.rs) could write to the file on the host, but not through this mount.
fn open_unwritable(program: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let doing = || format!("keep {} out of reach", shown(program));
    let fd = open_tree(CWD, program, flags).doing(doing)?;
    sys::mount_setattr_tree(&fd, sys::RDONLY, 0).doing(doing)?;
    Ok(fd)
}

/// Tells whether [`out_of_reach`] has executed this program anew.
///
/// # Errors
/// /proc is not mounted.
pub fn is_out_of_reach() -> Result<bool> {
    let us = std::env::current_exe().doing(|| "tell where our own program is")?;
    Ok(us.parent().is_none())
}

/// Executes this program anew from a read-only mount, unless that has been done, so that no process inside
/// can write to its file. Call it first in a program that executes programs of a tree itself.
///
/// # Errors
/// The failed call.
pub fn out_of_reach() -> Result<()> {
    if is_out_of_reach()? {
        // The kernel names the process by the number of the descriptor.
        let name = CString::new(crate::base::message::program()).unwrap_or_default();
        let _ = rustix::thread::set_name(&name);
        return Ok(());
    }
    let us = own_path()?;
    let fd = open_unwritable(&us)?;
    let text = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let args = std::env::args_os().skip(1).map(|arg| text(&arg));
    let args: Vec<_> = std::iter::once(text(us.as_os_str())).chain(args).collect();
    let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
    let lock = crate::kernel::privilege::lock_variable()?.map(|lock| text(lock.as_ref()));
    let env = std::env::vars_os().map(|(key, value)| text(&[key, value].join(OsStr::new("="))));
    let env: Vec<_> = env.chain(lock).collect();
    Err(Error::sys(
        format!("execute {}", shown(&us)),
        sys::exec_fd(&fd, &args, &env),
    ))
}

/// Returns the execution of subhost-init from a read-only mount. The descriptor must stay open until then.
pub(crate) fn init_command() -> Result<(OwnedFd, Exec)> {
    let program = find_tool("subhost-init")?;
    let fd = open_unwritable(&program)?;
    let mut command = Exec::new(&format!("/proc/self/fd/{}", fd.as_raw_fd()));
    command.arg0(&program.to_string_lossy());
    Ok((fd, command))
}
