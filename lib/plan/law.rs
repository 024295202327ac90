//! The law of doing and undoing steps: the first failure undoes what was done, and undoing never stops.

use crate::base::error::{Error, Result};

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
