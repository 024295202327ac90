//! What a config may say: keys, values, the files that hold them, the names of subhosts, the command line.
//! What is refused leaves the host as it was.

mod changes;
#[path = "../common/mod.rs"]
mod common;
mod keys;
mod names;
mod permissions;
mod set_option;
mod subhost_config;
mod syntax;
mod usage;
