//! What every other room uses: errors, events, names, number formats, paths, the protocol of PID 1, and the
//! grammar of configs. Nothing here touches an object of the kernel.

pub mod envfile;
pub mod error;
pub mod message;
pub mod name;
pub mod paths;
pub mod protocol;
pub mod words;
