//! The cgroups of a subhost: one in the v2 hierarchy, to end, freeze and count all that runs in it,
//! and on hybrid hosts one in each v1 hierarchy whose controller a limit needs.
//!
//! They are made before PID 1 and recorded before that, so that whatever is killed on the way, stop
//! finds them. What is in a cgroup's directory is the kernel's: it goes by rmdir alone.

mod devices;
mod dir;
mod freeze;
mod limits;
mod live;
mod place;
mod rates;
mod usage;

pub use dir::{members, remove_empty};
pub use limits::Rates;
pub use live::change;
pub use place::OURS;
pub use usage::Usage;

use crate::config::Config;
use crate::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use crate::sys::Instruction;
use limits::{Wanted, old_name, wanted};
use place::{Hierarchies, Which};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where an init of the tree's own is: its limits lie above what it can write.
const INIT: &str = "init";
/// Where those are that join such a subhost: its init may have divided its own among its services,
/// and then no process can be in it.
const JOINED: &str = "joined";

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// The cgroup.
    pub path: PathBuf,
    /// Controllers are given down from here, and not from above.
    pub floor: PathBuf,
    /// What it lies in is ours as well, and goes with the last.
    pub parent_is_ours: bool,
    /// Controllers of its v1 hierarchy; empty: it is of v2.
    pub v1: Vec<String>,
}

/// All cgroups of a subhost, as they are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// That of v2 first, if there is one.
    pub dirs: Vec<Dir>,
    /// An init of the tree's own has its part of that of v2, and those that join another.
    pub divided: bool,
    /// The keys of limits that are set, as they hold now.
    pub settings: BTreeMap<String, String>,
    /// The root's writable layer or its image, for IO.
    pub root: Option<PathBuf>,
}

/// Cgroups that are to be made, with what is written into them.
#[derive(Debug)]
pub struct Plan {
    /// What is recorded.
    pub group: Group,
    wanted: Vec<(usize, Wanted)>,
    devices: Vec<devices::Rule>,
}

/// Who enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// PID 1.
    Init,
    /// Who joins it.
    Joining,
}

/// The way in, opened on the host.
#[derive(Debug, Default)]
pub struct Entry {
    /// The directory in v2's hierarchy.
    pub unified: Option<OwnedFd>,
    v1: Vec<File>,
}

impl Entry {
    /// The calling process, of one thread, moves itself into those of v1, and `moved`
    /// says whether it was made in that of v2.
    ///
    /// # Errors
    /// One has been removed.
    pub fn join(&self, moved: bool) -> std::result::Result<(), Errno> {
        for mut file in &self.v1 {
            file.write_all(b"0").map_err(IntoErrno::into_errno)?;
        }
        let Some(dir) = self.unified.as_ref().filter(|_| !moved) else {
            return Ok(());
        };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = rustix::fs::openat(dir, "cgroup.procs", flags, Mode::empty());
        let mut procs = File::from(procs.map_err(IntoErrno::into_errno)?);
        procs.write_all(b"0").map_err(IntoErrno::into_errno)
    }
}

impl Plan {
    /// What the settings want, found in the hierarchies of this host. `divided`: for an init of the
    /// tree's own.
    ///
    /// # Errors
    /// A limit is set and the host has no such controller; CGROUP names what is not there.
    pub fn of(config: &Config, divided: bool) -> Result<Self> {
        let limits = &config.limits;
        let root = match &config.root.image {
            Some(image) => image.file.clone(),
            None => config.root.upper.clone(),
        };
        let mut found = Hierarchies::default();
        let mut dirs = Vec::new();
        dirs.extend(found.place(Which::V2, &limits.cgroup, &config.name, true)?);
        let mut all = Vec::new();
        for wanted in wanted(limits, &rates::rates(&limits.io, &root)?) {
            if dirs
                .first()
                .is_some_and(|dir| dir.is_v2() && dir.can(wanted.controller))
            {
                all.push((0, wanted));
                continue;
            }
            let name = old_name(wanted.controller);
            let thorough = wanted.explicit;
            let place = found.place(Which::V1(name), &limits.cgroup, &config.name, thorough);
            match place {
                Ok(Some(dir)) => all.push((add(&mut dirs, dir, name), wanted)),
                Ok(None) | Err(_) if !wanted.explicit => {}
                Ok(None) => return Err(missing(&wanted)),
                Err(error) => return Err(error),
            }
        }
        if !dirs.iter().any(Dir::is_v2) {
            // Where there is no v2 at all, freezing and devices have controllers of their own.
            for controller in ["freezer", "devices"] {
                let which = Which::V1(controller);
                let dir = found.place(which, &limits.cgroup, &config.name, false);
                if let Ok(Some(dir)) = dir {
                    add(&mut dirs, dir, controller);
                }
            }
        }
        let divided = divided && dirs.iter().any(Dir::is_v2);
        Ok(Self {
            group: Group {
                dirs,
                divided,
                settings: config.limit_settings(),
                root: Some(root),
            },
            wanted: all,
            devices: devices::rules(config),
        })
    }

    /// Makes them. Gives those that are there: where cgroups cannot be written and nothing is set that
    /// needs them, none.
    ///
    /// # Errors
    /// One that a limit needs cannot be made, or does not take the limit; none is left then.
    pub fn make(&self) -> Result<Group> {
        let mut made = Group {
            dirs: Vec::new(),
            ..self.group.clone()
        };
        match self.make_all(&mut made.dirs) {
            Ok(()) => {
                made.divided &= made.dirs.iter().any(Dir::is_v2);
                Ok(made)
            }
            Err(error) => Err(error.also(made.remove().err())),
        }
    }

