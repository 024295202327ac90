//! What a cgroup has used, and how often it came to a limit: as the kernel counts since the boot of
//! the subhost.

use super::dir::read;
use super::{Dir, Group, INIT, JOINED};
use serde::Serialize;
use std::path::Path;

/// Counts; none where no controller counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// CPU time, microseconds.
    pub cpu: Option<u64>,
    /// Periods in which CPUS were used up.
    pub throttled: Option<u64>,
    /// Bytes, with page cache and all that the kernel holds for it.
    pub memory: Option<u64>,
    /// How often MEMORY was used up, and something had to be given back.
    pub memory_hits: Option<u64>,
    /// Processes ended because nothing could be.
    pub oom_kills: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// How often one more was refused.
    pub pids_hits: Option<u64>,
    /// Bound of `memory`, bytes; none: the host's.
    pub memory_max: Option<u64>,
    /// Bound of `pids`; none: the host's.
    pub pids_max: Option<u64>,
}

/// A bound that is larger than any host is none: v1 has no word for it.
const NO_BOUND: u64 = 1 << 60;

impl Group {
    /// What is counted of it now.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for dir in &self.dirs {
            match dir.is_v2() {
                true => usage.unified(dir),
                false => usage.v1(dir),
            }
        }
        usage
    }
}

impl Group {
    /// The processes in them; none if that is not known, as where an init of the tree's own divides what
    /// it has.
    pub fn members(&self) -> Option<Vec<i32>> {
        let dir = self.dirs.first().filter(|_| !self.divided)?;
        let text = std::fs::read_to_string(dir.path.join("cgroup.procs")).ok()?;
        Some(text.lines().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Memory and, if that is asked for, CPU time alone.
    pub fn used(&self, cpu: bool) -> Usage {
        let mut usage = Usage::default();
        for dir in &self.dirs {
            let text = |file| read(&dir.path.join(file));
            match dir.is_v2() {
                true => {
                    if cpu {
                        usage.cpu = field(&text("cpu.stat"), "usage_usec");
                    }
                    usage.memory = number(&text("memory.current"));
                }
                false if dir.v1.iter().any(|one| one == "memory") => {
                    usage.memory = number(&text("memory.usage_in_bytes"));
                }
                false => {}
            }
        }
        usage
    }
}

impl Usage {
    fn unified(&mut self, dir: &Dir) {
        let text = |file| read(&dir.path.join(file));
        let stat = text("cpu.stat");
        self.cpu = field(&stat, "usage_usec");
        self.throttled = field(&stat, "nr_throttled");
        let events = text("memory.events");
        if !events.is_empty() {
            self.memory = number(&text("memory.current"));
            self.memory_max = number(&text("memory.max"));
            self.memory_hits = field(&events, "max");
            self.oom_kills = field(&events, "oom_kill");
        }
        self.pids(&dir.path);
        // Before Linux 6.11 it is counted where the process is, not where the bound is.
        for part in [INIT, JOINED] {
            let more = field(&read(&dir.path.join(part).join("pids.events")), "max");
            self.pids_hits = match (self.pids_hits, more) {
                (Some(all), Some(more)) => Some(all + more),
                (all, _) => all,
            };
        }
    }

    fn v1(&mut self, dir: &Dir) {
        let text = |file| read(&dir.path.join(file));
        for controller in &dir.v1 {
            match controller.as_str() {
                "cpu" => self.throttled = field(&text("cpu.stat"), "nr_throttled"),
                "memory" => {
                    self.memory = number(&text("memory.usage_in_bytes"));
                    let max = number(&text("memory.limit_in_bytes"));
                    self.memory_max = max.filter(|max| *max < NO_BOUND);
                    self.memory_hits = number(&text("memory.failcnt"));
                    self.oom_kills = field(&text("memory.oom_control"), "oom_kill");
                }
                "pids" => self.pids(&dir.path),
                _ => {}
            }
        }
    }

    fn pids(&mut self, dir: &Path) {
        let events = read(&dir.join("pids.events"));
        if events.is_empty() {
            return;
        }
        self.pids = number(&read(&dir.join("pids.current")));
        self.pids_max = number(&read(&dir.join("pids.max")));
        self.pids_hits = field(&events, "max");
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A line `NAME NUMBER` of a flat keyed file.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| number(line.strip_prefix(name)?.strip_prefix(' ')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "kill"), None);
        assert_eq!(number("max\n"), None);
    }
}
