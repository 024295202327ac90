//! Recursive bind mounts of a directory of the host as a root.

use super::mapped;
use super::mounted::{
    Mounted, attach, mount_error, must_be_directory, setattr_attributes, unmount,
};
use crate::base::error::{Doing, IntoErrno, Result, shown};
use crate::kernel::mountinfo::{Mount, Table};
use crate::plan::steps::is_pending;
use crate::plan::steps::rbind::Rbind;
use crate::plan::{Step, UndoOptions};
use crate::sys;
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::path::{Path, PathBuf};

impl Mounted for Rbind {
    fn at(&self) -> &Path {
        &self.at
    }

    fn makes(&self, mount: &Mount, table: &Table) -> bool {
        table.find_containing(&self.source).is_some_and(|holding| {
            let below = self.source.strip_prefix(&holding.at);
            let below = below.unwrap_or(Path::new(""));
            let root: PathBuf = holding.root.join(below).components().collect();
            mount.device == holding.device
                && mount.root == root
                && mount.is_mapped() == self.ids.is_some()
                && (!self.read_only || mount.is_read_only())
        })
    }

    fn check(&self, all: &[Step]) -> Result<()> {
        match is_pending(&self.source, all) {
            true => Ok(()),
            false => must_be_directory(
                &self.source,
                "the root is never made silently: make it, or set UPPER or LOWER",
            ),
        }
    }

    fn mount(&self) -> Result<()> {
        let at = &self.at;
        let fail = |errno| mount_error(&shown(&self.source), at, errno);
        let tree = match self.ids {
            Some(base) => mapped::clone_rbind(self, base)?,
            None => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_RECURSIVE;
                let tree = open_tree(CWD, &self.source, flags).map_err(|e| fail(e.into_errno()))?;
                // mount_setattr(2) makes submounts read-only too, which MS_BIND | MS_RDONLY does not. The
                // tree is still detached, so no process sees it writable.
                let attributes = setattr_attributes(self.access());
                sys::mount_setattr_tree(&tree, attributes, nix::libc::MS_SLAVE).map_err(fail)?;
                tree
            }
        };
        attach(&tree, at).map_err(fail)?;
        // An open descriptor would keep the mount busy.
        drop(tree);
        // The attachment to a shared parent mount has made the tree shared again.
        make_slave(at).map_err(|error| {
            // The tree was made a slave before, so its unmount does not propagate to the source.
            let how = UndoOptions::default();
            let left = Table::read().and_then(|table| {
                let top = table.at(at).map_or(0, |mount| mount.id);
                table
                    .below(top)
                    .iter()
                    .try_for_each(|below| unmount(&below.at, how))
            });
            error.also(left.and_then(|()| unmount(at, how)).err())
        })
    }

    /// Makes the tree a slave once more. A tool that was killed during the mount may have left a shared
    /// submount, and its unmount would propagate and unmount the host's own.
    fn before_unmount(&self, at: &Path) -> Result<()> {
        make_slave(at)
    }
}

/// Sets slave propagation on the mount and all mounts below it (`mount_namespaces(7)`).
fn make_slave(at: &Path) -> Result<()> {
    let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SLAVE;
    nix::mount::mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
        .doing(|| format!("make {} a slave mount", shown(at)))
}
