//! The law of doing and undoing steps: the first failure undoes what was done, and undoing never stops.

use super::Step;
use crate::base::error::{Error, Result};
use crate::kernel::mountinfo::{Mark, Mount, Table};

/// What is known of a step when it is asked whether what it makes is there.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the kernel calls what the step made, if it is recorded.
    pub mark: Option<&'a Mark>,
    /// All steps of its plan.
    pub all: &'a [Step],
    /// The plan is frozen: what has the right name was made by it. Else only what is whole and exact is ours.
    pub frozen: bool,
}

/// How thoroughly something is taken away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Thoroughly {
    /// What stays busy is detached (`MNT_DETACH`) and told of.
    pub detach: bool,
    /// Until the kernel has done with it; else its name is free, and the kernel takes the rest in its own time.
    pub wait: bool,
}

/// What a room does for one kind of step. `W` is what it works with: the mount table, sockets, a state.
pub trait Act<W> {
    /// What must hold before anything is touched: sources exist, are what they should be, and are used by nobody
    /// else. `all` are the steps of the plan.
    ///
    /// # Errors
    /// The missing or busy object, with the remedy.
    fn check(&self, _with: W, _all: &[Step]) -> Result<()> {
        Ok(())
    }

    /// Is what the step makes there? The one opinion on that.
    ///
    /// # Errors
    /// The kernel could not be asked.
    fn present(&self, with: W, asked: Asked<'_>) -> Result<Presence>;

    /// Does the step; what it makes is not there yet. If it fails it leaves nothing.
    ///
    /// # Errors
    /// The failed call with its object.
    fn act(&self, with: W) -> Result<()>;

    /// Takes away what the step made, if it is there and ours.
    ///
    /// # Errors
    /// What stays busy, with its holders; something foreign in its place.
    fn undo(&self, with: W, mark: Option<&Mark>, how: Thoroughly) -> Result<()>;

    /// The mark of what the step made.
    fn mark(&self, _with: W) -> Option<Mark> {
        None
    }

    /// The mount that the step made, if it makes one and that is there.
    fn mount_in<'t>(&self, _with: W, _mark: Option<&Mark>, _table: &'t Table) -> Option<&'t Mount> {
        None
    }
}

/// Is what a step makes there?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// No.
    Absent,
    /// Yes, exactly what the step would make.
    Ours,
    /// Something else is in its place; in words.
    Foreign(String),
}

/// Does the steps in order. Those that are there already are left; if one fails, those that this
/// call did are undone backwards and the first error is returned with the errors of undoing. The
/// step that failed has left nothing and is not undone. Gives the number of steps done.
///
/// # Errors
/// The first failure of `act`, with those of `undo` in `also`.
pub fn apply<S>(
    steps: &[(S, Presence)],
    mut act: impl FnMut(&S) -> Result<()>,
    mut undo: impl FnMut(&S) -> Result<()>,
) -> Result<usize> {
    let mut done: Vec<&S> = Vec::new();
    for (step, presence) in steps {
        if *presence != Presence::Absent {
            continue;
        }
        if let Err(first) = act(step) {
            let undone = done.into_iter().rev().map(&mut undo);
            return Err(first.also(undone.filter_map(Result::err)));
        }
        done.push(step);
    }
    Ok(done.len())
}

/// Undoes all steps backwards, whatever fails.
///
/// # Errors
/// The first failure, with the others in `also`.
pub fn undo_all<S>(steps: &[S], undo: impl FnMut(&S) -> Result<()>) -> Result<()> {
    let results = steps.iter().rev().map(undo);
    Error::collect(results.filter_map(Result::err).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Exit;
    use std::cell::RefCell;

    fn failure(what: &str, step: usize) -> Error {
        Error::new(Exit::Failed, format!("{what} {step}"))
    }

    /// For every length, every set of present steps, every failing step and every failing undo.
    #[test]
    fn the_law() {
        for len in 0..6usize {
            for present in 0..1u32 << len {
                for fail in 0..=len {
                    for bad_undo in 0..=len {
                        check(len, present, fail, bad_undo);
                    }
                }
            }
        }
    }

    fn check(len: usize, present: u32, fail: usize, bad_undo: usize) {
        let is_present = |step: usize| present & 1 << step != 0;
        let steps: Vec<(usize, Presence)> = (0..len)
            .map(|step| match is_present(step) {
                true => (step, Presence::Ours),
                false => (step, Presence::Absent),
            })
            .collect();
        let log = RefCell::new(Vec::new());
        let result = apply(
            &steps,
            |&step| {
                log.borrow_mut().push(format!("act {step}"));
                (step != fail)
                    .then_some(())
                    .ok_or_else(|| failure("act", step))
            },
            |&step| {
                log.borrow_mut().push(format!("undo {step}"));
                (step != bad_undo)
                    .then_some(())
                    .ok_or_else(|| failure("undo", step))
            },
        );
        let fails = fail < len && !is_present(fail);
        let acted: Vec<usize> = (0..len)
            .filter(|&step| !is_present(step) && (!fails || step <= fail))
            .collect();
        let mut expected: Vec<String> = acted.iter().map(|step| format!("act {step}")).collect();
        if fails {
            let undone = acted.iter().rev().filter(|&&step| step < fail);
            expected.extend(undone.map(|step| format!("undo {step}")));
        }
        assert_eq!(log.into_inner(), expected);
        match result {
            Ok(count) => assert!(!fails && count == acted.len()),
            Err(error) => {
                assert!(fails);
                assert_eq!(error.what, format!("act {fail}"));
                let also = usize::from(bad_undo < fail && !is_present(bad_undo));
                assert_eq!(error.also.len(), also);
            }
        }
    }

    #[test]
    fn undoing_never_stops() {
        let log = RefCell::new(Vec::new());
        let result = undo_all(&[0, 1, 2, 3], |&step| {
            log.borrow_mut().push(step);
            (step % 2 == 0)
                .then_some(())
                .ok_or_else(|| failure("undo", step))
        });
        assert_eq!(log.into_inner(), [3, 2, 1, 0]);
        let error = result.unwrap_err();
        assert_eq!((error.what.as_str(), error.also.len()), ("undo 3", 1));
    }
}
