//! What a snapshot of a state has read or written. Nothing here reads a file.

use super::{Init, State};
use crate::plan::{Part, Plan};
use std::sync::{Arc, Mutex, PoisonError};

/// The memory of a snapshot, shared by its clones and by threads.
#[derive(Debug, Default)]
pub(super) struct Snapshot(Mutex<Seen>);

/// What is known. `None`: not read yet; `Some(None)`: read, and there is none.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Whether there is the file for the end of a run ([`State::snapshot_for_report`]).
    pub booted: Option<bool>,
    /// The frozen plans, by part.
    pub plans: [Option<Option<Arc<Plan>>>; Part::ALL.len()],
    /// The record of PID 1.
    pub init: Option<Option<Init>>,
}

impl State {
    /// Returns what the snapshot knows; `None` if it does not, or if this is no snapshot.
    pub(super) fn recall<T>(&self, get: impl FnOnce(&Seen) -> Option<T>) -> Option<T> {
        let snapshot = self.snapshot.as_ref()?;
        get(&snapshot.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the snapshot, if this is one, know what has just been read or written.
    pub(super) fn remember(&self, set: impl FnOnce(&mut Seen)) {
        if let Some(snapshot) = &self.snapshot {
            set(&mut snapshot.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
