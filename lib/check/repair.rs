//! Finds leftovers by two looks, and removes those that a third look, under the lock of the subhost, finds
//! again.

use super::snapshot::{Owner, Snapshot};
use super::{Debris, Fix, Kind, Outcome, Reported, files, links, mounts, roots};
use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::cgroup;
use crate::kernel::{loops, proc};
use crate::net::{Network, named};
use crate::plan::Part;
use crate::state::State;
use crate::subhost::{StopHow, Subhost};
use crate::sys;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The pause between the two looks. The kernel needs it to destroy links, loop devices and processes after a
/// stop.
const PAUSE: Duration = Duration::from_millis(150);
/// The time that a killed PID 1 may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the leftovers in /run/subhost, in `tree` ($SUBHOST) and in the kernel that two looks find.
///
/// # Errors
/// A failed request to the kernel.
pub fn left(tree: &Path) -> Result<Vec<Debris>> {
    let first = look(tree)?;
    if first.is_empty() {
        return Ok(first);
    }
    std::thread::sleep(PAUSE);
    let second = look(tree)?.into_iter();
    Ok(second
        .filter(|debris| first.iter().any(|other| other.is_same(debris)))
        .collect())
}

/// Looks once. It leaves out the objects of subhosts that a command is working on.
fn look(tree: &Path) -> Result<Vec<Debris>> {
    let mut snapshot = Snapshot::look(tree)?;
    let mut reported = Reported::default();
    let mut found = roots::processes(&snapshot);
    found.extend(roots::half_built(&mut snapshot));
    found.extend(roots::changed_while_running(&mut snapshot));
    let loops = mounts::loops(&snapshot);
    let residents = mounts::residents(&snapshot, &loops, &found);
    found.extend(roots::unrecorded(&mut snapshot, &residents, &mut reported));
    found.extend(mounts::mounts(&snapshot, &loops, &reported));
    found.extend(mounts::copies(&snapshot, &loops));
    found.extend(links::links(&mut snapshot, &reported));
    found.extend(links::netns_files(&snapshot, &reported));
    found.extend(mounts::idle_loops(&snapshot, &loops));
    let cgroups = links::cgroups(&snapshot, &found);
    found.extend(cgroups);
    found.extend(files::claims(&snapshot));
    found.extend(files::unfinished(&snapshot));
    found.extend(files::states(&snapshot));
    snapshot.update_lock_holders();
    for (name, owner) in &snapshot.owners {
        if let Some(work) = &owner.work {
            crate::base::message::tell(Some(name), || {
                format!("skipped while a command works on it: {work}")
            });
        }
    }
    let is_at_work = |owner: &Owner| owner.work.is_some();
    found.retain(|debris| match (&debris.subhost, debris.kind) {
        (Some(name), _) => !is_at_work(snapshot.owner(name)),
        // The process may belong to any subhost that a command is working on.
        (None, Kind::Process) => !snapshot.owners.values().any(is_at_work),
        (None, _) => true,
    });
    found.sort_by_key(|debris| debris.kind);
    Ok(found)
}

/// Repairs the leftovers that [`left`] has found, each only if another look under the lock of its subhost
/// finds it again. It waits for that lock for `wait` at most. It returns the leftovers with their outcomes,
/// and those that have appeared since.
///
/// # Errors
/// A failed request to the kernel. A failed repair is an [`Outcome`].
pub fn repair(tree: &Path, mut left: Vec<Debris>, wait: Duration) -> Result<Vec<Debris>> {
    let mut names: Vec<Option<Name>> = Vec::new();
    for debris in left.iter().filter(|debris| debris.fix.is_some()) {
        if !names.contains(&debris.subhost) {
            names.push(debris.subhost.clone());
        }
    }
    // Leftovers without a name come last: a common directory is empty only after the repair of the others.
    names.sort_by_key(Option::is_none);
    for name in names {
        let wanted = left.iter_mut().filter(|debris| debris.subhost == name);
        let wanted: Vec<&mut Debris> = wanted.filter(|debris| debris.fix.is_some()).collect();
        let Some(name) = name else {
            repair_all(tree, wanted)?;
            continue;
        };
        let state = State::new(&name);
        match state.lock(|| wait) {
            Ok(lock) => {
                let done = repair_all(tree, wanted);
                lock.release();
                done?;
            }
            Err(error) => {
                for debris in wanted {
                    debris.outcome = Some(Outcome::Failed(format!("at work: {}", error.what)));
                }
            }
        }
    }
    files::tidy_run();
    let now = self::left(tree)?;
    for debris in &mut left {
        let is_present = now.iter().any(|other| other.is_same(debris));
        debris.outcome = match (debris.outcome.take(), is_present) {
            (Some(Outcome::Repaired), true) => {
                Some(Outcome::Failed("it is still there, or there again".into()))
            }
            // The repair of another leftover has removed this one too.
            (None, false) => Some(Outcome::Repaired),
            (outcome, _) => outcome,
        };
    }
    let is_new = |new: &Debris| !left.iter().any(|debris| debris.is_same(new));
    let new: Vec<Debris> = now.into_iter().filter(is_new).collect();
    left.extend(new);
    Ok(left)
}

