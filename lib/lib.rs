//! Subhosts: system trees run on a Linux host as if they were machines, without a virtual machine.
//!
//! The tools `subhost-mount`, `subhost-net`, `subhost-enter`, `subhost-start`, `subhost-stop`,
//! `subhost-list`, `subhost-info`, `subhost-limit`, `subhost-config` and `subhost-check` parse their
//! command lines and call this library. No daemon stands behind it: the kernel holds the state.
//!
//! # For programs
//!
//! What stands on this page is for programs; the rooms behind it are hidden and change as they like. A
//! [`Subhost`] is one by name, with the verbs; a [`Command`] is run inside one. All fail by [`Error`], whose
//! [`Exit`] is what a tool would end with. Nothing is printed: [`events`] are for who wants to hear of them.
//! `examples/` has three programs.
//!
//! To change anything takes root. [`tools_in`] says where `subhost-init` is, if it lies neither beside the
//! program nor in `/usr/local/sbin`.
//!
//! ## Commands inside
//!
//! ```
//! use std::path::Path;
//! use subhost::{Exit, Name, Subhost};
//!
//! fn users(tree: &Path, name: &str) -> subhost::Result<Vec<u8>> {
//!     let web = Subhost::new(tree, &Name::new(name)?, &[]);
//!     let output = web.command("cut").args(["-d:", "-f1", "/etc/passwd"]).output()?;
//!     // `output.status` and `output.stderr` are there too, as with `std::process`.
//!     Ok(output.stdout)
//! }
//! # // There is no such subhost: the error says so and nothing happens.
//! # assert_eq!(users(Path::new("/nonexistent"), "web").unwrap_err().exit, Exit::NoSubhost);
//! ```
//!
//! Any thread may run commands, many at once: a thread made for that joins the subhost, and nothing of the
//! calling one is changed. While one is on its way in, the memory of the process cannot be looked into
//! (`PR_SET_DUMPABLE`). To start and stop is for programs that have one thread.
//!
//! A program that enters subhosts whose settings leave them CAP_SYS_PTRACE, have a filter of their own or a
//! label calls [`out_of_reach`] first thing, or what runs inside could get hold of its program
//! (CVE-2019-5736): to enter them is an error else.
//!
//! ## Up and down
//!
//! ```
//! use std::path::Path;
//! use subhost::{Exit, Name, StartHow, Status, StopHow, Subhost};
//!
//! fn restart(tree: &Path, name: &str) -> subhost::Result<()> {
//!     let web = Subhost::new(tree, &Name::new(name)?, &[]);
//!     web.stop(StopHow { keep: true, ..StopHow::default() })?;
//!     web.start(StartHow::Background, None)?;
//!     assert_eq!(web.status()?, Status::Running);
//!     web.stop(StopHow::default())
//! }
//! # assert_eq!(restart(Path::new("/nonexistent"), "web").unwrap_err().exit, Exit::NoSubhost);
//! ```
//!
//! ## A config and its plan
//!
//! ```
//! use std::fs;
//! use std::os::unix::fs::PermissionsExt;
//! use subhost::{Part, Name, Subhost};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tree = std::env::temp_dir().join(format!("subhost-doc-{}", std::process::id()));
//! # fs::create_dir_all(tree.join("web/root"))?;
//! # fs::set_permissions(&tree, fs::Permissions::from_mode(0o700))?;
//! fs::write(tree.join("web/config"), "LOWER=/\nHOSTNAME=www\n")?;
//!
//! let web = Subhost::new(&tree, &Name::new("web")?, &[]);
//! assert_eq!(web.config()?.run.hostname, "www");
//! for step in web.plan(Part::Root)?.steps {
//!     println!("{step:?}");
//! }
//! # fs::remove_dir_all(tree)?;
//! # Ok(())
//! # }
//! ```
//!
//! # The flow
//!
//! One way, no loops:
//!
//! ```text
//! config file -envfile-> pairs with lines -envy-> Raw -checks-> Config -root::steps, net::steps-> Plan
//! Plan -> lock -> check everything (sources, bridges, nothing foreign in the way)
//!      -> freeze the plan on disk -> act step by step
//!   up:   present and ours: skip; fails: undo what this run did, return the first error
//!   down: the frozen plan backwards, never stop at an error, collect, already gone is success
//! ```
//!
//! Everything up to the plan is pure: it reads files, and changes nothing. What is up is what its
//! frozen plan says, whatever became of the config since.
//!
//! From the ground up; a room uses only what stands above it in this table (`tests/layers.rs`):
//!
//! | room | what lives there |
//! |---|---|
//! | `base` | errors, events, names, paths, the grammar of configs |
//! | `sys` | the only `unsafe`: system calls that nix and rustix lack |
//! | `kernel`, `confine` | one object of the kernel a file; capabilities, filters, masks |
//! | `config` | settings and their meaning |
//! | `plan` | steps, the frozen plan, the law of doing and undoing |
//! | `state` | the only reader and writer of /run/subhost and /var/lib/subhost |
//! | `root`, `net`, `cgroup` | steps and the kernel: mounts; namespaces, cables, addresses, routes; cgroups |
//! | `login`, `init`, `boot` | a process as a login has it; PID 1; the booting tool's half |
//! | `enter`, `rootless` | joining; the world of an ordinary user, in which he is root |
//! | `subhost` | the verbs, made of all these, under the subhost's lock; commands inside |
//! | `report`, `check` | what is there; what the host can do, and what nobody owns |
//! | `cli` | command lines, messages, statuses |

// The rooms. Those that a program of ours, a test or a fuzzer reaches into are public and hidden.
#[doc(hidden)]
pub mod base;
#[doc(hidden)]
pub mod boot;
#[doc(hidden)]
pub mod cgroup;
mod check;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod confine;
mod enter;
#[doc(hidden)]
pub mod init;
#[doc(hidden)]
pub mod kernel;
#[doc(hidden)]
pub mod login;
mod net;
#[doc(hidden)]
pub mod plan;
mod report;
mod root;
mod rootless;
#[doc(hidden)]
pub mod state;
mod subhost;
mod sys;

pub use self::subhost::{Child, Command, StartHow, Status, Stdio, StopHow, Subhost};
pub use base::error::{Error, Exit, Result};
pub use base::message as events;
pub use base::name::Name;
#[doc(hidden)]
pub use base::{envfile, error};
pub use config::Config;
pub use enter::Join;
pub use kernel::terminal::{StdioMode, TtyMode};
pub use kernel::tools::{out_of_reach, tools_in};
pub use plan::{Part, Plan};
#[doc(no_inline)]
pub use std::process::{ExitStatus, Output};
