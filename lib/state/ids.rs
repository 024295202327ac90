//! Ranges of ids. Each subhost with a user namespace has 65536 user ids of the host and the group ids with the same numbers;
//! no two subhosts share one. Files on disk keep the ids that they have inside, and do not depend on the range.

use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::base::paths::LASTING as DIR;
use crate::config::Config;
use crate::kernel::userns::COUNT;
use crate::plan::Part;
use crate::state::State;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The first and last base of the ranges that are used unless /etc/subuid says otherwise. No other program allocates from
/// them (systemd's UIDS-GIDS.md: unused, above those of systemd-nspawn).
const POOL: (u32, u32) = (1_879_048_192, 2_147_352_576 - COUNT);
/// The user whose ranges in /etc/subuid and /etc/subgid are for subhosts.
const USER: &str = "subhost";

/// A range in use: its base, and the directory of its subhost.
type Entry = (u32, PathBuf);

/// Whether a subhost keeps the range that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// The range is recorded as the subhost's.
    Yes,
    /// The range is only looked up, and may be given to another subhost.
    No,
}

/// Returns the first id of a subhost's range: the one that it has, or else a free one.
///
/// # Errors
/// The registry cannot be read or written; no range is free.
pub fn range(config: &Config, reserve: Reserve) -> Result<u32> {
    let dir = Path::new(DIR);
    let keep = reserve == Reserve::Yes;
    if keep {
        match std::fs::DirBuilder::new().mode(0o755).create(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(e).doing(|| format!("make the directory {DIR}"));
            }
            _ => {}
        }
    }
    let file = dir.join("ids");
    let _lock = match File::open(dir) {
        Ok(lock) => {
            flock(&lock, FlockOperation::LockExclusive).doing(|| format!("lock {DIR}"))?;
            Some(lock)
        }
        Err(e) if !keep && e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(e).doing(|| format!("open {DIR}")),
    };
    let mut entries = read(&file)?;
    let delegated = [read_text("/etc/subuid")?, read_text("/etc/subgid")?];
    let base = choose(&entries, &config.dir, config.ids, &delegated, lives)?;
    let own = (base, config.dir.clone());
    if !keep || entries.contains(&own) {
        return Ok(base);
    }
    entries.retain(|(other, dir)| *other != base && *dir != config.dir);
    entries.push(own);
    entries.sort();
    write(&file, &entries)?;
    Ok(base)
}

/// Reports whether the subhost in `dir` exists, or something of it is up.
fn lives(dir: &Path) -> bool {
    let up = || {
        let name = Name::parse_recorded(dir.file_name()?.to_str()?)?;
        let state = State::new(&name);
        let of = |part| match state.plan(part) {
            Ok(None) => false,
            Ok(Some(plan)) => plan.tree.join(&*plan.owner.id()) == dir,
            Err(_) => true,
        };
        let is_made = Part::FROM_CONFIG.into_iter().any(of);
        Some(is_made || !matches!(state.running(), Ok(None)))
    };
    dir.join("config").exists() || up() == Some(true)
}

/// Chooses the range for the subhost in `dir`. Looks at nothing but its arguments; `lives` reports whether a subhost exists.
fn choose(
    entries: &[Entry],
    dir: &Path,
    assigned: Option<u32>,
    [subuid, subgid]: &[String; 2],
    lives: impl Fn(&Path) -> bool,
) -> Result<u32> {
    let (uids, gids) = (Delegated::parse(subuid), Delegated::parse(subgid));
    let foreign = |base| uids.foreign(base) || gids.foreign(base);
    let taken = |base: u32| {
        let overlaps = |other: u32| other.abs_diff(base) < COUNT;
        let mut others = entries.iter().filter(|(_, owner)| owner != dir);
        others.any(|(other, owner)| overlaps(*other) && lives(owner))
    };
    let own = entries.iter().find(|(_, owner)| owner == dir);
    let own = own.map(|(base, _)| *base);
    let usable = |base: &u32| {
        *base >= COUNT && base.checked_add(COUNT).is_some() && !foreign(*base) && !taken(*base)
    };
    if let Some(base) = [own, assigned].into_iter().flatten().find(usable) {
        return Ok(base);
    }
    let known = |base: u32| {
        entries
            .iter()
            .any(|(other, _)| other.abs_diff(base) < COUNT)
    };
    let step = COUNT as usize;
    let ours: Vec<u32> = match uids.ours.is_empty() || gids.ours.is_empty() {
        true => (POOL.0..=POOL.1).step_by(step).collect(),
        false => {
            let bases = uids.ours.iter().flat_map(|(first, end)| {
                let last = end.saturating_sub(u64::from(COUNT));
                (*first..=last).step_by(step)
            });
            let both = |base: &u64| {
                let fits =
                    |(first, end): &(u64, u64)| first <= base && base + u64::from(COUNT) <= *end;
                gids.ours.iter().any(fits)
            };
            bases
                .filter(both)
                .filter_map(|base| u32::try_from(base).ok())
                .collect()
        }
    };
    let mut free = ours.iter().filter(|base| usable(base));
    // A range of a subhost that is gone is used again only when no other is free.
    let fresh = free.clone().find(|base| !known(**base));
    fresh.or_else(|| free.next()).copied().ok_or_else(|| {
        Error::new(Exit::Failed, "there is no free range of 65536 ids").hint(format!(
            "more in /etc/subuid and /etc/subgid for {USER}: {USER}:{}:{}",
            POOL.0,
            COUNT * 16
        ))
    })
}

/// The lines of /etc/subuid or /etc/subgid (`subuid(5)`), each as its first id and the id after its last.
#[derive(Debug, Default)]
struct Delegated {
    ours: Vec<(u64, u64)>,
    others: Vec<(u64, u64)>,
}

