//! The mount of the tmpfs that holds the upper of a volatile root.

use super::mounted::{Mounted, mount_error};
use crate::base::error::{IntoErrno, Result};
use crate::kernel::mountinfo::{Mount, Table};
use crate::plan::steps::tmpfs::{SOURCE, Tmpfs};
use std::path::Path;
use sys_mount::FilesystemType;

impl Mounted for Tmpfs {
    fn at(&self) -> &Path {
        &self.at
    }

    fn makes(&self, mount: &Mount, _: &Table) -> bool {
        mount.fstype == "tmpfs" && mount.source == SOURCE
    }

    fn mount(&self) -> Result<()> {
        sys_mount::Mount::builder()
            .fstype(FilesystemType::Manual("tmpfs"))
            .data(&self.options())
            .mount(SOURCE, &self.at)
            .map(drop)
            .map_err(|e| mount_error("a tmpfs", &self.at, e.into_errno()))
    }
}
