//! The ids that a user may give to what runs in his world: his own as root, and a range of
//! /etc/subuid and /etc/subgid (`subuid(5)`) given by newuidmap and newgidmap, which alone may do so.

use crate::base::error::{Doing, Error, Exit, Result, shown};
use nix::unistd::{getgid, getuid};
use std::process::{Command, Stdio};

/// How many ids a system tree needs: up to nobody, 65534.
const COUNT: u32 = 65_536;

/// The tools that give ids, with the files that say who may have which.
const GIVEN_BY: [(&str, &str); 2] = [
    ("/usr/bin/newuidmap", "/etc/subuid"),
    ("/usr/bin/newgidmap", "/etc/subgid"),
];

/// The first ids of the ranges for users and for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids([u32; 2]);

impl Ids {
    /// Those of the user who we are.
    ///
    /// # Errors
    /// A tool or a range is missing: which package, which line.
    pub(super) fn of_user() -> Result<Self> {
        let uid = getuid().as_raw();
        let name = name();
        let mut first = [0; 2];
        for (first, (tool, file)) in first.iter_mut().zip(GIVEN_BY) {
            if !std::path::Path::new(tool).exists() {
                let what = format!("an ordinary user needs {tool}, and it is not there");
                return Err(Error::new(Exit::Failed, what)
                    .hint("Debian and Ubuntu: apt install uidmap; others: shadow, shadow-utils"));
            }
            let text = std::fs::read_to_string(file).unwrap_or_default();
            *first = range(&text, name.as_deref(), uid).ok_or_else(|| {
                let user = name.clone().unwrap_or_else(|| uid.to_string());
                let what = format!("{file} gives the user {} no {COUNT} ids", shown(&user));
                let start = 100_000 + u64::from(uid.saturating_sub(1000)) * u64::from(COUNT);
                Error::new(Exit::Failed, what).hint(format!(
                    "root adds a line such as {}:{start}:{COUNT}, of ids that no other line has",
                    shown(&user)
                ))
            })?;
        }
        Ok(Self(first))
    }

    /// Gives them to the user namespace of the process `pid`.
    ///
    /// # Errors
    /// What the tools said.
    pub(super) fn give(self, pid: u32) -> Result<()> {
        let own = [getuid().as_raw(), getgid().as_raw()];
        for (index, (tool, file)) in GIVEN_BY.into_iter().enumerate() {
            let numbers = [pid, 0, own[index], 1, 1, self.0[index], COUNT];
            let output = Command::new(tool)
                .args(numbers.map(|number| number.to_string()))
                .env_clear()
                .stdin(Stdio::null())
                .output()
                .doing(|| format!("run {tool}"))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let what = format!(
                    "cannot give the user's world its ids: {}",
                    shown(said.trim())
                );
                return Err(Error::new(Exit::Failed, what).hint(format!(
                    "by {file}; is {tool} setuid root or has it its capability?"
                )));
            }
        }
        Ok(())
    }
}

/// The first id of a range of `COUNT` or more, of a line for the user by name or number.
fn range(text: &str, name: Option<&str>, uid: u32) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut words = line.split(':');
        let user = words.next()?;
        if Some(user) != name && user.parse() != Ok(uid) {
            return None;
        }
        let first: u32 = words.next()?.parse().ok()?;
        let count: u32 = words.next()?.trim().parse().ok()?;
        (count >= COUNT).then_some(first)
    })
}

/// Our line in /etc/passwd, its field `index`. Not by libc: a static one has no other sources either.
fn field(index: usize) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let uid = getuid().to_string();
    let of_us = |line: &&str| line.split(':').nth(2) == Some(uid.as_str());
    let line = text.lines().find(of_us)?;
    line.split(':').nth(index).map(str::to_owned)
}

fn name() -> Option<String> {
    field(0).or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty()))
}

/// The user's home as /etc/passwd has it.
pub(super) fn home() -> Option<String> {
    field(5).filter(|home| home.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let text = "bob:1:2\nann:100000:1000\nann:200000:65536\n1500:300000:70000\nx\n:::\n";
        assert_eq!(range(text, Some("ann"), 7), Some(200_000));
        assert_eq!(range(text, None, 1500), Some(300_000));
        assert_eq!(range(text, Some("bob"), 7), None);
        assert_eq!(range("", Some("ann"), 7), None);
    }
}
