//! Subhosts: system trees run on a Linux host as if they were machines, without a virtual machine.
//!
//! The tools `subhost-mount`, `subhost-net`, `subhost-enter`, `subhost-start`, `subhost-stop`,
//! `subhost-list`, `subhost-info` and `subhost-config` parse their command lines and call this
//! library. No daemon stands behind it: the kernel holds the state.

pub mod boot;
pub mod cli;
pub mod config;
pub mod confine;
pub mod enter;
pub mod envfile;
pub mod error;
pub mod holders;
pub mod hooks;
pub mod init;
pub mod login;
pub mod net;
pub mod plan;
pub mod proc;
pub mod report;
pub mod root;
pub mod state;
pub mod subhost;
pub mod sys;
pub mod terminal;
