//! Where a subhost's cgroups are: in the v2 hierarchy wherever that is mounted, on hybrid hosts too,
//! and in those v1 hierarchies whose controllers are needed. Looks only.

use super::Dir;
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::config::Cgroup;
use crate::kernel::mountinfo::{Mount, Table};
use std::path::{Component, Path, PathBuf};

/// Where hierarchies are mounted.
const TOP: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` of include/uapi/linux/magic.h.
const V2: i128 = 0x6367_7270;
const V1: i128 = 0x0027_e0eb;
/// What is below a hierarchy's root and holds all cgroups of ours.
pub const OURS: &str = "subhost";
/// What marks a cgroup as one that its user may manage (systemd's `Delegate=yes`).
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// What is known of the hierarchies, read when it is asked for.
#[derive(Default)]
pub(super) struct Hierarchies {
    table: Option<Table>,
    own: Option<String>,
}

/// Which hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which<'a> {
    V2,
    /// The v1 hierarchy of this controller.
    V1(&'a str),
}

impl Hierarchies {
    /// As they are for the process `pid`, not for us.
    ///
    /// # Errors
    /// It is gone.
    pub fn read(pid: i32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
        Ok(Self {
            table: None,
            own: Some(text.doing(|| format!("read the cgroup of pid {pid}"))?),
        })
    }

    /// A cgroup of `name` below the one that the process is in: what bounds it now goes on to.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn place_below(&mut self, which: Which, name: &Name) -> Result<Option<Dir>> {
        let Some(at) = self.mounted(which, true)? else {
            return Ok(None);
        };
        match self.own(which, &at)?.filter(|own| *own != at) {
            None => self.place(which, &Cgroup::Auto, name, true),
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

    /// Where it is mounted. The usual places need no look at the mount table, which may be long.
    pub fn mounted(&mut self, which: Which, thorough: bool) -> Result<Option<PathBuf>> {
        let top = Path::new(TOP);
        let (usual, magic) = match which {
            Which::V2 => (vec![top.to_owned(), top.join("unified")], V2),
            Which::V1(controller) => (vec![top.join(controller)], V1),
        };
        if let Some(at) = usual.into_iter().find(|at| is(at, magic)) {
            return Ok(Some(at));
        }
        if !thorough {
            return Ok(None);
        }
        let table = self.table()?;
        let seen = |mount: &&Mount| table.at(&mount.at).is_some_and(|seen| seen.id == mount.id);
        let mut mounts = table.all().iter().filter(|mount| which.is_of(mount));
        Ok(mounts.find(seen).map(|mount| mount.at.clone()))
    }

    /// The directory of our own cgroup in what is mounted at `at`; none if it is not to be seen there.
    fn own(&mut self, which: Which, at: &Path) -> Result<Option<PathBuf>> {
        if self.own.is_none() {
            let text = std::fs::read_to_string("/proc/thread-self/cgroup");
            self.own = Some(text.doing(|| "read our cgroup")?);
        }
        let Some(path) = own_path(self.own.as_deref().unwrap_or_default(), which) else {
            return Ok(None);
        };
        let path = path.to_owned();
        // In a part that lies outside what our cgroup namespace shows.
        if path.components().any(|part| part == Component::ParentDir) {
            return Ok(None);
        }
        let root = match self.table()?.at(at) {
            Some(mount) => mount.root.clone(),
            // By a link.
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

    /// The nearest cgroup above us, or ours, that has been given to its user to manage.
    fn delegated(&mut self, which: Which, at: &Path) -> Result<Option<PathBuf>> {
        // In the root, as most are where no systemd runs: nothing to look for.
        if self.own.is_none() {
            let text = std::fs::read_to_string("/proc/thread-self/cgroup");
            self.own = Some(text.doing(|| "read our cgroup")?);
        }
        let own = own_path(self.own.as_deref().unwrap_or_default(), which);
        if own.is_none_or(|own| own == Path::new("/")) {
            return Ok(None);
        }
        let Some(own) = self.own(which, at)? else {
            return Ok(None);
        };
        let above = own.ancestors().take_while(|dir| *dir != at);
        Ok(above
            .into_iter()
            .find(|dir| is_delegated(dir))
            .map(Path::to_owned))
    }

    /// The cgroup of `name` in one hierarchy; none if that is not mounted, or is not ours to write.
    ///
    /// # Errors
    /// CGROUP names one that is not there.
    pub fn place(
        &mut self,
        which: Which,
        wish: &Cgroup,
        name: &Name,
        thorough: bool,
    ) -> Result<Option<Dir>> {
        let Some(at) = self.mounted(which, thorough)? else {
            return Ok(None);
        };
        let below = |base: PathBuf, floor: PathBuf| Dir {
            path: base.join(format!("{OURS}.{name}")),
            floor,
            parent_is_ours: false,
            v1: Vec::new(),
        };
        Ok(Some(match wish {
            Cgroup::Auto => match self.delegated(which, &at)? {
                Some(base) => below(base.clone(), base),
                // A user's: what is there is another's.
                None if !may_write(&at) => return Ok(None),
                None => Dir {
                    path: at.join(OURS).join(name.as_str()),
                    floor: at,
                    parent_is_ours: true,
                    v1: Vec::new(),
                },
            },
            Cgroup::Inherit => match self.own(which, &at)? {
                Some(base) => below(base.clone(), base),
                None => {
                    let what = format!(
                        "CGROUP=inherit: the cgroup that we are in is not to be seen at {}",
                        shown(&at)
                    );
                    return Err(Error::new(Exit::Failed, what).hint(
                        "it lies outside what is mounted there, or of this cgroup namespace",
                    ));
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
    fn is_of(self, mount: &Mount) -> bool {
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

/// Is it a directory of a file system of this kind?
fn is(path: &Path, magic: i128) -> bool {
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

/// The path of a process's cgroup in one hierarchy, of the text of `/proc/PID/cgroup` (`cgroups(7)`).
fn own_path<'a>(text: &'a str, which: Which) -> Option<&'a Path> {
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
    fn own_paths() {
        let text = "4:memory:/a/b\n2:cpu,cpuacct:/c:d\n1:name=systemd:/\n0::/e\n";
        let of = |which| own_path(text, which).map(|path| path.to_str().unwrap());
        assert_eq!(of(Which::V2), Some("/e"));
        assert_eq!(of(Which::V1("memory")), Some("/a/b"));
        assert_eq!(of(Which::V1("cpuacct")), Some("/c:d"));
        assert_eq!(of(Which::V1("pids")), None);
        assert_eq!(own_path("", Which::V2), None);
    }
}
