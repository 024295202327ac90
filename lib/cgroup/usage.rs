//! What the cgroups of a subhost have used and how often they reached a limit, as the kernel has counted
//! since the boot of the subhost.

use super::dir::read;
use super::{Dir, Group, INIT, JOINED};
use serde::Serialize;
use std::path::Path;

/// The counts; each is none if no controller counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The CPU time, in microseconds.
    pub cpu: Option<u64>,
    /// The number of periods in which the quota of CPUS was used up.
    pub throttled: Option<u64>,
    /// The memory in bytes, with page cache and kernel memory.
    pub memory: Option<u64>,
    /// How often MEMORY was reached and the kernel had to reclaim memory.
    pub memory_hits: Option<u64>,
    /// The number of processes that the OOM killer has killed.
    pub oom_kills: Option<u64>,
    /// The number of processes and threads.
    pub pids: Option<u64>,
    /// How often PIDS refused a new process or thread.
    pub pids_hits: Option<u64>,
    /// The bound of `memory` in bytes; none means that of the host.
    pub memory_max: Option<u64>,
    /// The bound of `pids`; none means that of the host.
    pub pids_max: Option<u64>,
}

/// v1 has no word for "no bound": a bound from here on is none.
const NO_BOUND: u64 = 1 << 60;

/// The counts that [`Group::brief_usage`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// The memory.
    Memory,
    /// The memory and the CPU time.
    MemoryAndCpu,
}

impl Group {
    /// Reads all counts.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for dir in &self.dirs {
            match dir.is_v2() {
                true => usage.read_v2(dir),
                false => usage.read_v1(dir),
            }
        }
        usage
    }

    /// Returns the processes in the cgroup; none if that is not known, as where an init of the tree divides
    /// its cgroup.
    pub fn members(&self) -> Option<Vec<i32>> {
        let dir = self.dirs.first().filter(|_| !self.divided)?;
        let text = std::fs::read_to_string(dir.path.join("cgroup.procs")).ok()?;
        Some(text.lines().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Reads the memory and, if asked, the CPU time: fewer files than [`Group::usage`].
    pub fn brief_usage(&self, counts: Counts) -> Usage {
        let mut usage = Usage::default();
        for dir in &self.dirs {
            let text = |file| read(&dir.path.join(file));
            match dir.is_v2() {
                true => {
                    if counts == Counts::MemoryAndCpu {
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
    fn read_v2(&mut self, dir: &Dir) {
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
        self.read_pids(&dir.path);
        // Before Linux 6.11 the kernel counts this in the cgroup of the process, not of the limit.
        for part in [INIT, JOINED] {
            let more = field(&read(&dir.path.join(part).join("pids.events")), "max");
            self.pids_hits = match (self.pids_hits, more) {
                (Some(all), Some(more)) => Some(all + more),
                (all, _) => all,
            };
        }
    }

    fn read_v1(&mut self, dir: &Dir) {
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
                "pids" => self.read_pids(&dir.path),
                _ => {}
            }
        }
    }

    fn read_pids(&mut self, dir: &Path) {
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

/// Returns the number of the line `NAME NUMBER` of a flat keyed file.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| number(line.strip_prefix(name)?.strip_prefix(' ')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "kill"), None);
        assert_eq!(number("max\n"), None);
    }
}
