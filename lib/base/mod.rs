//! What every other room stands on: errors, messages, names, words, paths, the grammar of configs.
//! Nothing here touches an object of the kernel.

pub mod envfile;
pub mod error;
pub mod message;
pub mod name;
pub mod paths;
pub mod protocol;
pub mod words;
