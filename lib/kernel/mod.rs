//! The kernel's objects, one a file: processes, mounts, namespaces, terminals, packets. Nothing here
//! knows a subhost, its settings or its state.

pub mod clock;
pub mod dirs;
pub mod holders;
pub mod locks;
pub mod loops;
pub mod lsm;
pub mod mountinfo;
pub mod mounts;
pub mod packets;
pub mod pinned;
pub mod pipes;
pub mod privilege;
pub mod proc;
pub mod processor;
pub mod signals;
pub mod spawn;
pub mod terminal;
pub mod tools;
pub mod trampoline;
pub mod userns;
