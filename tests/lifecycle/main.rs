//! The life of a subhost: started, hibernating, stopped, looked at; RUN, INIT, STOP, hooks, logs, locks.

mod autostart;
mod bind;
mod caller;
mod changed;
#[path = "../common/mod.rs"]
mod common;
mod concurrency;
mod cycle;
mod env_file;
mod foreign;
mod hooks;
mod identity;
mod info;
mod init;
mod list;
mod log;
mod run;
mod start;
mod stop;

use std::fs;

const LOG: &str = "/var/log/subhost/w.log";

fn log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}
