//! Checks that an image holds a directory. The step makes nothing: it is never present, and there is nothing
//! to undo.

use crate::base::error::{Errno, Error, IntoErrno, Result, shown};
use crate::kernel::mountinfo::{Mark, Mounts};
use crate::plan::steps::within::Within;
use crate::plan::{Act, Presence, PresenceQuery, UndoOptions};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

impl Act<&Mounts<'_>> for Within {
    fn present(&self, _: &Mounts<'_>, _: PresenceQuery<'_>) -> Result<Presence> {
        Ok(Presence::Absent)
    }

    fn act(&self, _: &Mounts<'_>) -> Result<()> {
        let Self { file, at, path } = self;
        let inner = path.strip_prefix(at).unwrap_or(path);
        let error = |errno: Errno| {
            let error = Error::sys(format!("use {}", shown(path)), errno);
            match errno {
                Errno::ELOOP | Errno::EXDEV => {
                    error.hint("an image's own directories must not be links")
                }
                _ => error.hint(format!(
                    "the image {} must hold the directories /root and /work: mount it and make /{}",
                    shown(file),
                    shown(inner)
                )),
            }
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(at, flags, Mode::empty()).map_err(|e| error(e.into_errno()))?;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        openat2(&dir, inner, flags, Mode::empty(), resolve)
            .map(drop)
            .map_err(|e| error(e.into_errno()))
    }

    fn undo(&self, _: &Mounts<'_>, _: Option<&Mark>, _: UndoOptions) -> Result<()> {
        Ok(())
    }
}
