//! Claims of writable layers and images, by device and inode. Two overlays or loop devices that write to one place corrupt
//! it, and the kernel reports that only in its log.

use super::State;
use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::base::name::Name;
use crate::base::paths::{CLAIMS, RUN};
use crate::kernel::mountinfo::Mark;
use crate::plan::steps::claim::Claim;
use crate::plan::{Act, Part, Presence, PresenceQuery, Step, UndoOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

impl Act<&State> for Claim {
    fn check(&self, _: &State, _: &[Step]) -> Result<()> {
        match std::fs::symlink_metadata(&self.path) {
            // The step that uses it reports what is missing, with a remedy.
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).doing(|| format!("use {}", shown(&self.path)))
            }
            _ => Ok(()),
        }
    }

    fn present(&self, state: &State, _: PresenceQuery<'_>) -> Result<Presence> {
        Ok(match state.has_claim(&self.path) {
            true => Presence::Ours,
            false => Presence::Absent,
        })
    }

    fn act(&self, state: &State) -> Result<()> {
        state.claim(&self.path)
    }

    fn undo(&self, state: &State, _: Option<&Mark>, _: UndoOptions) -> Result<()> {
        state.unclaim(&self.path);
        Ok(())
    }
}

impl State {
    /// Claims a writable layer or image for this subhost.
    ///
    /// # Errors
    /// `Failed`, with the subhost that uses it.
    pub fn claim(&self, path: &Path) -> Result<()> {
        let link = claim_link(path)?;
        for _ in 0..8 {
            match std::fs::create_dir(CLAIMS) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(e).doing(|| format!("make the directory {CLAIMS}"));
                }
                _ => {}
            }
            match std::os::unix::fs::symlink(self.claimant_name(), &link) {
                Ok(()) => return Ok(()),
                Err(e) => match e.into_errno() {
                    Errno::EEXIST => {}
                    // Another subhost gave up the last claim, and removed the directory.
                    Errno::ENOENT => continue,
                    errno => return Err(Error::sys(format!("claim {}", shown(path)), errno)),
                },
            }
            match self.claimant(&link) {
                Some(name) if Path::new(&name) == self.claimant_name() => return Ok(()),
                Some(name) => {
                    return Err(Error::new(
                        Exit::Failed,
                        format!("{} is in use by the subhost {name}", shown(path)),
                    )
                    .hint("two overlays or loop devices that write to one place corrupt it"));
                }
                // The claimant is not up any more.
                None => drop(std::fs::remove_file(&link)),
            }
        }
        Err(Error::sys(format!("claim {}", shown(path)), Errno::EAGAIN))
    }

    /// Returns the text of a claim of ours: the name of the subhost, or the directory of a front end's state.
    fn claimant_name(&self) -> &Path {
        match self.root == Path::new(RUN) {
            true => Path::new(&self.id),
            false => &self.dir,
        }
    }

    /// Returns the claimant that a claim names, if it is up.
    fn claimant(&self, link: &Path) -> Option<String> {
        let target = std::fs::read_link(link).ok()?;
        let other = match target.is_absolute() {
            true => State::at(target.parent()?, target.file_name()?.to_str()?),
            false => State::new(&Name::parse_recorded(target.to_str()?)?),
        };
        // A plan that cannot be read may be one of a root that is mounted.
        let up = other.dir == self.dir || !matches!(other.plan(Part::Root), Ok(None));
        up.then(|| shown(target))
    }

    /// Reports whether this subhost holds the claim of `path`.
    pub fn has_claim(&self, path: &Path) -> bool {
        claim_link(path).is_ok_and(|link| self.holds(&link))
    }

    /// Gives up the claim of `path`, or all claims if there is another file at that path now.
    pub fn unclaim(&self, path: &Path) {
        let give_up = |link: &Path| self.holds(link) && std::fs::remove_file(link).is_ok();
        if claim_link(path).is_ok_and(|link| give_up(&link)) {
            return;
        }
        for entry in std::fs::read_dir(CLAIMS).into_iter().flatten().flatten() {
            give_up(&entry.path());
        }
    }

    fn holds(&self, link: &Path) -> bool {
        std::fs::read_link(link).is_ok_and(|target| target == self.claimant_name())
    }
}

fn claim_link(path: &Path) -> Result<PathBuf> {
    let meta = std::fs::metadata(path).doing(|| format!("use {}", shown(path)))?;
    let (dev, ino) = (meta.dev(), meta.ino());
    let (major, minor) = (nix::libc::major(dev), nix::libc::minor(dev));
    Ok(Path::new(CLAIMS).join(format!("{major}:{minor}:{ino}")))
}
