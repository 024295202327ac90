//! Freezing: by the v2 cgroup itself, where there is none by v1's controller.

use super::Group;
use super::dir::{read, write};
use crate::base::error::{Doing, Error, Exit, Result, shown};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A process in an uninterruptible wait freezes when its wait ends.
const PATIENCE: Duration = Duration::from_secs(5);

impl Group {
    /// The file that freezes, what freezes and what thaws.
    pub fn freezer(&self) -> Option<(PathBuf, &'static str, &'static str)> {
        match (self.unified(), self.v1("freezer")) {
            (Some(dir), _) => Some((dir.join("cgroup.freeze"), "1", "0")),
            (None, Some(dir)) => Some((dir.join("freezer.state"), "FROZEN", "THAWED")),
            (None, None) => None,
        }
    }

    /// Has it been told to freeze?
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|(file, _, thawed)| {
            let state = read(&file);
            !state.is_empty() && state.trim() != thawed
        })
    }

    /// Do all processes in it rest?
    fn rests(&self) -> bool {
        match (self.unified(), self.v1("freezer")) {
            (Some(dir), _) => read(&dir.join("cgroup.events"))
                .lines()
                .any(|line| line == "frozen 1"),
            (None, Some(dir)) => read(&dir.join("freezer.state")).trim() == "FROZEN",
            (None, None) => false,
        }
    }

    /// Freezes it, and waits until all in it rest; or thaws it.
    ///
    /// # Errors
    /// There is no cgroup that could; `TimedOut`: it is thawed again then.
    pub fn freeze(&self, on: bool) -> Result<()> {
        let Some((file, frozen, thawed)) = self.freezer() else {
            let what = "it has no cgroup that could be frozen";
            return Err(Error::new(Exit::Failed, what)
                .hint("mount cgroup v2, or v1's freezer; it has one after the next start"));
        };
        let set = |text| write(&file, text).doing(|| format!("write {}", shown(&file)));
        set(if on { frozen } else { thawed })?;
        let end = Instant::now() + PATIENCE;
        while on && !self.rests() {
            if Instant::now() > end {
                let left = set(thawed).err();
                let what = "not all of its processes come to rest: it goes on";
                return Err(Error::new(Exit::TimedOut, what)
                    .hint("one waits in the kernel, perhaps for a disk or a network file system")
                    .also(left));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
