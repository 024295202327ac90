//! The kinds of steps: each one's data, its name in words, and its form as shell commands. Pure: what a kind
//! means to the kernel is in a file of the same name in `root`, `net` or `state`.
//!
//! A new kind is a file here, one there, a line in the table below, and one in that of `subhost::hands`.

pub mod shell;

use crate::base::error::shown;
use serde::{Deserialize, Serialize};
use shell::Host;
use std::path::Path;

/// What all kinds of steps have to say of themselves.
pub trait Kind {
    /// In a few words, as messages name what it makes.
    fn title(&self) -> String {
        let at = self.mount_point().unwrap_or(Path::new("/"));
        format!("the mount on {}", shown(at))
    }

    /// Where it mounts something; none if it is no mount.
    fn mount_point(&self) -> Option<&Path> {
        None
    }

    /// Is it the mount of the subhost's root? As long as that stays, so does what lies under it.
    fn is_root(&self) -> bool {
        false
    }

    /// Is what it makes kept by the kernel, so that it is missed when it is gone? A directory, a claim or a check
    /// is made again when it is needed.
    fn lasts(&self) -> bool {
        true
    }

    /// What it shows in another place, and whether with all that is mounted below it.
    fn sources(&self) -> (Vec<&Path>, bool) {
        (Vec::new(), false)
    }

    /// The name of the network namespace that it makes.
    fn namespace(&self) -> Option<&str> {
        None
    }

    /// The name of the host's link that it makes.
    fn link(&self) -> Option<&str> {
        None
    }

    /// The shell commands that make it.
    fn shell_up(&self, host: &Host) -> Vec<String>;

    /// The shell commands that take it away.
    fn shell_down(&self) -> Vec<String> {
        Vec::new()
    }
}

/// From the table of kinds: their files, the enum of all of them, and what is asked of any.
macro_rules! kinds {
    ($($(#[doc = $what:literal])+ $file:ident::$kind:ident,)+) => {
        $(pub mod $file;)+

        /// One thing that is made, and that can be found and taken away again.
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
    /// A directory, made if missing.
    directory::Directory,
    /// The exclusive use of a writable layer or image, among all subhosts of the host.
    claim::Claim,
    /// A file with a file system, on a loop device.
    image::Image,
    /// A check: a directory of an image exists, and no link leads to it.
    within::Within,
    /// A tmpfs.
    tmpfs::Tmpfs,
    /// An overlay.
    overlay::Overlay,
    /// A recursive bind whose content takes mounts from the source and gives none back.
    rbind::Rbind,
    /// A named network namespace with `lo` up.
    netns::Netns,
    /// A veth pair between the host and a named namespace, with the inner end's addresses.
    cable::Cable,
    /// A process that carries what goes in and out of a named namespace.
    helper::Helper,
    /// Routes inside a named namespace.
    routes::Routes,
}

impl Step {
    /// As [`Kind::title`].
    pub fn title(&self) -> String {
        self.kind().title()
    }

    /// As [`Kind::mount_point`].
    pub fn mount_point(&self) -> Option<&Path> {
        self.kind().mount_point()
    }

    /// As [`Kind::is_root`].
    pub fn is_root(&self) -> bool {
        self.kind().is_root()
    }

    /// As [`Kind::lasts`].
    pub fn lasts(&self) -> bool {
        self.kind().lasts()
    }

    /// As [`Kind::sources`].
    pub fn sources(&self) -> (Vec<&Path>, bool) {
        self.kind().sources()
    }

    /// As [`Kind::namespace`].
    pub fn namespace(&self) -> Option<&str> {
        self.kind().namespace()
    }

    /// As [`Kind::link`].
    pub fn link(&self) -> Option<&str> {
        self.kind().link()
    }

    /// As [`Kind::shell_up`].
    pub fn shell_up(&self, host: &Host) -> Vec<String> {
        self.kind().shell_up(host)
    }

    /// As [`Kind::shell_down`].
    pub fn shell_down(&self) -> Vec<String> {
        self.kind().shell_down()
    }
}

/// The places that steps will make, a root's own aside: what lies below them cannot be looked at before.
pub fn pending(steps: &[Step]) -> impl Iterator<Item = &Path> {
    let places = steps.iter().filter(|step| !step.is_root());
    places.filter_map(Step::mount_point)
}

/// Does `path` lie in a place that the steps will make?
pub fn is_pending(path: &Path, steps: &[Step]) -> bool {
    pending(steps).any(|at| path.starts_with(at))
}
