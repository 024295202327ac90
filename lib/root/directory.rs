//! Makes and removes the directories that serve as mount points, or as upper or work directory.

use crate::base::error::{Doing, Result, shown};
use crate::kernel::mountinfo::{Mark, Mounts};
use crate::plan::steps::directory::Directory;
use crate::plan::{Act, Presence, PresenceQuery, UndoOptions};
use std::os::unix::fs::DirBuilderExt;

impl Act<&Mounts<'_>> for Directory {
    fn present(&self, _: &Mounts<'_>, _: PresenceQuery<'_>) -> Result<Presence> {
        Ok(match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if meta.is_dir() => Presence::Ours,
            Ok(_) => Presence::Foreign(format!("{} is not a directory", shown(&self.path))),
            Err(_) => Presence::Absent,
        })
    }

    fn act(&self, _: &Mounts<'_>) -> Result<()> {
        let made = std::fs::DirBuilder::new().mode(0o755).create(&self.path);
        match made {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other.doing(|| format!("make the directory {}", shown(&self.path))),
        }
    }

    fn undo(&self, _: &Mounts<'_>, _: Option<&Mark>, _: UndoOptions) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        match std::fs::remove_dir(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).doing(|| format!("remove the directory {}", shown(&self.path)))
            }
            _ => Ok(()),
        }
    }
}
