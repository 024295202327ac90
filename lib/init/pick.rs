//! What of the host is to appear inside, picked up before the root is changed.

use super::spec::Spec;
use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::kernel::mounts::directory;
use crate::sys;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What was picked up on the host, with where it goes.
pub struct Picked {
    /// What.
    pub mount: OwnedFd,
    /// Where inside.
    pub target: String,
    /// It is one.
    pub directory: bool,
    /// Where there is nothing to mount on, that is made.
    pub make: bool,
    /// It is one of ours.
    pub text: bool,
}

/// Binds of the host as detached mounts, with all submounts. Those that cannot be mapped as `userns`
/// maps are given beside them, in words.
///
/// # Errors
/// What is not there.
pub fn pick_up(spec: &Spec, userns: Option<&OwnedFd>) -> Result<(Vec<Picked>, Vec<String>)> {
    let (mut picked, mut unmapped) = (Vec::new(), Vec::new());
    let mut clone = |path: &Path, read_only, told: bool| match userns {
        None => clone_of(path, read_only),
        Some(userns) => match mapped(path, read_only, userns) {
            Err(Errno::EINVAL | Errno::EPERM) => {
                if told {
                    unmapped.push(shown(path));
                }
                clone_of(path, read_only)
            }
            other => other,
        },
    };
    for (source, target, make) in &spec.texts {
        picked.push(Picked {
            mount: clone(source, true, false).doing(|| format!("bind {}", shown(source)))?,
            target: target.clone(),
            directory: false,
            make: *make,
            text: true,
        });
    }
    // After our texts, so that a BIND on the same file wins.
    for bind in &spec.binds {
        let doing = || format!("bind {}", shown(&bind.source));
        let directory = std::fs::metadata(&bind.source).doing(doing)?.is_dir();
        picked.push(Picked {
            mount: clone(&bind.source, bind.read_only, true).doing(doing)?,
            target: bind.target.clone(),
            directory,
            make: true,
            text: false,
        });
    }
    Ok((picked, unmapped))
}

/// A copy of the root with all below it.
///
/// # Errors
/// Nothing is mounted there; the failed call.
pub fn live(spec: &Spec) -> Result<OwnedFd> {
    let doing = || format!("make {} the root", shown(&spec.live));
    let root = directory(&spec.live).doing(doing)?;
    let told = statx(&root, "", AtFlags::EMPTY_PATH, StatxFlags::empty()).doing(doing)?;
    if !told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        let error = Error::sys(doing(), Errno::EINVAL);
        return Err(error.hint("nothing is mounted there any more"));
    }
    let flags = COPY | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(root.as_fd(), "", flags).doing(doing)?;
    sys::mount_setattr_tree(&copy, sys::NODEV, nix::libc::MS_SLAVE).doing(doing)?;
    Ok(copy)
}

const COPY: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE);

/// What is there, with all submounts, as a detached mount.
///
/// # Errors
/// The errno of the failed call.
pub fn clone_of(path: &Path, read_only: bool) -> std::result::Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, path, COPY).map_err(IntoErrno::into_errno)?;
    let read_only = if read_only { sys::RDONLY } else { 0 };
    sys::mount_setattr_tree(&tree, sys::NODEV | read_only, nix::libc::MS_SLAVE)?;
    Ok(tree)
}

fn mapped(path: &Path, read_only: bool, userns: &OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, path, COPY).map_err(IntoErrno::into_errno)?;
    let read_only = if read_only { sys::RDONLY } else { 0 };
    let attributes = sys::NODEV | read_only;
    sys::mount_map_tree(&tree, attributes, nix::libc::MS_SLAVE, userns)?;
    Ok(tree)
}
