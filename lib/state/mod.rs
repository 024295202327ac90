//! What a subhost's commands leave for one another in /run/subhost: the lock, the frozen plans,
//! who is its PID 1, how the last run ended, and which layers are in use. The only reader and
//! writer of that directory; gone at reboot, as is all that it speaks of.

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

use crate::base::error::{Doing, Result};
use crate::base::name::Name;
use crate::base::paths::{RUN, SHARED};
use crate::kernel::dirs;
use crate::plan::{Part, Plan};
pub use cgroups::{Dir, Group};
use files::read_optional;
pub use init::{Booter, Init, Running, booter};
pub use last::Last;
pub use lock::Lock;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The state of one subhost.
#[derive(Debug, Clone)]
pub struct State {
    /// Where states are: /run/subhost, or a front end's own.
    root: PathBuf,
    /// The name of its directory there.
    id: String,
    dir: PathBuf,
    known: Arc<Mutex<Known>>,
}

/// What has been read or written since we took the lock: until we let go of it nobody else changes it,
/// so it need not be read again. Or since a [`State::look`], which is to be of one moment.
#[derive(Debug, Default)]
struct Known {
    keeps: bool,
    /// Of those who only look: has it been booted since something of it is up?
    booted: Option<bool>,
    /// By part.
    plans: [Option<Option<Arc<Plan>>>; Part::ALL.len()],
    init: Option<Option<Init>>,
}

/// The names of all subhosts that have state. Sorted.
pub fn names() -> Vec<Name> {
    let mut names = Vec::new();
    let _ = dirs::each(Path::new(RUN), |name| {
        // What ends in `.bridge` is a bridge's.
        let of_subhost = std::str::from_utf8(name).ok();
        let of_subhost = of_subhost.filter(|name| !name.ends_with(".bridge"));
        names.extend(of_subhost.and_then(Name::parse_recorded));
    });
    names.sort();
    names
}

/// Notes that we made /run/netns a shared mount, or took it back.
pub fn mark_shared(made: bool) {
    // Without the note the mount stays, as iproute2's does.
    let _ = match made {
        true => File::create(SHARED).map(drop),
        false => std::fs::remove_file(SHARED),
    };
}

/// Was it we who made /run/netns a shared mount?
pub fn is_marked_shared() -> bool {
    Path::new(SHARED).exists()
}

impl State {
    /// Of the subhost `name`; touches nothing.
    pub fn new(name: &Name) -> Self {
        Self::at(Path::new(RUN), name.as_str())
    }

    /// Of what is called `id` among the states in `root`, a front end's own directory; touches nothing.
    pub fn at(root: &Path, id: &str) -> Self {
        Self {
            root: root.to_owned(),
            id: id.to_owned(),
            dir: root.join(id),
            known: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is read is kept or not; what was known before counts no more.
    fn begin(&self, keeps: bool) {
        *self.known() = Known {
            keeps,
            ..Known::default()
        };
    }

    /// For those who only look: from now on nothing is read twice, and PID 1 is looked for only where it has been
    /// given the file for the end of its run, before it was recorded. What is not there costs the kernel more than
    /// what is: a tmpfs does not remember it.
    pub fn look(&self) {
        self.begin(true);
        let access = rustix::fs::access(self.last_file(), rustix::fs::Access::EXISTS);
        self.known().booted = Some(access != Err(rustix::io::Errno::NOENT));
    }

    /// Is it known that it has not been booted?
    fn is_not_booted(&self) -> bool {
        self.known().booted == Some(false)
    }

    /// A file of ours by name.
    fn read(&self, name: &str) -> Result<Option<String>> {
        files::read(&self.dir.join(name))
    }

    /// Is there any of it?
    pub fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file of the state in whole or not at all.
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

    /// A text that PID 1 binds over a file of the tree; gives its path.
    ///
    /// # Errors
    /// It cannot be written.
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
