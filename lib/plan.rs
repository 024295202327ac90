//! What will be done, as data: steps, the plan that a subhost is made by, and the law of doing and
//! undoing them.
//!
//! Pure: no kernel, no clock. What a step means to the kernel is in `root` and `net`; here it is
//! only ordered, frozen and shown.

use crate::config::{Cable, Cidr, Phase};
use crate::error::{Error, Exit, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One thing that is made, and that can be found and taken away again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// A directory, made if missing; never removed where `keep`.
    Directory {
        /// Where.
        path: PathBuf,
        /// It stays when the step is undone.
        keep: bool,
    },
    /// The exclusive use of a writable layer or image, among all subhosts of the host.
    Claim {
        /// The directory or file.
        path: PathBuf,
    },
    /// A file with a file system, on a loop device.
    Image {
        /// The file.
        file: PathBuf,
        /// Where it is mounted.
        at: PathBuf,
        /// Number of the partition; none: the whole file.
        partition: Option<u32>,
        /// File system type; none: by its superblock.
        fstype: Option<String>,
        /// Options of the file system.
        options: Option<String>,
        /// Attached and mounted read-only.
        read_only: bool,
    },
    /// A check: the directory `path` exists below `at` and no link leads to it.
    Within {
        /// The image.
        file: PathBuf,
        /// Where it is mounted.
        at: PathBuf,
        /// The directory.
        path: PathBuf,
    },
    /// A tmpfs.
    Tmpfs {
        /// Where.
        at: PathBuf,
        /// Bytes that it may hold; none: half of the host's memory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    },
    /// An overlay.
    Overlay {
        /// Layers, topmost first.
        lowers: Vec<PathBuf>,
        /// Writable layer and work directory; none: the overlay is read-only.
        upper: Option<(PathBuf, PathBuf)>,
        /// Where.
        at: PathBuf,
        /// First of the host's ids that its files have there, from 0 on; none: their own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<u32>,
    },
    /// A recursive bind whose content takes mounts from the source and gives none back.
    Rbind {
        /// The tree.
        source: PathBuf,
        /// Where.
        at: PathBuf,
        /// With all submounts.
        read_only: bool,
        /// As of an overlay.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<u32>,
    },
    /// A named network namespace with `lo` up.
    Netns {
        /// Its name in /run/netns.
        name: String,
        /// First id of the user namespace that it belongs to; none: the host's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<u32>,
    },
    /// A veth pair between the host and a named namespace, with the inner end's addresses.
    Cable {
        /// The namespace.
        netns: String,
        /// Marks it as ours: the alias of the host end.
        alias: String,
        /// The pair.
        cable: Cable,
    },
    /// A process that carries what goes in and out of a named namespace.
    Helper {
        /// The namespace.
        netns: String,
    },
    /// Routes inside a named namespace.
    Routes {
        /// The namespace.
        netns: String,
        /// Default gateways.
        gateways: Vec<IpAddr>,
        /// Network and gateway.
        routes: Vec<(Cidr, IpAddr)>,
    },
}

/// What the kernel calls what a step made, so that it is found wherever it has gone since and nothing
/// else is mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Id in mountinfo of the mount, or of the one on the name of a network namespace. A later mount
    /// may get it.
    pub id: u64,
    /// Its id for all of this boot (STATX_MNT_ID_UNIQUE, `statx(2)`); 0 before Linux 6.8.
    pub unique: u64,
    /// Device and inode of its root directory.
    pub root: (u64, u64),
    /// Of a network namespace: the inode that /proc/PID/ns/net shows, which a later one may get, and
    /// its cookie (SO_NETNS_COOKIE), which none gets again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<(u64, u64)>,
}

/// A step of a plan, with the mark of what it made if that is known.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The step.
    pub step: &'a Step,
    /// The mark.
    pub mark: Option<&'a Mark>,
}

/// The half of a subhost that a plan makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// Its root file system.
    Root,
    /// Its network.
    Net,
}

impl Half {
    /// As messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Half::Root => "root",
            Half::Net => "network",
        }
    }
}

/// The version of the frozen form; another one is refused.
pub const FORMAT: u32 = 1;

/// Everything that bringing up or taking down one half of a subhost needs to know. What is up is
/// what its frozen plan says, whatever became of the config since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// Id of the boot of the host that it was frozen in.
    pub boot: String,
    /// $SUBHOST.
    pub tree: PathBuf,
    /// The subhost's name.
    pub name: String,
    /// Which half.
    pub half: Half,
    /// `overlay`, `rbind`, `image`; or `private`, `host`, `netns:NAME`.
    pub kind: String,
    /// In the order of making.
    pub steps: Vec<Step>,
    /// For each step what it made; none until all are done, hooks too.
    pub made: Option<Vec<Option<Mark>>>,
    /// Where the root is mounted.
    pub live: PathBuf,
    /// The namespace as a path; empty: the host's.
    pub netns: PathBuf,
    /// First of the ids of its user namespace; none: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
    /// Programs on the host run along the way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<Phase, Vec<String>>,
    /// How long each may take; nothing if there are none.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub hook_timeout: Duration,
    /// The environment that they get; empty if there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hook_env: BTreeMap<String, String>,
}

