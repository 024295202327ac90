//! Changing the limits of a running subhost: all of the changes or none.

use super::limits::{Rates, Wanted, lift_unset, v1_name, wanted};
use super::place::{Hierarchies, Which};
use super::{Dir, Group, Layout, add, members, missing, rates};
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::config::{Bound, Config, Limits};
use crate::state::State;
use std::collections::BTreeMap;
use std::path::Path;

/// The running subhost whose limits change.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its recorded state.
    pub state: &'a State,
    /// The directory of the subhosts.
    pub tree: &'a Path,
    /// Its name.
    pub name: &'a Name,
    /// The pid of its PID 1.
    pub pid: i32,
}

/// Sets `changes`, keys with their new values. An empty value unsets a key.
///
/// # Errors
/// A value is invalid, the host lacks a controller, or the kernel refuses. The old limits are restored
/// then.
pub fn change(target: Target<'_>, changes: &BTreeMap<String, String>) -> Result<()> {
    let state = target.state;
    let mut group = state.cgroups()?;
    let before = group.settings.clone();
    let mut after = before.clone();
    after.extend(changes.clone());
    after.retain(|_, value| !value.is_empty());
    let limits = |settings| Config::limits_of(target.tree, target.name, settings);
    let (old, new) = (limits(&before)?, limits(&after)?);
    let keys: Vec<&str> = changes.keys().map(String::as_str).collect();
    let forth = limits_of_keys(&keys, &new, &group.io(&new, &old)?);
    let back = limits_of_keys(&keys, &old, &group.io(&old, &new)?);
    let places = find_places(target, &mut group, &forth)?;
    let limit = |group: &Group, wanted: &Wanted, place: usize| {
        group.dirs[place].limit(wanted, group.layout())
    };
    for (done, (wanted, place)) in forth.iter().zip(&places).enumerate() {
        let Err(error) = limit(&group, wanted, *place) else {
            continue;
        };
        // The failed limit may be half set, so it is undone as well.
        let undone = back.iter().zip(&places).take(done + 1).rev();
        let left = undone.filter_map(|(wanted, place)| limit(&group, wanted, *place).err());
        return Err(error.also(left.collect::<Vec<_>>()));
    }
    group.settings = after;
    state.record_cgroups(&group)
}

/// Returns the limits of these keys; keys that are not set lift theirs.
fn limits_of_keys(keys: &[&str], limits: &Limits, rates: &[Rates]) -> Vec<Wanted> {
    let is_of = |wanted: &Wanted| match wanted.key {
        "MEMORY" => keys.contains(&"MEMORY") || keys.contains(&"MEMORY_SWAP"),
        key => keys.contains(&key),
    };
    let mut all = wanted(&lift_unset(limits, keys), rates);
    all.retain(is_of);
    for wanted in &mut all {
        wanted.explicit = true;
    }
    all
}

/// Returns the index of the cgroup for each limit. If a limit needs a hierarchy that the subhost does not
/// use yet, it makes a cgroup there and moves all processes into it.
fn find_places(target: Target<'_>, group: &mut Group, wanted: &[Wanted]) -> Result<Vec<usize>> {
    let mut hierarchies = Hierarchies::read(target.pid)?;
    let unified = group.dirs.iter().position(Dir::is_v2);
    let mut places = Vec::new();
    let mut new = Vec::new();
    for one in wanted {
        let on_v2 = unified.filter(|index| group.dirs[*index].has_controller(one.controller));
        let controller = v1_name(one.controller);
        let has = |dir: &Dir| dir.v1.iter().any(|own| own == controller);
        let place = match on_v2.or_else(|| group.dirs.iter().position(has)) {
            Some(place) => place,
            None => {
                let Some(dir) = hierarchies.place_below(Which::V1(controller), target.name)? else {
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
    // Recorded before they are made, so that a stop finds them.
    target.state.record_cgroups(group)?;
    for place in new {
        let dir = &group.dirs[place];
        if !dir.path.exists() {
            dir.make(Layout::Single)?;
        }
        group.move_to(dir)?;
    }
    Ok(places)
}

impl Group {
    /// Returns the rates of `now`. Devices that only `then` has are included without bounds.
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
        // A fixed order, so that the changes and their undoing match by index.
        all.sort_by(|a, b| a.device.cmp(&b.device));
        Ok(all)
    }

    /// Moves all processes into `dir`, also those that they fork meanwhile.
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
                    // The process has ended.
                    Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => {}
                    other => other.doing(|| format!("move pid {pid} to {}", shown(&dir.path)))?,
                }
            }
        }
        let what = format!(
            "its processes fork faster than they can be moved to {}",
            shown(&dir.path)
        );
        Err(Error::new(Exit::TimedOut, what).hint("freeze it first: subhost-limit --freeze"))
    }
}
