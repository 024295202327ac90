//! The system calls that nix and rustix lack, and the only `unsafe` code of the crate.
//!
//! Each function makes one call with typed arguments. Nothing here makes a decision.
#![allow(unsafe_code)]

mod descriptors;
mod filters;
mod links;
mod loops;
mod mounts;
mod namespaces;
mod processes;
mod scheduling;
mod terminals;
mod trampoline;

pub use descriptors::*;
pub use filters::*;
pub use links::*;
pub use loops::*;
pub use mounts::*;
pub use namespaces::*;
pub use processes::*;
pub use scheduling::*;
pub use terminals::*;
pub use trampoline::*;