impl Delegated {
    fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines() {
            let [user, first, count] = line.split(':').collect::<Vec<_>>()[..] else {
                continue;
            };
            let (Ok(first), Ok(count)) = (first.trim().parse::<u64>(), count.trim().parse()) else {
                continue;
            };
            let range = (first, first.saturating_add(count));
            match user == USER {
                true => all.ours.push(range),
                false => all.others.push(range),
            }
        }
        all
    }

    /// Reports whether another user has an id of the range at `base`.
    fn foreign(&self, base: u32) -> bool {
        let (base, end) = (u64::from(base), u64::from(base) + u64::from(COUNT));
        self.others
            .iter()
            .any(|(first, behind)| *first < end && base < *behind)
    }
}

fn read_text(path: &str) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.doing(|| format!("read {path}")),
    }
}

fn read(file: &Path) -> Result<Vec<Entry>> {
    let mut text = String::new();
    match File::open(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other
            .and_then(|mut file| file.read_to_string(&mut text))
            .doing(|| format!("read {}", shown(file)))?,
    };
    parse(&text).ok_or_else(|| {
        let what = format!("{} is damaged", shown(file));
        Error::new(Exit::Invalid, what).hint("lines of a number, a blank and a directory in quotes")
    })
}

fn parse(text: &str) -> Option<Vec<Entry>> {
    let entry = |line: &str| {
        let (base, dir) = line.split_once(' ')?;
        let dir: String = serde_json::from_str(dir).ok()?;
        Some((base.parse().ok()?, PathBuf::from(dir)))
    };
    text.lines().map(entry).collect()
}

/// Writes the registry: the whole of it, or nothing.
fn write(file: &Path, entries: &[Entry]) -> Result<()> {
    // Quoted, as a directory may have any name.
    let lines = entries
        .iter()
        .map(|(base, dir)| format!("{base} {}\n", serde_json::json!(dir.to_string_lossy())));
    let text: String = lines.collect();
    let new = file.with_extension("new");
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&new)
        .and_then(|mut open| {
            open.write_all(text.as_bytes())?;
            open.sync_data()
        })
        .and_then(|()| std::fs::rename(&new, file))
        .doing(|| format!("write {}", shown(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(
        entries: &[(u32, &str)],
        dir: &str,
        assigned: Option<u32>,
        delegated: [&str; 2],
    ) -> Result<u32> {
        let entries: Vec<Entry> = entries
            .iter()
            .map(|(base, dir)| (*base, PathBuf::from(dir)))
            .collect();
        let lives = |dir: &Path| !dir.starts_with("/gone");
        let delegated = delegated.map(str::to_owned);
        choose(&entries, Path::new(dir), assigned, &delegated, lives)
    }

    const FIRST: u32 = POOL.0;
    const NONE: [&str; 2] = ["", ""];

    #[test]
    fn ranges_are_kept_and_never_shared() {
        assert_eq!(chosen(&[], "/a", None, NONE).unwrap(), FIRST);
        let one = [(FIRST, "/a")];
        assert_eq!(chosen(&one, "/a", None, NONE).unwrap(), FIRST);
        assert_eq!(chosen(&one, "/b", None, NONE).unwrap(), FIRST + COUNT);
        // Brought along, and free here or taken; overlapping in part is taken as well.
        let brought = FIRST + 7 * COUNT;
        assert_eq!(chosen(&one, "/b", Some(brought), NONE).unwrap(), brought);
        for taken in [FIRST, FIRST + 1, FIRST - 1, 0, 1000, u32::MAX] {
            assert_eq!(
                chosen(&one, "/b", Some(taken), NONE).unwrap(),
                FIRST + COUNT
            );
        }
        // Its directory was moved: the old one is gone.
        let moved = [(FIRST, "/gone/a")];
        assert_eq!(chosen(&moved, "/a", Some(FIRST), NONE).unwrap(), FIRST);
        assert_eq!(chosen(&moved, "/a", None, NONE).unwrap(), FIRST + COUNT);
    }

    #[test]
    fn lines_of_others_are_respected() {
        let others = format!("user:100000:65536\nother:{}:65537\n", FIRST - 1);
        let base = chosen(&[], "/a", None, [&others, ""]).unwrap();
        assert_eq!(base, FIRST + COUNT);
        let base = chosen(&[], "/a", Some(FIRST), ["", &others]).unwrap();
        assert_eq!(base, FIRST + COUNT);
    }

    #[test]
    fn lines_for_subhost_are_used() {
        let ours = "subhost:1000000:131072\ngarbage\nx:y:z\n";
        let all = [ours, ours];
        assert_eq!(chosen(&[], "/a", None, all).unwrap(), 1_000_000);
        let one = [(1_000_000, "/a")];
        assert_eq!(chosen(&one, "/b", None, all).unwrap(), 1_065_536);
        let two = [(1_000_000, "/a"), (1_065_536, "/gone/b")];
        assert_eq!(chosen(&two, "/c", None, all).unwrap(), 1_065_536);
        let full = [(1_000_000, "/a"), (1_065_536, "/b")];
        assert!(chosen(&full, "/c", None, all).is_err());
        // Both files must have it.
        let half = [ours, "subhost:1065536:65536\n"];
        assert_eq!(chosen(&[], "/a", None, half).unwrap(), 1_065_536);
    }

    #[test]
    fn the_registry_is_read_whole_or_not() {
        let entries = parse("1879048192 \"/opt/sub host/a\\n\"\n").unwrap();
        assert_eq!(entries, [(FIRST, PathBuf::from("/opt/sub host/a\n"))]);
        assert!(parse("1879048192 \"/a\"\n1879113728 /b\n").is_none());
    }
}
