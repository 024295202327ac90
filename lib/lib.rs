//! Subhosts: system trees run on a Linux host as if they were machines, without a virtual machine.
//!
//! The tools `subhost-mount`, `subhost-net`, `subhost-enter`, `subhost-start`, `subhost-stop`,
//! `subhost-list`, `subhost-info`, `subhost-limit`, `subhost-config` and `subhost-check` parse their
//! command lines and call this library. No daemon stands behind it: the kernel holds the state.
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
//! From the ground up; a module uses only what stands above it in this table (`tests/layers.rs`):
//!
//! | module | what lives there |
//! |---|---|
//! | [`base`] | errors, events, names, paths, the grammar of configs |
//! | [`sys`] | the only `unsafe`: system calls that nix and rustix lack |
//! | [`kernel`], [`confine`] | one object of the kernel a file; capabilities, filters, masks |
//! | [`config`] | settings and their meaning |
//! | [`plan`] | steps, the frozen plan, the law of doing and undoing |
//! | [`state`] | the only reader and writer of /run/subhost and /var/lib/subhost |
//! | [`root`], [`net`], [`cgroup`] | steps and the kernel: mounts; namespaces, cables, addresses, routes; cgroups |
//! | [`login`], [`init`], [`boot`] | a process as a login has it; PID 1; the booting tool's half |
//! | [`enter`], [`rootless`] | joining; the world of an ordinary user, in which he is root |
//! | [`subhost`] | the verbs, made of all these, under the subhost's lock |
//! | [`report`], [`check`] | what is there; what the host can do, and what nobody owns |
//! | [`cli`] | command lines, messages, statuses |
//!
//! # A config and its plan
//!
//! ```
//! use std::fs;
//! use std::os::unix::fs::PermissionsExt;
//! use subhost::{Name, plan::Half, subhost::Subhost};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tree = std::env::temp_dir().join(format!("subhost-doc-{}", std::process::id()));
//! # fs::create_dir_all(tree.join("web/root"))?;
//! # fs::set_permissions(&tree, fs::Permissions::from_mode(0o700))?;
//! fs::write(tree.join("web/config"), "LOWER=/\nHOSTNAME=www\n")?;
//!
//! let web = Subhost::new(&tree, &Name::new("web")?, &[]);
//! assert_eq!(web.config()?.run.hostname, "www");
//! for step in web.plan(Half::Root)?.steps {
//!     println!("{step:?}");
//! }
//! # fs::remove_dir_all(tree)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Up and down
//!
//! Needs root; [`kernel::tools::tools_in`] says where `subhost-init` is, if it lies neither beside the program
//! nor in `/usr/local/sbin`. The process should have one thread. One that enters subhosts whose
//! settings leave them CAP_SYS_PTRACE, have a filter of their own or a label calls
//! [`kernel::tools::out_of_reach`] first thing, or what runs inside could get hold of its program
//! (CVE-2019-5736): to enter them is an error else.
//!
//! ```
//! use std::path::Path;
//! use subhost::{Name, subhost::{StartHow, Status, StopHow, Subhost}};
//!
//! fn restart(tree: &Path, name: &str) -> subhost::error::Result<()> {
//!     let web = Subhost::new(tree, &Name::new(name)?, &[]);
//!     web.stop(StopHow { keep: true, ..StopHow::default() })?;
//!     web.start(StartHow::Background, None)?;
//!     assert_eq!(web.status()?, Status::Running);
//!     web.stop(StopHow::default())
//! }
//! # // There is no such subhost: the error says so and nothing happens.
//! # let error = restart(Path::new("/nonexistent"), "web").unwrap_err();
//! # assert_eq!(error.exit, subhost::error::Exit::NoSubhost);
//! ```

pub mod base;
pub mod boot;
pub mod cgroup;
pub mod check;
pub mod cli;
pub mod config;
pub mod confine;
pub mod enter;
pub mod init;
pub mod kernel;
pub mod login;
pub mod net;
pub mod plan;
pub mod report;
pub mod root;
pub mod rootless;
pub mod state;
pub mod subhost;
pub mod sys;

pub use self::subhost::{Child, Command, StartHow, Status, Stdio, StopHow, Subhost};
pub use base::error::{Error, Exit, Result};
pub use base::message as events;
pub use base::name::Name;
pub use base::{envfile, error};
pub use enter::Join;
pub use kernel::tools::out_of_reach;
pub use kernel::tools::tools_in;
pub use std::process::{ExitStatus, Output};
