//! Freezing a subhost, by its v2 cgroup or, without one, by the v1 controller `freezer`.

use super::Group;
use super::dir::{read, write};
use crate::base::error::{Doing, Error, Exit, Result, shown};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The time limit for freezing. A process in an uninterruptible wait freezes only after its wait.
const PATIENCE: Duration = Duration::from_secs(5);

impl Group {
    /// Returns the file that freezes, with the texts that freeze and thaw; none if there is no such cgroup.
    pub fn freezer(&self) -> Option<(PathBuf, &'static str, &'static str)> {
        match (self.unified(), self.v1("freezer")) {
            (Some(dir), _) => Some((dir.join("cgroup.freeze"), "1", "0")),
            (None, Some(dir)) => Some((dir.join("freezer.state"), "FROZEN", "THAWED")),
            (None, None) => None,
        }
    }

    /// Tells whether the cgroup is frozen or freezing.
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|(file, _, thawed)| {
            let state = read(&file);
            !state.is_empty() && state.trim() != thawed
        })
    }

    /// Tells whether all processes have come to rest.
    fn is_at_rest(&self) -> bool {
        match (self.unified(), self.v1("freezer")) {
            (Some(dir), _) => read(&dir.join("cgroup.events"))
                .lines()
                .any(|line| line == "frozen 1"),
            (None, Some(dir)) => read(&dir.join("freezer.state")).trim() == "FROZEN",
            (None, None) => false,
        }
    }

    /// Freezes the processes and waits until all have come to rest.
    ///
    /// # Errors
    /// There is no cgroup that can be frozen; `TimedOut`, and the processes are thawed again.
    pub fn freeze(&self) -> Result<()> {
        let (file, frozen, thawed) = self.must_have_freezer()?;
        let set = |text| write(&file, text).doing(|| format!("write {}", shown(&file)));
        set(frozen)?;
        let end = Instant::now() + PATIENCE;
        while !self.is_at_rest() {
            if Instant::now() > end {
                let left = set(thawed).err();
                let what = "not all of its processes freeze: thawed again";
                return Err(Error::new(Exit::TimedOut, what)
                    .hint("one is in an uninterruptible wait, perhaps for a disk or a network file system")
                    .also(left));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
    /// Thaws the processes.
    ///
    /// # Errors
    /// There is no cgroup that can be frozen; the failed call.
    pub fn thaw(&self) -> Result<()> {
        let (file, _, thawed) = self.must_have_freezer()?;
        write(&file, thawed).doing(|| format!("write {}", shown(&file)))
    }

    fn must_have_freezer(&self) -> Result<(PathBuf, &'static str, &'static str)> {
        self.freezer().ok_or_else(|| {
            Error::new(Exit::Failed, "it has no cgroup that can be frozen")
                .hint("mount cgroup v2, or v1's freezer; it has one after the next start")
        })
    }
}
