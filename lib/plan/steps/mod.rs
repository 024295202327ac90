//! The kinds of steps: the data of each, its title in messages, and its shell commands. Calls no kernel: the
//! actions of a kind are in the file of the same name in `root`, `net` or `state`.
//!
//! A new kind takes a file here, a file there, a line in the table below, and a line in the table of
//! `subhost::executor`.

pub mod shell;

use crate::base::error::shown;
use serde::{Deserialize, Serialize};
use shell::Host;
use std::path::Path;

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing can be written.
    ReadOnly,
    /// Reads and writes are allowed.
    ReadWrite,
}

/// Whether a bind or a copy of a mount includes the mounts below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submounts {
    /// Only the mount itself is copied.
    Excluded,
    /// The mount and all mounts below it are copied (`AT_RECURSIVE`).
    Included,
}

/// The properties that all kinds of steps have.
pub trait Kind {
    /// Returns what the step makes, in a few words for messages.
    fn title(&self) -> String {
        let at = self.mount_point().unwrap_or(Path::new("/"));
        format!("the mount on {}", shown(at))
    }

    /// Returns the mount point; none if the step mounts nothing.
    fn mount_point(&self) -> Option<&Path> {
        None
    }

    /// Tells whether the step mounts the root of the subhost. While that mount stays, the steps below it
    /// stay.
    fn is_root(&self) -> bool {
        false
    }

    /// Tells whether the kernel keeps what the step makes, so that its absence means damage. A directory, a
    /// claim or a check is made again when it is needed.
    fn lasts(&self) -> bool {
        true
    }

    /// Returns the paths that the step shows at its mount point, and whether it shows the mounts below them.
    fn sources(&self) -> (Vec<&Path>, Submounts) {
        (Vec::new(), Submounts::Excluded)
    }

    /// Returns the name of the network namespace that the step makes.
    fn namespace(&self) -> Option<&str> {
        None
    }

    /// Returns the name of the link that the step makes on the host.
    fn link(&self) -> Option<&str> {
        None
    }

    /// Returns the shell commands that do the step.
    fn shell_up(&self, host: &Host) -> Vec<String>;

    /// Returns the shell commands that undo the step.
    fn shell_down(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Declares the module of each kind, the enum of all kinds, and the access to their common properties.
macro_rules! kinds {
    ($($(#[doc = $what:literal])+ $file:ident::$kind:ident,)+) => {
        $(pub mod $file;)+

        /// One step of a plan: it makes one object, which can be found and removed again.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Step {
            $($(#[doc = $what])+ $kind($file::$kind),)+
        }

        impl Step {
            fn kind(&self) -> &dyn Kind {
                match self {
                    $(Step::$kind(step) => step,)+
                }
            }
        }

        $(impl From<$file::$kind> for Step {
            fn from(step: $file::$kind) -> Self {
                Step::$kind(step)
            }
        })+
    };
}

kinds! {
    /// A directory, made if it is missing.
    directory::Directory,
    /// The exclusive use of a writable layer or image among all subhosts of the host.
    claim::Claim,
    /// The mount of an image by a loop device.
    image::Image,
    /// A check that a directory of an image exists and that its path holds no symbolic link.
    within::Within,
    /// A tmpfs mount.
    tmpfs::Tmpfs,
    /// An overlay mount.
    overlay::Overlay,
    /// A recursive bind mount with slave propagation.
    rbind::Rbind,
    /// A named network namespace with `lo` up.
    netns::Netns,
    /// A veth pair between the host and a named network namespace, and the addresses of its inner end.
    cable::Cable,
    /// A process that carries the traffic of a named network namespace.
    helper::Helper,
    /// Routes in a named network namespace.
    routes::Routes,
}

impl Step {
    /// Returns the [`Kind::title`].
    pub fn title(&self) -> String {
        self.kind().title()
    }

    /// Returns the [`Kind::mount_point`].
    pub fn mount_point(&self) -> Option<&Path> {
        self.kind().mount_point()
    }

    /// Returns [`Kind::is_root`].
    pub fn is_root(&self) -> bool {
        self.kind().is_root()
    }

    /// Returns [`Kind::lasts`].
    pub fn lasts(&self) -> bool {
        self.kind().lasts()
    }

    /// Returns the [`Kind::sources`].
    pub fn sources(&self) -> (Vec<&Path>, Submounts) {
        self.kind().sources()
    }

    /// Returns the [`Kind::namespace`].
    pub fn namespace(&self) -> Option<&str> {
        self.kind().namespace()
    }

    /// Returns the [`Kind::link`].
    pub fn link(&self) -> Option<&str> {
        self.kind().link()
    }

    /// Returns the commands of [`Kind::shell_up`].
    pub fn shell_up(&self, host: &Host) -> Vec<String> {
        self.kind().shell_up(host)
    }

    /// Returns the commands of [`Kind::shell_down`].
    pub fn shell_down(&self) -> Vec<String> {
        self.kind().shell_down()
    }
}

/// Returns the mount points of the steps, without that of the root. Files below them are visible only after
/// the mount.
pub fn pending(steps: &[Step]) -> impl Iterator<Item = &Path> {
    let places = steps.iter().filter(|step| !step.is_root());
    places.filter_map(Step::mount_point)
}

/// Tells whether `path` lies below a mount point that the steps have yet to mount on.
pub fn is_pending(path: &Path, steps: &[Step]) -> bool {
    pending(steps).any(|at| path.starts_with(at))
}
