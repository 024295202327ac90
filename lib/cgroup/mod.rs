//! The cgroups of a subhost: one in the v2 hierarchy, to kill, freeze and count its processes, and on
//! hybrid hosts one in each v1 hierarchy whose controller a limit needs.
//!
//! They are recorded before they are made, and made before PID 1, so that a stop finds them even if a tool
//! was killed. The files in a cgroup belong to the kernel; rmdir(2) removes it with them.

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
pub use live::{Target, change};
pub use place::OURS;
pub use usage::{Counts, Usage};

use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::config::Config;
use crate::kernel::spawn::Entry;
use crate::state::{Dir, Group};
use crate::sys::Instruction;
use limits::{Wanted, v1_name, wanted};
use place::{Hierarchies, Search, Which};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// The cgroup of an init of the tree. The limits are on its parent, which the init cannot write.
const INIT: &str = "init";
/// The cgroup of processes that join a subhost with such an init. The init may have divided its own cgroup
/// among its services, and then it cannot hold processes itself.
const JOINED: &str = "joined";

/// The division of the v2 cgroup of a subhost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All processes are in the cgroup itself.
    Single,
    /// An init of the tree, and the processes that join, have cgroups of their own below it.
    Divided,
}

/// The cgroups to make, and what to write into their files. By default there are none.
#[derive(Debug, Default)]
pub struct Plan {
    /// The cgroups as they are recorded.
    pub group: Group,
    wanted: Vec<(usize, Wanted)>,
    devices: Vec<devices::Rule>,
}

/// A process that enters the cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// PID 1.
    Init,
    /// A process that joins a running subhost.
    Joining,
}

impl Plan {
    /// Plans the cgroups and limits of a config, in the hierarchies of this host.
    ///
    /// # Errors
    /// A limit is set and the host lacks its controller, or the cgroup that CGROUP names does not exist.
    pub fn new(config: &Config, layout: Layout) -> Result<Self> {
        let limits = &config.limits;
        let root = match &config.root.image {
            Some(image) => image.file.clone(),
            None => config.root.upper.clone(),
        };
        let mut hierarchies = Hierarchies::default();
        let mut place =
            |which, search| hierarchies.place(which, &limits.cgroup, &config.name, search);
        let mut dirs = Vec::new();
        dirs.extend(place(Which::V2, Search::MountTable)?);
        let mut all = Vec::new();
        for wanted in wanted(limits, &rates::rates(&limits.io, &root)?) {
            if dirs
                .first()
                .is_some_and(|dir| dir.is_v2() && dir.has_controller(wanted.controller))
            {
                all.push((0, wanted));
                continue;
            }
            let name = v1_name(wanted.controller);
            let search = match wanted.explicit {
                true => Search::MountTable,
                false => Search::UsualPlaces,
            };
            match place(Which::V1(name), search) {
                Ok(Some(dir)) => all.push((add(&mut dirs, dir, name), wanted)),
                Ok(None) | Err(_) if !wanted.explicit => {}
                Ok(None) => return Err(missing(&wanted)),
                Err(error) => return Err(error),
            }
        }
        if !dirs.iter().any(Dir::is_v2) {
            // Without a v2 hierarchy, freezing and device rules need v1 controllers.
            for controller in ["freezer", "devices"] {
                let dir = place(Which::V1(controller), Search::UsualPlaces);
                if let Ok(Some(dir)) = dir {
                    add(&mut dirs, dir, controller);
                }
            }
        }
        let divided = layout == Layout::Divided && dirs.iter().any(Dir::is_v2);
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

    /// Makes the cgroups and returns those that exist then. If the host lets us write none, and no limit is
    /// set that needs one, there are none.
    ///
    /// # Errors
    /// A cgroup that a limit needs cannot be made, or the kernel refuses the limit. No cgroup is left then.
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
            let layout = match dir.is_v2() {
                true => self.group.layout(),
                false => Layout::Single,
            };
            if let Err(error) = dir.make(layout) {
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
                match dir.limit(wanted, layout) {
                    Err(error) if wanted.explicit => return Err(error),
                    // A default limit that cannot be set is left out.
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Compiles the program that restricts the devices of a subhost in a v2 cgroup.
pub fn device_program(config: &Config) -> Vec<Instruction> {
    devices::program(&devices::rules(config))
}

/// Adds a directory to the others, or its controller to that of the same hierarchy. Returns its index.
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

/// Makes the failure of a limit whose controller the host lacks.
fn missing(wanted: &Wanted) -> Error {
    if crate::kernel::privilege::is_user() {
        let what = format!("{} needs a cgroup that the user may manage", wanted.key);
        return Error::new(Exit::Failed, what).hint(
            "systemd delegates one; elsewhere root makes one, chowns it to the user, and CGROUP names it",
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

/// Tells whether an errno says that this host lets us write no cgroups.
fn cannot_write(errno: Option<Errno>) -> bool {
    [Errno::EROFS, Errno::EACCES, Errno::EPERM]
        .iter()
        .any(|known| errno == Some(*known))
}

impl Group {
    /// Returns the layout of the v2 cgroup.
    fn layout(&self) -> Layout {
        match self.divided {
            true => Layout::Divided,
            false => Layout::Single,
        }
    }

    /// Opens the cgroups for a process that enters.
    ///
    /// # Errors
    /// A cgroup has been removed.
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

    /// Delegates the v2 cgroup of PID 1 to the user `owner` (`cgroups(7)`, delegation).
    ///
    /// # Errors
    /// The cgroup has been removed.
    pub fn delegate_to(&self, owner: u32) -> Result<()> {
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

    /// Kills the processes that are left in the cgroups, and removes the cgroups.
    ///
    /// # Errors
    /// Cgroups that stay busy.
    pub fn remove(&self) -> Result<()> {
        let removed = self.dirs.iter().map(Dir::remove);
        Error::collect(removed.filter_map(Result::err).collect())
    }
}
