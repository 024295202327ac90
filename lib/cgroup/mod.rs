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
mod recorded;
mod usage;

pub use dir::{members, remove_empty};
pub use limits::Rates;
pub use live::change;
pub use place::OURS;
pub use usage::Usage;

use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::config::Config;
use crate::kernel::spawn::Entry;
use crate::state::{Dir, Group};
use crate::sys::Instruction;
use limits::{Wanted, old_name, wanted};
use place::{Hierarchies, Which};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// Where an init of the tree's own is: its limits lie above what it can write.
const INIT: &str = "init";
/// Where those are that join such a subhost: its init may have divided its own among its services,
/// and then no process can be in it.
const JOINED: &str = "joined";

/// Cgroups that are to be made, with what is written into them; by default none.
#[derive(Debug, Default)]
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

impl Plan {
    /// What the settings want, found in the hierarchies of this host. `divided`: for an init of the
    /// tree's own.
    ///
    /// # Errors
    /// A limit is set and the host has no such controller; CGROUP names what is not there.
    pub fn new(config: &Config, divided: bool) -> Result<Self> {
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
    if crate::kernel::privilege::is_user() {
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
