//! The state of subhosts in /run/subhost: locks, frozen plans, records of PID 1, of cgroups and of how the last run ended,
//! claims of layers. Only this room reads and writes that directory. Nothing here acts on the kernel. A reboot of the host
//! removes the directory with everything that it records.

mod cgroups;
mod claim;
mod deferred;
mod files;
mod helper;
pub mod ids;
mod init;
mod last;
mod lock;
mod plans;
mod snapshot;

use crate::base::error::{Doing, Result};
use crate::base::name::Name;
use crate::base::paths::{RUN, SHARED};
use crate::kernel::dirs;
pub use cgroups::{Dir, Group};
use files::read_optional;
pub use init::{Booter, Init, Running, booter};
pub use last::Last;
pub use lock::Lock;
use snapshot::Snapshot;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The state of one subhost: a directory in /run/subhost.
///
/// Each question reads the files anew, unless this is a snapshot ([`State::snapshot`]).
#[derive(Debug, Clone)]
pub struct State {
    /// The directory of all states: /run/subhost, or a front end's own.
    root: PathBuf,
    /// The name of this state's directory in `root`.
    id: String,
    dir: PathBuf,
    snapshot: Option<Arc<Snapshot>>,
}

/// Returns the names of all subhosts that have a state, sorted.
pub fn names() -> Vec<Name> {
    let mut names = Vec::new();
    let _ = dirs::each(Path::new(RUN), |name| {
        // The state of a bridge ends in `.bridge`.
        let of_subhost = std::str::from_utf8(name).ok();
        let of_subhost = of_subhost.filter(|name| !name.ends_with(".bridge"));
        names.extend(of_subhost.and_then(Name::parse_recorded));
    });
    names.sort();
    names
}

/// Records that we made /run/netns a shared mount.
pub fn note_shared_mount() {
    // Without the record the mount stays, as one that iproute2 made.
    let _ = File::create(SHARED);
}

/// Removes the record that we made /run/netns a shared mount.
pub fn forget_shared_mount() {
    let _ = std::fs::remove_file(SHARED);
}

/// Reports whether it was us who made /run/netns a shared mount.
pub fn is_marked_shared() -> bool {
    Path::new(SHARED).exists()
}

impl State {
    /// The state of the subhost `name`. Reads nothing.
    pub fn new(name: &Name) -> Self {
        Self::at(Path::new(RUN), name.as_str())
    }

    /// The state `id` in the directory `root`, which a front end may have for itself. Reads nothing.
    pub fn at(root: &Path, id: &str) -> Self {
        Self {
            root: root.to_owned(),
            id: id.to_owned(),
            dir: root.join(id),
            snapshot: None,
        }
    }

    /// The same state, which reads no file twice: for the holder of the lock, as nobody else changes it then, and for a
    /// report of one moment.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self {
            snapshot: Some(Arc::default()),
            ..self.clone()
        }
    }

    /// As [`State::snapshot`], for a report: looks for the record of PID 1 only if there is the file for the end of its
    /// run, which is made before that record. A tmpfs does not cache names that do not exist, so that to open one costs
    /// more than to open a file.
    #[must_use]
    pub fn snapshot_for_report(&self) -> Self {
        let state = self.snapshot();
        let access = rustix::fs::access(self.last_file(), rustix::fs::Access::EXISTS);
        state.remember(|seen| seen.booted = Some(access != Err(rustix::io::Errno::NOENT)));
        state
    }

    /// Reports whether the snapshot has seen that the subhost has not been booted.
    fn is_not_booted(&self) -> bool {
        self.recall(|seen| seen.booted) == Some(false)
    }

    /// Reads a file of this state; `None` if it does not exist.
    fn read(&self, name: &str) -> Result<Option<String>> {
        files::read(&self.dir.join(name))
    }

    /// Reports whether the state has a directory.
    pub fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    /// Returns the state's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file of this state: the whole of it, or nothing.
    fn write(&self, file: &Path, text: &[u8]) -> Result<()> {
        let new = file.with_extension("new");
        let doing = || format!("write {}", file.display());
        let written = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut open| open.write_all(text));
        if let Err(e) = written {
            let _ = std::fs::remove_file(&new);
            return Err(e).doing(doing);
        }
        std::fs::rename(&new, file).doing(doing).inspect_err(|_| {
            let _ = std::fs::remove_file(&new);
        })
    }

    /// Writes a file that PID 1 binds over one of the tree. Returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.dir.join(name);
        let open = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&file);
        open.and_then(|mut open| open.write_all(text.as_bytes()))
            .doing(|| format!("write {}", file.display()))?;
        Ok(file)
    }
}
