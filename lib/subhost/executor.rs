//! Dispatches steps to the rooms that act on the kernel, by the kind of step.

use super::Subhost;
use crate::base::error::Result;
use crate::kernel::mountinfo::{Mark, Mount, Mounts, Table};
use crate::net::Network;
use crate::plan::{Act, Planned, Presence, PresenceQuery, Step, UndoOptions};
use crate::state::State;

/// What the rooms need to act on a step.
pub(crate) struct Executor<'a> {
    pub(crate) mounts: &'a Mounts<'a>,
    pub(crate) network: &'a mut Network,
    pub(crate) state: &'a State,
}

/// Makes of the table of kinds and rooms a method for each thing that a step can be asked.
macro_rules! rooms {
    ($($kind:ident => $room:ident,)+) => {
        impl Executor<'_> {
            pub(crate) fn check(&mut self, step: &Step, all: &[Step]) -> Result<()> {
                match step {
                    $(Step::$kind(step) => step.check(self.$room(), all),)+
                }
            }

            pub(crate) fn present(&mut self, step: &Step, asked: PresenceQuery<'_>) -> Result<Presence> {
                match step {
                    $(Step::$kind(step) => step.present(self.$room(), asked),)+
                }
            }

            pub(crate) fn act(&mut self, step: &Step) -> Result<()> {
                match step {
                    $(Step::$kind(step) => step.act(self.$room()),)+
                }
            }

            pub(crate) fn undo(&mut self, planned: Planned<'_>, how: UndoOptions) -> Result<()> {
                match planned.step {
                    $(Step::$kind(step) => step.undo(self.$room(), planned.mark, how),)+
                }
            }

            pub(crate) fn mark(&mut self, step: &Step) -> Option<Mark> {
                match step {
                    $(Step::$kind(step) => step.mark(self.$room()),)+
                }
            }

            pub(crate) fn mount_in<'t>(
                &mut self,
                planned: Planned<'_>,
                table: &'t Table,
            ) -> Option<&'t Mount> {
                match planned.step {
                    $(Step::$kind(step) => step.mount_in(self.$room(), planned.mark, table),)+
                }
            }
        }
    };
}

rooms! {
    Directory => mounts,
    Claim => state,
    Image => mounts,
    Within => mounts,
    Tmpfs => mounts,
    Overlay => mounts,
    Rbind => mounts,
    Netns => network,
    Cable => network,
    Helper => network,
    Routes => network,
}

impl Executor<'_> {
    fn mounts(&self) -> &Mounts<'_> {
        self.mounts
    }

    fn network(&mut self) -> &mut Network {
        self.network
    }

    fn state(&self) -> &State {
        self.state
    }
}

impl Subhost {
    /// Returns the executor of its steps.
    pub(crate) fn executor<'a>(
        &'a self,
        mounts: &'a Mounts<'a>,
        network: &'a mut Network,
    ) -> Executor<'a> {
        Executor {
            mounts,
            network,
            state: &self.state,
        }
    }
}
