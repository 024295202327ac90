//! Limits of a subhost that runs, changed all together or not at all.

use super::limits::{Rates, Wanted, lifted, old_name, wanted};
use super::place::{Hierarchies, Which};
use super::{Dir, Group, add, members, missing, rates};
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::config::{Bound, Config, Limits};
use crate::state::State;
use std::collections::BTreeMap;
use std::path::Path;

/// Sets `changes`, keys with their new values; an empty value is that of a key that is not set. `pid` is
/// PID 1.
///
/// # Errors
/// A value is wrong, the host lacks a controller, or the kernel refuses: the limits are as before.
pub fn change(
    state: &State,
    tree: &Path,
    name: &Name,
    pid: i32,
    changes: &BTreeMap<String, String>,
) -> Result<()> {
    let mut group = state.cgroups()?;
    let before = group.settings.clone();
    let mut after = before.clone();
    after.extend(changes.clone());
    after.retain(|_, value| !value.is_empty());
    let limits = |settings| Config::limits_of(tree, name, settings);
    let (old, new) = (limits(&before)?, limits(&after)?);
    let keys: Vec<&str> = changes.keys().map(String::as_str).collect();
    let forth = of_keys(&keys, &new, &group.io(&new, &old)?);
    let back = of_keys(&keys, &old, &group.io(&old, &new)?);
    let places = places(state, &mut group, name, pid, &forth)?;
    for (done, (wanted, place)) in forth.iter().zip(&places).enumerate() {
        let limit = |wanted: &Wanted| group.dirs[*place].limit(wanted, group.divided);
        let Err(error) = limit(wanted) else { continue };
        // The one that failed may be half done.
        let undone = back.iter().zip(&places).take(done + 1).rev();
        let left = undone
            .filter_map(|(wanted, place)| group.dirs[*place].limit(wanted, group.divided).err());
        return Err(error.also(left.collect::<Vec<_>>()));
    }
    group.settings = after;
    state.record_cgroups(&group)
}

/// What these keys want; what is not set any more is lifted.
fn of_keys(keys: &[&str], limits: &Limits, rates: &[Rates]) -> Vec<Wanted> {
    let is_of = |wanted: &Wanted| match wanted.key {
        "MEMORY" => keys.contains(&"MEMORY") || keys.contains(&"MEMORY_SWAP"),
        key => keys.contains(&key),
    };
    let mut all = wanted(&lifted(limits, keys), rates);
    all.retain(is_of);
    for wanted in &mut all {
        wanted.explicit = true;
    }
    all
}

/// Which cgroup each is for. One in a hierarchy that was not needed until now is made, and all
/// processes are moved there.
fn places(
    state: &State,
    group: &mut Group,
    name: &Name,
    pid: i32,
    wanted: &[Wanted],
) -> Result<Vec<usize>> {
    let mut found = Hierarchies::read(pid)?;
    let unified = group.dirs.iter().position(Dir::is_v2);
    let mut places = Vec::new();
    let mut new = Vec::new();
    for one in wanted {
        let on_v2 = unified.filter(|index| group.dirs[*index].can(one.controller));
        let controller = old_name(one.controller);
        let has = |dir: &Dir| dir.v1.iter().any(|own| own == controller);
        let place = match on_v2.or_else(|| group.dirs.iter().position(has)) {
            Some(place) => place,
            None => {
                let Some(dir) = found.place_below(Which::V1(controller), name)? else {
                    return Err(missing(one));
                };
                let count = group.dirs.len();
                let place = add(&mut group.dirs, dir, controller);
                if group.dirs.len() > count {
                    new.push(place);
                }
                place
            }
        };
        places.push(place);
    }
    if new.is_empty() {
        return Ok(places);
    }
    // Before they are made, so that stop knows of them.
    state.record_cgroups(group)?;
    for place in new {
        let dir = &group.dirs[place];
        if !dir.path.exists() {
            dir.make(false)?;
        }
        group.move_to(dir)?;
    }
    Ok(places)
}

impl Group {
    /// The rates that `now` sets, on those devices that only `then` sets as well: there they are lifted.
    fn io(&self, now: &Limits, then: &Limits) -> Result<Vec<Rates>> {
        let root = self.root.as_deref().unwrap_or(Path::new("/"));
        let mut all = rates::rates(&now.io, root)?;
        let known: Vec<String> = all.iter().map(|rates| rates.device.clone()).collect();
        let others = rates::rates(&then.io, root)?;
        let others = others
            .into_iter()
            .filter(|rates| !known.contains(&rates.device));
        all.extend(others.map(|rates| Rates {
            bounds: [None; 4],
            ..rates
        }));
        for rates in &mut all {
            rates.bounds = rates.bounds.map(|bound| bound.or(Some(Bound::Max)));
        }
        // In one order, so that forth and back are for the same.
        all.sort_by(|a, b| a.device.cmp(&b.device));
        Ok(all)
    }

    /// Moves all processes, and those that they make meanwhile.
    fn move_to(&self, dir: &Dir) -> Result<()> {
        let Some(from) = self.dirs.iter().find(|other| *other != dir) else {
            return Ok(());
        };
        let procs = dir.path.join("cgroup.procs");
        for _ in 0..100 {
            let there = members(&dir.path);
            let left: Vec<i32> = members(&from.path)
                .into_iter()
                .filter(|pid| !there.contains(pid))
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            for pid in left {
                match super::dir::write(&procs, &pid.to_string()) {
                    // It has ended.
                    Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => {}
                    other => other.doing(|| format!("move pid {pid} to {}", shown(&dir.path)))?,
                }
            }
        }
        let what = format!(
            "its processes make others faster than they can be moved to {}",
            shown(&dir.path)
        );
        Err(Error::new(Exit::TimedOut, what).hint("subhost-limit --freeze, then again"))
    }
}
