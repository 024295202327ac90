//! Runs system trees on a Linux host like machines of their own, without a virtual machine.
//!
//! The tools, `subhost-start` and others, parse command lines and call this library. No daemon stands behind it: the kernel
//! holds the state. `ARCHITECTURE.md` in the source says how the library works.
//!
//! A [`Subhost`] names a subhost and has a method for each verb. A [`Command`] runs inside one. Everything fails by [`Error`], whose [`Exit`] is
//! the exit status that a tool would have. The library prints nothing: a program that wants to hear of what happens listens to
//! [`events`]. `examples/` has three programs. The modules behind these types are hidden, and change without notice.
//!
//! To change anything takes root. The library looks for `subhost-init` beside the program, in `/usr/local/sbin` and in `/usr/sbin`;
//! [`tools_in`] names another directory.
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
//! Any thread may run commands, several at once: a new thread joins the subhost, and nothing of the calling one changes. While a
//! thread joins, other processes cannot read the memory of this one (`PR_SET_DUMPABLE`). Only programs with one thread can
//! start and stop subhosts.
//!
//! Some settings let processes inside open the program that enters them (CVE-2019-5736): CAPS with SYS_PTRACE, SECCOMP with a
//! file, a label. A program that enters such a subhost calls [`out_of_reach`] first; otherwise that is an error.
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

// Modules that our programs, tests and fuzzers use are public, and hidden in the documentation.
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