impl Plan {
    /// The steps with their marks.
    pub fn planned(&self) -> impl DoubleEndedIterator<Item = Planned<'_>> {
        self.steps.iter().enumerate().map(|(index, step)| Planned {
            step,
            mark: self
                .made
                .iter()
                .flatten()
                .nth(index)
                .and_then(Option::as_ref),
        })
    }

    /// Would the other plan make the same?
    pub fn makes_the_same(&self, other: &Plan) -> bool {
        self.steps == other.steps && self.kind == other.kind && self.live == other.live
    }

    /// The frozen form: JSON.
    ///
    /// # Errors
    /// A path that is not UTF-8 (a config cannot name one).
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string(self);
        text.map_err(|e| Error::new(Exit::Invalid, format!("cannot freeze the plan: {e}")))
    }

    /// Reads the frozen form.
    ///
    /// # Errors
    /// `Invalid` for another format or a damaged file.
    pub fn from_text(text: &str) -> Result<Self> {
        let damaged = |why: String| {
            Error::new(
                Exit::Invalid,
                format!("the frozen plan cannot be read: {why}"),
            )
        };
        let other = |format: u32| {
            damaged(format!(
                "it has format {format}, this version reads {FORMAT}"
            ))
        };
        match serde_json::from_str::<Self>(text) {
            Ok(plan) if plan.format == FORMAT => Ok(plan),
            Ok(plan) => Err(other(plan.format)),
            Err(e) => {
                #[derive(Deserialize)]
                struct Version {
                    format: u32,
                }
                match serde_json::from_str::<Version>(text) {
                    Ok(Version { format }) if format != FORMAT => Err(other(format)),
                    _ => Err(damaged(e.to_string())),
                }
            }
        }
    }
}

/// Is what a step makes there?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// No.
    Absent,
    /// Yes, exactly what the step would make.
    Ours,
    /// Something else is in its place; in words.
    Foreign(String),
}

/// Does the steps in order. Those that are there already are left; if one fails, those that this
/// call did are undone backwards and the first error is returned with the errors of undoing. The
/// step that failed has left nothing and is not undone. Gives the number of steps done.
///
/// # Errors
/// The first failure of `act`, with those of `undo` in `also`.
pub fn apply<S>(
    steps: &[(S, Presence)],
    mut act: impl FnMut(&S) -> Result<()>,
    mut undo: impl FnMut(&S) -> Result<()>,
) -> Result<usize> {
    let mut done: Vec<&S> = Vec::new();
    for (step, presence) in steps {
        if *presence != Presence::Absent {
            continue;
        }
        if let Err(first) = act(step) {
            let undone = done.into_iter().rev().map(&mut undo);
            return Err(first.also(undone.filter_map(Result::err)));
        }
        done.push(step);
    }
    Ok(done.len())
}

/// Undoes all steps backwards, whatever fails.
///
/// # Errors
/// The first failure, with the others in `also`.
pub fn undo_all<S>(steps: &[S], undo: impl FnMut(&S) -> Result<()>) -> Result<()> {
    let results = steps.iter().rev().map(undo);
    Error::collect(results.filter_map(Result::err).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn failure(what: &str, step: usize) -> Error {
        Error::new(Exit::Failed, format!("{what} {step}"))
    }

    /// For every length, every set of present steps, every failing step and every failing undo.
    #[test]
    fn the_law() {
        for len in 0..6usize {
            for present in 0..1u32 << len {
                for fail in 0..=len {
                    for bad_undo in 0..=len {
                        check(len, present, fail, bad_undo);
                    }
                }
            }
        }
    }

    fn check(len: usize, present: u32, fail: usize, bad_undo: usize) {
        let is_present = |step: usize| present & 1 << step != 0;
        let steps: Vec<(usize, Presence)> = (0..len)
            .map(|step| match is_present(step) {
                true => (step, Presence::Ours),
                false => (step, Presence::Absent),
            })
            .collect();
        let log = RefCell::new(Vec::new());
        let result = apply(
            &steps,
            |&step| {
                log.borrow_mut().push(format!("act {step}"));
                (step != fail)
                    .then_some(())
                    .ok_or_else(|| failure("act", step))
            },
            |&step| {
                log.borrow_mut().push(format!("undo {step}"));
                (step != bad_undo)
                    .then_some(())
                    .ok_or_else(|| failure("undo", step))
            },
        );
        let fails = fail < len && !is_present(fail);
        let acted: Vec<usize> = (0..len)
            .filter(|&step| !is_present(step) && (!fails || step <= fail))
            .collect();
        let mut expected: Vec<String> = acted.iter().map(|step| format!("act {step}")).collect();
        if fails {
            let undone = acted.iter().rev().filter(|&&step| step < fail);
            expected.extend(undone.map(|step| format!("undo {step}")));
        }
        assert_eq!(log.into_inner(), expected);
        match result {
            Ok(count) => assert!(!fails && count == acted.len()),
            Err(error) => {
                assert!(fails);
                assert_eq!(error.what, format!("act {fail}"));
                let also = usize::from(bad_undo < fail && !is_present(bad_undo));
                assert_eq!(error.also.len(), also);
            }
        }
    }

    #[test]
    fn undoing_never_stops() {
        let log = RefCell::new(Vec::new());
        let result = undo_all(&[0, 1, 2, 3], |&step| {
            log.borrow_mut().push(step);
            (step % 2 == 0)
                .then_some(())
                .ok_or_else(|| failure("undo", step))
        });
        assert_eq!(log.into_inner(), [3, 2, 1, 0]);
        let error = result.unwrap_err();
        assert_eq!((error.what.as_str(), error.also.len()), ("undo 3", 1));
    }

    #[test]
    fn another_format_is_refused() {
        let error = Plan::from_text("{\"format\": 999}").unwrap_err();
        assert_eq!(error.exit, Exit::Invalid);
        assert!(error.what.contains("999"));
    }
}
