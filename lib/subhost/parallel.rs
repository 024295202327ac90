//! How a start sets up root and network: before it boots, or in parallel with the start of PID 1.

use super::Up;
use crate::base::error::Result;
use crate::boot::Setup;
use crate::net::named;
use crate::plan::Plan;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::sync::mpsc::Receiver;
use std::thread::ScopedJoinHandle;

/// A set-up in which a thread makes the network while this one spawns PID 1 and mounts the root.
pub(super) struct ParallelSetup<'a, R> {
    mount_root: R,
    network: Option<ScopedJoinHandle<'a, Result<Up>>>,
    /// Receives the network namespace when the thread has made it.
    namespace: Receiver<OwnedFd>,
}

impl<'a, R> ParallelSetup<'a, R> {
    pub(super) fn new(
        mount_root: R,
        network: ScopedJoinHandle<'a, Result<Up>>,
        namespace: Receiver<OwnedFd>,
    ) -> Self {
        Self {
            mount_root,
            network: Some(network),
            namespace,
        }
    }

    /// Waits until the network is made. Returns its plan; `None` if it was returned before.
    fn network_plan(&mut self) -> Result<Option<Plan>> {
        let Some(thread) = self.network.take() else {
            return Ok(None);
        };
        let net = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok(Some(net?.plan))
    }
}

impl<R: FnMut() -> Result<()>> Setup for ParallelSetup<'_, R> {
    fn mount_root(&mut self) -> Result<()> {
        (self.mount_root)()
    }

    fn network_namespace(&mut self) -> Result<Option<OwnedFd>> {
        if let Ok(namespace) = self.namespace.recv() {
            return Ok(Some(namespace));
        }
        match self.network_plan()? {
            Some(plan) => namespace_of(&plan),
            None => Ok(None),
        }
    }

    fn finish_network(&mut self) -> Result<()> {
        self.network_plan().map(drop)
    }
}

/// A set-up that is complete, with the network namespace that PID 1 joins; `None`: it stays in the host's.
pub(super) struct Ready(pub(super) Option<OwnedFd>);

impl Setup for Ready {
    fn mount_root(&mut self) -> Result<()> {
        Ok(())
    }

    fn network_namespace(&mut self) -> Result<Option<OwnedFd>> {
        Ok(self.0.take())
    }

    fn finish_network(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Opens the namespace of a network that is made; `None`: it is the host's.
pub(super) fn namespace_of(plan: &Plan) -> Result<Option<OwnedFd>> {
    match plan.netns.file_name().and_then(|name| name.to_str()) {
        None => Ok(None),
        Some(name) => named::open(name).map(Some),
    }
}
