//! The network that PID 1 joins: made before, or by a thread beside.

use super::Up;
use crate::boot::Joined;
use crate::error::Result;
use crate::net::netns;
use crate::plan::Plan;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::sync::mpsc::Receiver;
use std::thread::ScopedJoinHandle;

/// A network that a thread makes.
pub(super) struct Beside<'a> {
    thread: Option<ScopedJoinHandle<'a, Result<Up>>>,
    /// The namespace, if the thread makes it, from then on.
    namespace: Receiver<OwnedFd>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(
        thread: ScopedJoinHandle<'a, Result<Up>>,
        namespace: Receiver<OwnedFd>,
    ) -> Self {
        Self {
            thread: Some(thread),
            namespace,
        }
    }

    /// The plan of what has been made, when it has been; none if that was asked for before.
    fn made(&mut self) -> Result<Option<Plan>> {
        let Some(thread) = self.thread.take() else {
            return Ok(None);
        };
        let net = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok(Some(net?.plan))
    }
}

impl Joined for Beside<'_> {
    fn namespace(&mut self) -> Result<Option<OwnedFd>> {
        if let Ok(namespace) = self.namespace.recv() {
            return Ok(Some(namespace));
        }
        match self.made()? {
            Some(plan) => namespace_of(&plan),
            None => Ok(None),
        }
    }

    fn complete(&mut self) -> Result<()> {
        self.made().map(drop)
    }
}

/// One that is all there.
pub(super) struct Made(pub(super) Option<OwnedFd>);

impl Joined for Made {
    fn namespace(&mut self) -> Result<Option<OwnedFd>> {
        Ok(self.0.take())
    }

    fn complete(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The namespace of a network that is made; none: the host's.
pub(super) fn namespace_of(plan: &Plan) -> Result<Option<OwnedFd>> {
    match plan.netns.file_name().and_then(|name| name.to_str()) {
        None => Ok(None),
        Some(name) => netns::open(name).map(Some),
    }
}
