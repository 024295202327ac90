//! The confinement of processes inside: capabilities, system calls, no_new_privs. Services get what they
//! need and no more. The bounding set is reduced as well, so that no setuid file inside restores a
//! capability.

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
use calls::Strictness;
#[cfg(test)]
pub use profile::Action;
pub use profile::Profile;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The rights of a process inside. They are recorded with PID 1, so that a process that joins later has the
/// same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// The capabilities, as bits.
    pub caps: u64,
    /// Whether no_new_privs is set: no exec gains rights, not even of a setuid file.
    pub no_new_privs: bool,
    /// The filter of system calls.
    pub seccomp: Seccomp,
}

/// A filter of system calls, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// No filter.
    Off,
    /// The built-in filter.
    Default,
    /// The stricter built-in filter.
    Strict,
    /// The profile of a file.
    Own(Profile),
}

/// The value of `SECCOMP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// No filter.
    Off,
    /// The built-in filter.
    Default,
    /// The stricter built-in filter.
    Strict,
    /// A file in the form of the OCI, with its rules.
    File(PathBuf, oci::Rules),
}

impl Filter {
    /// Returns the filter for a process with these capabilities.
    pub fn resolve(&self, caps: CapabilitySet) -> Seccomp {
        match self {
            Filter::Off => Seccomp::Off,
            Filter::Default => Seccomp::Default,
            Filter::Strict => Seccomp::Strict,
            Filter::File(_, rules) => Seccomp::Own(rules.profile(caps)),
        }
    }
}

/// Rights in the form that a child can apply between fork and exec.
#[derive(Debug)]
pub struct Confinement {
    caps: CapabilitySet,
    no_new_privs: bool,
    program: Option<Program>,
}

impl Rights {
    /// Tells whether the capability is among the rights.
    pub fn has(&self, cap: CapabilitySet) -> bool {
        self.caps & cap.bits() != 0
    }

    /// Returns the rights of our PID 1. They use the built-in filter in place of a profile from a file,
    /// which might not allow the calls of PID 1.
    #[must_use]
    pub fn for_init(&self) -> Self {
        Self {
            seccomp: match self.seccomp {
                Seccomp::Own(_) => Seccomp::Default,
                ref other => other.clone(),
            },
            ..self.clone()
        }
    }

    /// Checks that the kernel supports the filter.
    ///
    /// # Errors
    /// The kernel cannot filter system calls, and `seccomp` is not off.
    pub fn check(&self) -> Result<()> {
        match self.seccomp {
            Seccomp::Off => Ok(()),
            _ => sys::can_filter_calls().map_err(|errno| {
                Error::sys("filter system calls", errno)
                    .hint("SECCOMP=off does without; a kernel with CONFIG_SECCOMP_FILTER can")
            }),
        }
    }

    /// Compiles the filter.
    ///
    /// # Errors
    /// `Invalid` if the profile is too long for the kernel.
    pub fn prepare(&self) -> Result<Confinement> {
        let caps = CapabilitySet::from_bits_retain(self.caps);
        let compile = |strictness| calls::profile(caps, strictness).compile();
        let program = match &self.seccomp {
            Seccomp::Off => None,
            Seccomp::Own(profile) => Some(profile.compile()?),
            Seccomp::Default => Some(compile(Strictness::Default)?),
            Seccomp::Strict => Some(compile(Strictness::Strict)?),
        };
        Ok(Confinement {
            caps,
            no_new_privs: self.no_new_privs,
            program,
        })
    }
}

impl Confinement {
    /// Returns the program of the filter; none if there is no filter.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// Applies the rights to the calling thread, for good and for all that it starts.
    ///
    /// # Errors
    /// The failed call. The caller must not execute anything then.
    pub fn enter(&self) -> Result<()> {
        clear_ambient_capability_set().doing(|| "clear the ambient capabilities")?;
        for number in 0..64 {
            let cap = CapabilitySet::from_bits_retain(1 << number);
            if self.caps.contains(cap) {
                continue;
            }
            match remove_capability_from_bounding_set(cap) {
                Ok(()) => {}
                // Linux refuses the number after the last capability that it knows.
                Err(rustix::io::Errno::INVAL) => break,
                Err(e) => return Err(e).doing(|| "cut the bounding set"),
            }
        }
        let now = capabilities(None).doing(|| "read our capabilities")?;
        if self.no_new_privs {
            rustix::thread::set_no_new_privs(true).doing(|| "give up new privileges")?;
        }
        // Before the capabilities are dropped: without CAP_SYS_ADMIN a filter requires no_new_privs.
        if let Some(program) = &self.program {
            sys::filter_calls(program).doing(|| "filter system calls")?;
        }
        let sets = CapabilitySets {
            effective: now.effective & self.caps,
            permitted: now.permitted & self.caps,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).doing(|| "give up capabilities")
    }
}
