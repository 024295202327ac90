//! Root and network that PID 1 gets: made before, or the one by a thread beside and the other while PID 1 begins.

use super::Up;
use crate::base::error::Result;
use crate::boot::Parts;
use crate::net::named;
use crate::plan::Plan;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::sync::mpsc::Receiver;
use std::thread::ScopedJoinHandle;

/// A root that is to be mounted, and a network that a thread makes.
pub(super) struct ParallelSetup<'a, R> {
    root: R,
    thread: Option<ScopedJoinHandle<'a, Result<Up>>>,
    /// Its namespace, if the thread makes it, from then on.
    namespace: Receiver<OwnedFd>,
}

impl<'a, R> ParallelSetup<'a, R> {
    pub(super) fn new(
        root: R,
        thread: ScopedJoinHandle<'a, Result<Up>>,
        namespace: Receiver<OwnedFd>,
    ) -> Self {
        Self {
            root,
            thread: Some(thread),
            namespace,
        }
    }

    /// The plan of the network, when that has been made; none if that was asked for before.
    fn made(&mut self) -> Result<Option<Plan>> {
        let Some(thread) = self.thread.take() else {
            return Ok(None);
        };
        let net = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok(Some(net?.plan))
    }
}

impl<R: FnMut() -> Result<()>> Parts for ParallelSetup<'_, R> {
    fn root(&mut self) -> Result<()> {
        (self.root)()
    }

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

/// All is there: the network's namespace; none: the host's.
pub(super) struct Ready(pub(super) Option<OwnedFd>);

impl Parts for Ready {
    fn root(&mut self) -> Result<()> {
        Ok(())
    }

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
        Some(name) => named::open(name).map(Some),
    }
}
