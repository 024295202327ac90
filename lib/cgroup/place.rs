//! Where the cgroups of a subhost are: in the v2 hierarchy, also on hybrid hosts, and in the v1 hierarchies
//! of controllers that are needed. Nothing here makes a cgroup.

use super::Dir;
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::config::Cgroup;
use crate::kernel::mountinfo::{Mount, Table};
use std::path::{Component, Path, PathBuf};

/// The usual mount point of the hierarchies.
const TOP: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` of include/uapi/linux/magic.h.
const V2: i128 = 0x6367_7270;
const V1: i128 = 0x0027_e0eb;
/// The cgroup below the root of a hierarchy that holds those of all subhosts.
pub const OURS: &str = "subhost";
/// The extended attributes of a cgroup that is delegated to its user (`Delegate=yes` of systemd).
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// The mounted hierarchies and the cgroup of a process, read on first use.
#[derive(Default)]
pub(super) struct Hierarchies {
    table: Option<Table>,
    /// The text of /proc/PID/cgroup.
    own: Option<String>,
}

/// A hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which<'a> {
    /// The v2 hierarchy.
    V2,
    /// The v1 hierarchy of this controller.
    V1(&'a str),
}

/// How far to search for the mount of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// Only at the usual mount points: the mount table may be long.
    UsualPlaces,
    /// In the mount table as well.
    MountTable,
}

impl Hierarchies {
    /// Reads the cgroup of the process `pid` instead of our own.
    ///
    /// # Errors
    /// The process is gone.
    pub fn read(pid: i32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
        Ok(Self {
            table: None,
            own: Some(text.doing(|| format!("read the cgroup of pid {pid}"))?),
        })
    }

    /// Returns the place of a cgroup of `name` below that of the process, so that the present limits of the
    /// process still apply.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn place_below(&mut self, which: Which, name: &Name) -> Result<Option<Dir>> {
        let Some(at) = self.find_mount(which, Search::MountTable)? else {
            return Ok(None);
        };
        match self.own_dir(which, &at)?.filter(|own| *own != at) {
            None => self.place(which, &Cgroup::Auto, name, Search::MountTable),
            Some(own) => Ok(Some(Dir {
                path: own.join(format!("{OURS}.{name}")),
                floor: own,
                parent_is_ours: false,
                v1: Vec::new(),
            })),
        }
    }

    fn table(&mut self) -> Result<&Table> {
        if self.table.is_none() {
            self.table = Some(Table::read()?);
        }
        Ok(self.table.get_or_insert_default())
    }

    /// Finds the mount point of a hierarchy; none if it is not mounted.
    fn find_mount(&mut self, which: Which, search: Search) -> Result<Option<PathBuf>> {
        let top = Path::new(TOP);
        let (usual, magic) = match which {
            Which::V2 => (vec![top.to_owned(), top.join("unified")], V2),
            Which::V1(controller) => (vec![top.join(controller)], V1),
        };
        if let Some(at) = usual.into_iter().find(|at| is_of_type(at, magic)) {
            return Ok(Some(at));
        }
        if search == Search::UsualPlaces {
            return Ok(None);
        }
        let table = self.table()?;
        let seen = |mount: &&Mount| table.at(&mount.at).is_some_and(|seen| seen.id == mount.id);
        let mut mounts = table
            .all()
            .iter()
            .filter(|mount| which.is_mounted_by(mount));
        Ok(mounts.find(seen).map(|mount| mount.at.clone()))
    }

    /// Returns our cgroup in the hierarchy as text; none if we have none there.
    fn own_path(&mut self, which: Which) -> Result<Option<PathBuf>> {
        if self.own.is_none() {
            let text = std::fs::read_to_string("/proc/thread-self/cgroup");
            self.own = Some(text.doing(|| "read our cgroup")?);
        }
        let text = self.own.as_deref().unwrap_or_default();
        Ok(parse_own_path(text, which).map(Path::to_owned))
    }

    /// Returns the directory of our cgroup in the hierarchy at `at`; none if it is not visible there.
    fn own_dir(&mut self, which: Which, at: &Path) -> Result<Option<PathBuf>> {
        let Some(path) = self.own_path(which)? else {
            return Ok(None);
        };
        // The cgroup is outside of our cgroup namespace.
        if path.components().any(|part| part == Component::ParentDir) {
            return Ok(None);
        }
        let root = match self.table()?.at(at) {
            Some(mount) => mount.root.clone(),
            // A symbolic link leads to the mount point.
            None => match std::fs::canonicalize(at) {
                Ok(real) => match self.table()?.at(&real) {
                    Some(mount) => mount.root.clone(),
                    None => return Ok(None),
                },
                Err(_) => return Ok(None),
            },
        };
        Ok(path.strip_prefix(&root).ok().map(|rest| at.join(rest)))
    }

    /// Returns the nearest delegated cgroup: ours or one above it.
    fn delegated(&mut self, which: Which, at: &Path) -> Result<Option<PathBuf>> {
        // We are in the root, as usual without systemd.
        if self
            .own_path(which)?
            .is_none_or(|own| own == Path::new("/"))
        {
            return Ok(None);
        }
        let Some(own) = self.own_dir(which, at)? else {
            return Ok(None);
        };
        let above = own.ancestors().take_while(|dir| *dir != at);
        Ok(above
            .into_iter()
            .find(|dir| is_delegated(dir))
            .map(Path::to_owned))
    }

    /// Returns the place of the cgroup of `name` in a hierarchy; none if the hierarchy is not mounted or we
    /// may not write there.
    ///
    /// # Errors
    /// The cgroup that CGROUP names does not exist.
    pub fn place(
        &mut self,
        which: Which,
        setting: &Cgroup,
        name: &Name,
        search: Search,
    ) -> Result<Option<Dir>> {
        let Some(at) = self.find_mount(which, search)? else {
            return Ok(None);
        };
        let below = |base: PathBuf, floor: PathBuf| Dir {
            path: base.join(format!("{OURS}.{name}")),
            floor,
            parent_is_ours: false,
            v1: Vec::new(),
        };
        Ok(Some(match setting {
            Cgroup::Auto => match self.delegated(which, &at)? {
                Some(base) => below(base.clone(), base),
                // For an ordinary user: the cgroup belongs to another user.
                None if !may_write(&at) => return Ok(None),
                None => Dir {
                    path: at.join(OURS).join(name.as_str()),
                    floor: at,
                    parent_is_ours: true,
                    v1: Vec::new(),
                },
            },
            Cgroup::Inherit => match self.own_dir(which, &at)? {
                Some(base) => below(base.clone(), base),
                None => {
                    let what = format!(
                        "CGROUP=inherit: our own cgroup is not visible at {}",
                        shown(&at)
                    );
                    return Err(Error::new(Exit::Failed, what)
                        .hint("it lies outside that mount, or outside this cgroup namespace"));
                }
            },
            Cgroup::Named(path) => {
                let base = at.join(path.strip_prefix("/").unwrap_or(path));
                if !base.is_dir() {
                    let what = format!("CGROUP: there is no cgroup {}", shown(&base));
                    return Err(Error::new(Exit::Failed, what)
                        .hint(format!("mkdir -p {} makes it", shown(&base))));
                }
                below(base, at)
            }
        }))
    }
}

impl Which<'_> {
    fn is_mounted_by(self, mount: &Mount) -> bool {
        match self {
            Which::V2 => mount.fstype == "cgroup2",
            Which::V1(controller) => {
                mount.fstype == "cgroup"
                    && mount
                        .super_options
                        .split(',')
                        .any(|option| option == controller)
            }
        }
    }
}

/// Tells whether a directory is in a file system of this type.
fn is_of_type(path: &Path, magic: i128) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| i128::from(system.f_type) == magic)
}

fn may_write(dir: &Path) -> bool {
    let access = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK);
    access != Err(rustix::io::Errno::ACCESS)
}

fn is_delegated(dir: &Path) -> bool {
    DELEGATED.iter().any(|name| {
        let mut value = [0; 8];
        let read = rustix::fs::getxattr(dir, *name, &mut value[..]);
        read.is_ok_and(|length| &value[..length] == b"1")
    })
}

/// Returns the path of the cgroup in a hierarchy from the text of `/proc/PID/cgroup` (`cgroups(7)`).
fn parse_own_path<'a>(text: &'a str, which: Which) -> Option<&'a Path> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let found = match which {
            Which::V2 => line.starts_with("0::"),
            Which::V1(controller) => controllers.split(',').any(|one| one == controller),
        };
        found.then_some(Path::new(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_paths_are_parsed() {
        let text = "4:memory:/a/b\n2:cpu,cpuacct:/c:d\n1:name=systemd:/\n0::/e\n";
        let of = |which| parse_own_path(text, which).map(|path| path.to_str().unwrap());
        assert_eq!(of(Which::V2), Some("/e"));
        assert_eq!(of(Which::V1("memory")), Some("/a/b"));
        assert_eq!(of(Which::V1("cpuacct")), Some("/c:d"));
        assert_eq!(of(Which::V1("pids")), None);
        assert_eq!(parse_own_path("", Which::V2), None);
    }
}