/// Repairs those of the `wanted` leftovers that another look finds again.
fn repair_all(tree: &Path, wanted: Vec<&mut Debris>) -> Result<()> {
    let now = look(tree)?;
    let mut stopped: BTreeMap<Name, Option<String>> = BTreeMap::new();
    for debris in wanted {
        let again = now.iter().find(|other| other.is_same(debris));
        let Some(fix) = again.and_then(|again| again.fix.as_ref()) else {
            debris.outcome = match again {
                None => Some(Outcome::Repaired), // It is gone without our doing.
                Some(again) => Some(Outcome::Failed(again.why.clone())),
            };
            continue;
        };
        let name = debris.subhost.as_ref();
        crate::base::message::tell(name, || format!("repairing {}", debris.object));
        let failed = match (fix, name) {
            // Root and network are two leftovers, and one stop takes down both.
            (Fix::Stop(_), Some(name)) if stopped.contains_key(name) => stopped[name].clone(),
            (Fix::Stop(tree), Some(name)) => {
                let how = StopHow {
                    sync: true,
                    ..StopHow::default()
                };
                let done = Subhost::new(tree, name, &[]).stop_locked(how);
                let failed = done.err().map(|error| full_text(&error));
                stopped.insert(name.clone(), failed.clone());
                failed
            }
            (fix, name) => apply(fix, name).err().map(|error| full_text(&error)),
        };
        debris.outcome = Some(failed.map_or(Outcome::Repaired, Outcome::Failed));
    }
    Ok(())
}

/// Returns the text of an error and of the errors in its `also`.
fn full_text(error: &Error) -> String {
    let mut text = error.to_string();
    for more in &error.also {
        text += "; ";
        text += &full_text(more);
    }
    text
}

fn apply(fix: &Fix, name: Option<&Name>) -> Result<()> {
    match fix {
        Fix::Kill(identity) => kill(identity),
        Fix::Link(index, alias) => Network::new().delete_marked(*index, alias).map(drop),
        Fix::Netns(file) => named::remove_leftover(file),
        Fix::Loop(device) => match loops::detach(device) {
            // The device has detached itself since the look.
            Err(error) if error.errno == Some(Errno::ENXIO) => Ok(()),
            other => other,
        },
        Fix::Cgroup(dir) => cgroup::remove_empty(dir),
        Fix::Remove(path) => check_removed(std::fs::remove_file(path), path),
        Fix::RemoveDir(path) => check_removed(std::fs::remove_dir(path), path),
        Fix::Tidy => name.map_or(Ok(()), tidy),
        // The caller does the stop, since it knows the name.
        Fix::Stop(_) => Ok(()),
    }
}

/// Adds the path to the error of a removal. A missing file counts as removed.
fn check_removed(removed: std::io::Result<()>, path: &Path) -> Result<()> {
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).doing(|| format!("remove {}", shown(path)))
        }
        _ => Ok(()),
    }
}

fn kill(identity: &proc::Identity) -> Result<()> {
    let alive = identity.alive();
    let Some(pidfd) = alive.doing(|| format!("tell whether pid {} lives", identity.pid))? else {
        return Ok(());
    };
    // The pidfd refers to this process for good. This last check makes sure that it is still a PID 1 of ours.
    if !roots::is_still_init(identity.pid) {
        return Ok(());
    }
    match sys::pidfd_kill(&pidfd, Signal::SIGKILL as i32) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(Error::sys(format!("kill pid {}", identity.pid), errno)),
    }
    match proc::wait_for_end(&pidfd, Some(KILL_TIMEOUT)) {
        true => Ok(()),
        false => Err(Error::new(
            Exit::TimedOut,
            format!("pid {} does not end on KILL", identity.pid),
        )),
    }
}

/// Removes the outdated files of /run/subhost/NAME. The release of the lock removes the rest.
fn tidy(name: &Name) -> Result<()> {
    let state = State::new(name);
    for part in Part::FROM_CONFIG {
        if state.plan(part)?.is_none() {
            state.thaw(part)?;
        }
    }
    let is_up = state.plan(Part::Root)?.is_some() || state.plan(Part::Net)?.is_some();
    if is_up || state.running()?.is_some() {
        return Ok(());
    }
    state.remove_cgroups()?;
    state.forget();
    for dir in files::lowers(state.dir()) {
        check_removed(std::fs::remove_dir(&dir), &dir)?;
    }
    Ok(())
}
