//! The security modules of the host: an AppArmor profile (`apparmor(7)`) or an SELinux label (`selinux(8)`)
//! for a program that is executed. Which label a subhost has is not decided here.

use crate::base::error::{Doing, Errno, Error, Exit, IntoErrno, Result, shown};
use rustix::fs::{Mode, OFlags, openat};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The loaded profiles, one line `NAME (MODE)` each.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// SELinux checks a label that is written here.
const CONTEXT: &str = "/sys/fs/selinux/context";

/// A profile or label that confines a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Label {
    /// The name of a profile that is loaded on the host.
    AppArmor(String),
    /// A label, `USER:ROLE:TYPE[:LEVEL]`.
    SeLinux(String),
}

impl Label {
    /// Returns the key of the config that sets it.
    pub fn key(&self) -> &'static str {
        match self {
            Label::AppArmor(_) => "APPARMOR",
            Label::SeLinux(_) => "SELINUX",
        }
    }

    /// Returns the profile or label as text.
    pub fn as_str(&self) -> &str {
        match self {
            Label::AppArmor(text) | Label::SeLinux(text) => text,
        }
    }

    /// Checks that the host can apply it.
    ///
    /// # Errors
    /// The host does not have the security module, or the module does not have the profile or label.
    pub fn check(&self) -> Result<()> {
        let refused = |why: String| {
            let what = format!("cannot confine by {}={}", self.key(), shown(self.as_str()));
            Error::new(Exit::Failed, format!("{what}: {why}"))
        };
        match self {
            Label::AppArmor(profile) => {
                let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
                if enabled.unwrap_or_default().trim() != "Y" {
                    return Err(refused("this kernel has no AppArmor, or it is off".into()));
                }
                // The list cannot be read where securityfs is not mounted; then exec reports the error.
                match std::fs::read_to_string(PROFILES) {
                    Ok(loaded) if !is_loaded(&loaded, profile) => {
                        let error = refused("no such profile is loaded".into());
                        Err(error.hint("apparmor_parser -r FILE loads one, aa-status lists them"))
                    }
                    _ => Ok(()),
                }
            }
            Label::SeLinux(label) => {
                if !Path::new(CONTEXT).exists() {
                    return Err(refused("this kernel has no SELinux, or it is off".into()));
                }
                std::fs::write(CONTEXT, label)
                    .map_err(|e| refused(format!("the policy does not know it ({e})")))
            }
        }
    }

    /// Applies the label to the next exec. `proc` is a procfs that no process inside could have replaced
    /// (CVE-2019-19921).
    fn set_for_exec(&self, proc: impl AsFd) -> std::result::Result<(), Errno> {
        let (files, text): (&[&str], String) = match self {
            // Linux 5.8 added the first file, for AppArmor only.
            Label::AppArmor(profile) => (
                &["thread-self/attr/apparmor/exec", "thread-self/attr/exec"],
                format!("exec {profile}"),
            ),
            Label::SeLinux(label) => (&["thread-self/attr/exec"], label.clone()),
        };
        let mut last = Errno::ENOENT;
        for file in files {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            match openat(&proc, *file, flags, Mode::empty()) {
                Ok(open) => {
                    let written = rustix::io::write(&open, text.as_bytes());
                    return written.map(drop).map_err(IntoErrno::into_errno);
                }
                Err(e) => last = e.into_errno(),
            }
        }
        Err(last)
    }
}

/// Tells whether a profile is in the list of loaded ones. Names in a namespace and stacks of profiles pass:
/// the kernel checks them.
fn is_loaded(loaded: &str, profile: &str) -> bool {
    let judged = profile == "unconfined" || profile.starts_with(':') || profile.contains("//&");
    let name = |line: &str| line.rsplit_once(" (").map(|(name, _)| name == profile);
    judged || loaded.lines().any(|line| name(line) == Some(true))
}

/// Labels, and the /proc through which they are applied, opened while it can be trusted.
#[derive(Debug)]
pub struct Labelling {
    labels: Vec<Label>,
    proc: Option<OwnedFd>,
}

impl Labelling {
    /// Opens /proc for the labels. Call it before a process inside could mount its own /proc.
    ///
    /// # Errors
    /// /proc cannot be opened, or is not a procfs.
    pub fn new(labels: &[Label]) -> Result<Self> {
        let proc = (!labels.is_empty()).then(open_proc).transpose()?;
        Ok(Self {
            labels: labels.to_vec(),
            proc,
        })
    }

    /// Applies the labels to the next exec of this thread.
    ///
    /// # Errors
    /// The label that cannot be applied, and the reason.
    pub fn set_for_exec(&self) -> std::result::Result<(), (&Label, Errno)> {
        self.labels.iter().try_for_each(|label| {
            let proc = self.proc.as_ref().ok_or((label, Errno::ENOENT))?;
            label.set_for_exec(proc).map_err(|errno| (label, errno))
        })
    }
}

fn open_proc() -> Result<OwnedFd> {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).doing(|| "open /proc")?;
    let magic = rustix::fs::fstatfs(&proc).doing(|| "look at /proc")?.f_type;
    match magic as i64 == PROC_SUPER_MAGIC {
        true => Ok(proc),
        false => Err(Error::new(Exit::Failed, "/proc is not a procfs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_loaded_compares_whole_names() {
        let loaded = "/usr/sbin/named (enforce)\nmy profile (complain)\nmy (enforce)\n";
        for (profile, is) in [
            ("/usr/sbin/named", true),
            ("my profile", true),
            ("my", true),
            ("my (enforce)", false),
            ("named", false),
            ("unconfined", true),
            (":ns:x", true),
        ] {
            assert_eq!(is_loaded(loaded, profile), is, "{profile}");
        }
        assert!(!is_loaded("", "x"));
    }
}
