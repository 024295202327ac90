//! What those inside may do: capabilities, system calls, privileges to be gained. Services get what
//! they need and no more. The bounding set is cut, so that no setuid file inside gives back what is
//! not here.

mod bpf;
mod calls;
pub mod caps;
pub mod devices;
pub mod hidden;
pub mod oci;
mod profile;

use crate::base::error::{Doing, Error, Result};
use crate::sys;
pub use bpf::Program;
#[cfg(test)]
pub use profile::Action;
pub use profile::Profile;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a process inside is, as far as its rights go. Recorded with PID 1, so that those who come in
/// later have no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// The capabilities that stay, by their bits.
    pub caps: u64,
    /// Nothing that is executed gives more rights, setuid files neither.
    pub no_new_privs: bool,
    /// Which system calls are let through.
    pub seccomp: Seccomp,
}

/// Which system calls are let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// All.
    Off,
    /// What services need.
    Default,
    /// The same without what is unusual.
    Strict,
    /// What a file said.
    Own(Profile),
}

/// What `SECCOMP` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All calls.
    Off,
    /// What services need.
    Default,
    /// Less.
    Strict,
    /// What this file lists.
    File(PathBuf, oci::Rules),
}

impl Filter {
    /// For those who keep these capabilities.
    pub fn resolved(&self, kept: CapabilitySet) -> Seccomp {
        match self {
            Filter::Off => Seccomp::Off,
            Filter::Default => Seccomp::Default,
            Filter::Strict => Seccomp::Strict,
            Filter::File(_, rules) => Seccomp::Own(rules.profile(kept)),
        }
    }
}

/// Rights, ready to be taken on between fork and exec.
#[derive(Debug)]
pub struct Confinement {
    kept: CapabilitySet,
    no_new_privs: bool,
    program: Option<Program>,
}

impl Rights {
    /// Does it stay?
    pub fn has(&self, cap: CapabilitySet) -> bool {
        self.caps & cap.bits() != 0
    }

    /// The same for our own PID 1: it must be able to do its work whatever a file says.
    #[must_use]
    pub fn of_init(&self) -> Self {
        Self {
            seccomp: match self.seccomp {
                Seccomp::Own(_) => Seccomp::Default,
                ref other => other.clone(),
            },
            ..self.clone()
        }
    }

    /// Can the kernel keep to them?
    ///
    /// # Errors
    /// It cannot filter system calls and is to.
    pub fn check(&self) -> Result<()> {
        match self.seccomp {
            Seccomp::Off => Ok(()),
            _ => sys::can_filter_calls().map_err(|errno| {
                Error::sys("filter system calls", errno)
                    .hint("SECCOMP=off does without; a kernel with CONFIG_SECCOMP_FILTER can")
            }),
        }
    }

    /// Makes the program.
    ///
    /// # Errors
    /// `Invalid`: the profile is too long for the kernel.
    pub fn prepare(&self) -> Result<Confinement> {
        let kept = CapabilitySet::from_bits_retain(self.caps);
        let strict = self.seccomp == Seccomp::Strict;
        let program = match &self.seccomp {
            Seccomp::Off => None,
            Seccomp::Own(profile) => Some(profile.compile()?),
            Seccomp::Default | Seccomp::Strict => Some(calls::profile(kept, strict).compile()?),
        };
        Ok(Confinement {
            kept,
            no_new_privs: self.no_new_privs,
            program,
        })
    }
}

impl Confinement {
    /// The filter, if there is one.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// Gives up all else, for good and for all that we start.
    ///
    /// # Errors
    /// The failed call: nothing may run with more than it should have.
    pub fn enter(&self) -> Result<()> {
        clear_ambient_capability_set().doing(|| "clear the ambient capabilities")?;
        for number in 0..64 {
            let cap = CapabilitySet::from_bits_retain(1 << number);
            if self.kept.contains(cap) {
                continue;
            }
            match remove_capability_from_bounding_set(cap) {
                Ok(()) => {}
                // The number after the last one that this kernel knows.
                Err(rustix::io::Errno::INVAL) => break,
                Err(e) => return Err(e).doing(|| "cut the bounding set"),
            }
        }
        let now = capabilities(None).doing(|| "read our capabilities")?;
        if self.no_new_privs {
            rustix::thread::set_no_new_privs(true).doing(|| "give up new privileges")?;
        }
        // As long as we are capable: who is not would have to give up new privileges.
        if let Some(program) = &self.program {
            sys::filter_calls(program).doing(|| "filter system calls")?;
        }
        let sets = CapabilitySets {
            effective: now.effective & self.kept,
            permitted: now.permitted & self.kept,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).doing(|| "give up capabilities")
    }
}
