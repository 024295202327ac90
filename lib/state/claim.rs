//! Claims of writable layers and images, by device and inode: two overlays or loop devices that
//! write to one place destroy it, and the kernel says so only in its log.

use super::State;
use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::base::name::Name;
use crate::base::paths::{CLAIMS, RUN};
use crate::kernel::mountinfo::Mark;
use crate::plan::steps::claim::Claim;
use crate::plan::{Act, Asked, Part, Presence, Step, Thoroughly};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

impl Act<&State> for Claim {
    fn check(&self, _: &State, _: &[Step]) -> Result<()> {
        match std::fs::symlink_metadata(&self.path) {
            // What of it is missing the step that uses it says, and how it is to be had.
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).doing(|| format!("use {}", shown(&self.path)))
            }
            _ => Ok(()),
        }
    }

    fn present(&self, state: &State, _: Asked<'_>) -> Result<Presence> {
        Ok(match state.has_claim(&self.path) {
            true => Presence::Ours,
            false => Presence::Absent,
        })
    }

    fn act(&self, state: &State) -> Result<()> {
        state.claim(&self.path)
    }

    fn undo(&self, state: &State, _: Option<&Mark>, _: Thoroughly) -> Result<()> {
        state.unclaim(&self.path);
        Ok(())
    }
}

impl State {
    /// Claims a writable layer or image for this subhost.
    ///
    /// # Errors
    /// `Failed` with the subhost that uses it.
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
                    // The last claim of another subhost went, and the directory with it.
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
                    .hint("two overlays or loop devices that write to one place destroy it"));
                }
                // Of a subhost that is no longer up.
                None => drop(std::fs::remove_file(&link)),
            }
        }
        Err(Error::sys(format!("claim {}", shown(path)), Errno::EAGAIN))
    }

    /// What a claim of ours says: the name of a subhost, or where a front end has its state.
    fn claimant_name(&self) -> &Path {
        match self.root == Path::new(RUN) {
            true => Path::new(&self.id),
            false => &self.dir,
        }
    }

    /// The living claimant that a claim names.
    fn claimant(&self, link: &Path) -> Option<String> {
        let target = std::fs::read_link(link).ok()?;
        let other = match target.is_absolute() {
            true => State::at(target.parent()?, target.file_name()?.to_str()?),
            false => State::new(&Name::parse_recorded(target.to_str()?)?),
        };
        // A plan that cannot be read may be that of something that is up.
        let up = other.dir == self.dir || !matches!(other.plan(Part::Root), Ok(None));
        up.then(|| shown(target))
    }

    /// Does this subhost hold the claim of `path`?
    pub fn has_claim(&self, path: &Path) -> bool {
        claim_link(path).is_ok_and(|link| self.holds(&link))
    }

    /// Gives up the claim of `path`; all claims, if another file lies there by now.
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