    fn make_all(&self, made: &mut Vec<Dir>) -> Result<()> {
        for (index, dir) in self.group.dirs.iter().enumerate() {
            let wanted = self.wanted.iter().filter(|(at, _)| *at == index);
            let wanted: Vec<&Wanted> = wanted.map(|(_, wanted)| wanted).collect();
            let divided = self.group.divided && dir.is_v2();
            if let Err(error) = dir.make(divided) {
                let error = error.also(dir.leave_parent().err());
                match wanted.iter().find(|wanted| wanted.explicit) {
                    None if cannot_write(error.errno) && error.also.is_empty() => continue,
                    None => return Err(error),
                    Some(wanted) => return Err(error.hint(format!("{} needs it", wanted.key))),
                }
            }
            made.push(dir.clone());
            if dir.is_v2() {
                devices::attach(&dir.path, &self.devices);
            } else if dir.v1.iter().any(|one| one == "devices") {
                devices::allow(&dir.path, &self.devices)
                    .doing(|| format!("bound the devices of {}", shown(&dir.path)))?;
            }
            for wanted in wanted {
                match dir.limit(wanted, divided) {
                    Err(error) if wanted.explicit => return Err(error),
                    // Where it cannot be given, the usual limit is none.
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The program that bounds the devices of this subhost where its cgroup is of v2.
pub fn device_program(config: &Config) -> Vec<Instruction> {
    devices::program(&devices::rules(config))
}

/// Puts a directory to the others; one hierarchy can have several controllers. Gives its place.
fn add(dirs: &mut Vec<Dir>, mut dir: Dir, controller: &str) -> usize {
    let device = |dir: &Dir| std::fs::metadata(&dir.floor).ok().map(|meta| meta.dev());
    let same = |other: &Dir| !other.is_v2() && device(other) == device(&dir);
    let index = match dirs.iter().position(same) {
        Some(index) => index,
        None => {
            dir.v1.clear();
            dirs.push(dir);
            dirs.len() - 1
        }
    };
    if !dirs[index].v1.iter().any(|one| one == controller) {
        dirs[index].v1.push(controller.to_owned());
    }
    index
}

fn missing(wanted: &Wanted) -> Error {
    if crate::rootless::is_user() {
        let what = format!("{} needs a cgroup that is the user's to manage", wanted.key);
        return Error::new(Exit::Failed, what).hint(
            "systemd gives him one; elsewhere root makes it, gives it to him, and CGROUP names it",
        );
    }
    let what = format!(
        "{} needs the cgroup controller {}, which this host does not have",
        wanted.key, wanted.controller
    );
    Error::new(Exit::Failed, what).hint(match wanted.controller {
        "memory" => "a kernel with CONFIG_MEMCG, not told cgroup_disable=memory",
        "pids" => "a kernel with CONFIG_CGROUP_PIDS",
        "cpuset" => "a kernel with CONFIG_CPUSETS",
        "io" => "a kernel with CONFIG_BLK_CGROUP",
        _ => "a kernel with CONFIG_CGROUP_SCHED and CONFIG_CFS_BANDWIDTH",
    })
}

/// Cgroups are for others to write, or not there to be written.
fn cannot_write(errno: Option<Errno>) -> bool {
    [Errno::EROFS, Errno::EACCES, Errno::EPERM]
        .iter()
        .any(|known| errno == Some(*known))
}

impl Group {
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// That of v2, if there is one.
    pub fn unified(&self) -> Option<&Path> {
        let dir = self.dirs.iter().find(|dir| dir.is_v2());
        dir.map(|dir| dir.path.as_path())
    }

    /// That of the v1 hierarchy that has this controller.
    pub fn v1(&self, controller: &str) -> Option<&Path> {
        let has = |dir: &&Dir| dir.v1.iter().any(|one| one == controller);
        self.dirs.iter().find(has).map(|dir| dir.path.as_path())
    }

    /// The way in.
    ///
    /// # Errors
    /// One has been removed.
    pub fn entry(&self, who: Who) -> Result<Entry> {
        let mut entry = Entry::default();
        for dir in &self.dirs {
            if !dir.is_v2() {
                let tasks = dir.path.join("tasks");
                let file = File::options().write(true).open(&tasks);
                entry
                    .v1
                    .push(file.doing(|| format!("open {}", shown(&tasks)))?);
                continue;
            }
            let path = match (self.divided, who) {
                (false, _) => dir.path.clone(),
                (true, Who::Init) => dir.path.join(INIT),
                (true, Who::Joining) => dir.path.join(JOINED),
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let open = rustix::fs::open(&path, flags, Mode::empty());
            entry.unified = Some(open.doing(|| format!("open the cgroup {}", shown(&path)))?);
        }
        Ok(entry)
    }

    /// Makes that of v2 which PID 1 is in one that the user `owner` manages (`cgroups(7)`, delegation).
    ///
    /// # Errors
    /// It has been removed.
    pub fn give_to(&self, owner: u32) -> Result<()> {
        let Some(dir) = self.unified() else {
            return Ok(());
        };
        let dir = match self.divided {
            true => dir.join(INIT),
            false => dir.to_owned(),
        };
        for file in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
        ] {
            std::os::unix::fs::chown(dir.join(file), Some(owner), Some(owner))
                .doing(|| format!("give the cgroup {} to {owner}", shown(&dir)))?;
        }
        Ok(())
    }

    /// Ends what is left in them, and removes them.
    ///
    /// # Errors
    /// What does not end.
    pub fn remove(&self) -> Result<()> {
        let removed = self.dirs.iter().map(Dir::remove);
        Error::collect(removed.filter_map(Result::err).collect())
    }
}
