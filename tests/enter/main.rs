//! `subhost-enter`: exit statuses, standard input, terminals, users, and what does not come along.

mod command;
#[path = "../common/mod.rs"]
mod common;
mod inside;
mod join;
mod login;
mod signals;
mod status;
mod stdio;
mod terminal;
