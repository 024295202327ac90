//! How steps are made and undone: the first failure undoes the steps made before it, and undoing never stops at a failure.

use super::Step;
use crate::base::error::{Error, Result};
use crate::kernel::mountinfo::{Mark, Mount, Table};

/// What is known of a step when [`Act::present`] looks for its object.
#[derive(Debug, Clone, Copy)]
pub struct PresenceQuery<'a> {
    /// The recorded mark of the object that the step made, if there is one.
    pub mark: Option<&'a Mark>,
    /// All steps of the plan that the step belongs to.
    pub all: &'a [Step],
    /// The plan is frozen. Then an object with the right name is ours; otherwise only an object that equals
    /// what the step would make.
    pub frozen: bool,
}

/// Whether a plan is recorded on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The plan is frozen.
    Yes,
    /// The plan has just been made of the settings.
    No,
}

/// How a step is undone.
#[derive(Debug, Clone, Copy, Default)]
pub struct UndoOptions {
    /// Detaches (`MNT_DETACH`) a mount that stays busy, with a warning.
    pub detach: bool,
    /// Waits until the kernel has destroyed the object. Otherwise only its name is free at the return, and
    /// the kernel destroys the rest later.
    pub wait: bool,
}

/// The actions of one kind of step on the kernel. `W` is what they work with: the mount table, sockets, a
/// state.
pub trait Act<W> {
    /// Checks the preconditions before any step changes anything: each source exists, has the right type, and
    /// has no other user. `all` are the steps of the plan.
    ///
    /// # Errors
    /// The missing or busy object, with the remedy.
    fn check(&self, _with: W, _all: &[Step]) -> Result<()> {
        Ok(())
    }

    /// Tells whether the object that the step makes is present. All rooms use this one judgement.
    ///
    /// # Errors
    /// A failed query of the kernel.
    fn present(&self, with: W, asked: PresenceQuery<'_>) -> Result<Presence>;

    /// Does the step. Its object must be absent. A step that fails leaves nothing.
    ///
    /// # Errors
    /// The failed call with its object.
    fn act(&self, with: W) -> Result<()>;

    /// Removes the object that the step made, if it is present and ours.
    ///
    /// # Errors
    /// A busy object, with its holders, or a foreign object in its place.
    fn undo(&self, with: W, mark: Option<&Mark>, how: UndoOptions) -> Result<()>;

    /// Returns the mark of the object that the step made.
    fn mark(&self, _with: W) -> Option<Mark> {
        None
    }

    /// Finds the mount that the step made in `table`; none if the step makes no mount, or the mount is
    /// absent.
    fn mount_in<'t>(&self, _with: W, _mark: Option<&Mark>, _table: &'t Table) -> Option<&'t Mount> {
        None
    }
}

/// What is in the place of the object that a step makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The place is empty.
    Absent,
    /// The object of the step is there.
    Ours,
    /// Another object is there; the text describes it.
    Foreign(String),
}

/// Does the steps in order and returns their number. A step whose object is present already is skipped. If a
/// step fails, those that this call did are undone backwards. The failed step leaves nothing and is not
/// undone.
///
/// # Errors
/// The failure of `act`, with the failures of `undo` in `also`.
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

/// Undoes all steps backwards, and continues after a failure.
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

    /// Tries every length, every set of present steps, every failing step and every failing undo.
    #[test]
    fn a_failure_undoes_exactly_the_steps_done() {
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
