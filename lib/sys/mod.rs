//! The one door to system calls that nix and rustix lack, and the only `unsafe` of the crate.
//!
//! Each function is one call with its arguments typed; nothing here decides anything.
#![allow(unsafe_code)]

mod descriptors;
mod filters;
mod links;
mod loops;
mod mounts;
mod namespaces;
mod processes;
mod terminals;
mod trampoline;

pub use descriptors::*;
pub use filters::*;
pub use links::*;
pub use loops::*;
pub use mounts::*;
pub use namespaces::*;
pub use processes::*;
pub use terminals::*;
pub use trampoline::*;
