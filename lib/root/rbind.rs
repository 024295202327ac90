//! A root that is a tree of the host, bound with all that is mounted below it.

use super::mapped;
use super::mounted::{Mounted, attach, mount_error, must_be_directory, unmount};
use crate::base::error::{Doing, IntoErrno, Result, shown};
use crate::kernel::mountinfo::{Mount, Table};
use crate::plan::Step;
use crate::plan::steps::is_pending;
use crate::plan::steps::rbind::Rbind;
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
            Some(base) => mapped::rbind(&self.source, self.read_only, base)?,
            None => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_RECURSIVE;
                let tree = open_tree(CWD, &self.source, flags).map_err(|e| fail(e.into_errno()))?;
                // Set while the tree is still detached: it is never visible in a wrong state, and only
                // mount_setattr reaches submounts (a bind ignores MS_RDONLY).
                let attributes = if self.read_only { sys::RDONLY } else { 0 };
                sys::mount_setattr_tree(&tree, attributes, nix::libc::MS_SLAVE).map_err(fail)?;
                tree
            }
        };
        attach(&tree, at).map_err(fail)?;
        // It would keep the mount busy.
        drop(tree);
        // Attaching it to a shared parent made it shared as well.
        make_slave(at).map_err(|error| {
            // It gives nothing back to its source, so that it can be taken apart as it is.
            let left = Table::read().and_then(|table| {
                let top = table.at(at).map_or(0, |mount| mount.id);
                table
                    .below(top)
                    .iter()
                    .try_for_each(|below| unmount(&below.at, false))
            });
            error.also(left.and_then(|()| unmount(at, false)).err())
        })
    }

    /// Unmounting a submount that still shares with its source would unmount the host's own; a crash may have
    /// come before it was made a slave.
    fn before_unmount(&self, at: &Path) -> Result<()> {
        make_slave(at)
    }
}

/// Has it receive what its source's peers get, and give nothing back.
fn make_slave(at: &Path) -> Result<()> {
    let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SLAVE;
    nix::mount::mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
        .doing(|| format!("make {} a slave mount", shown(at)))
}
