//! The ids of a user's namespace: the user's own id is 0, and a range of /etc/subuid and /etc/subgid
//! (`subuid(5)`) follows. newuidmap(1) and newgidmap(1) map them, since an ordinary user may not.

use crate::base::error::{Doing, Error, Exit, Result, shown};
use nix::unistd::{getgid, getuid};
use std::process::{Command, Stdio};

/// The number of ids that a system tree needs: its highest id is usually 65534, nobody.
const COUNT: u32 = 65_536;

/// The programs that map ids, with the files that list the ranges of each user.
const MAPPERS: [(&str, &str); 2] = [
    ("/usr/bin/newuidmap", "/etc/subuid"),
    ("/usr/bin/newgidmap", "/etc/subgid"),
];

/// The first uid and the first gid of a user's ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids([u32; 2]);

impl Ids {
    /// Finds the ranges of the calling user.
    ///
    /// # Errors
    /// A program or a range is missing. The hint names the package or the line to add.
    pub(super) fn find() -> Result<Self> {
        let uid = getuid().as_raw();
        let name = user_name();
        let mut first = [0; 2];
        for (first, (tool, file)) in first.iter_mut().zip(MAPPERS) {
            if !std::path::Path::new(tool).exists() {
                let what = format!("{tool} is missing, which is needed without root");
                return Err(Error::new(Exit::Failed, what)
                    .hint("Debian and Ubuntu: apt install uidmap; others: shadow, shadow-utils"));
            }
            let text = std::fs::read_to_string(file).unwrap_or_default();
            *first = find_range(&text, name.as_deref(), uid).ok_or_else(|| {
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

    /// Maps the ids in the user namespace of the process `pid`.
    ///
    /// # Errors
    /// The message of the program that failed.
    pub(super) fn map(self, pid: u32) -> Result<()> {
        let own = [getuid().as_raw(), getgid().as_raw()];
        for (index, (tool, file)) in MAPPERS.into_iter().enumerate() {
            let numbers = [pid, 0, own[index], 1, 1, self.0[index], COUNT];
            let output = Command::new(tool)
                .args(numbers.map(|number| number.to_string()))
                .env_clear()
                .stdin(Stdio::null())
                .output()
                .doing(|| format!("run {tool}"))?;
            if !output.status.success() {
                let message = String::from_utf8_lossy(&output.stderr);
                let what = format!(
                    "cannot map the ids of the user's namespace: {}",
                    shown(message.trim())
                );
                return Err(Error::new(Exit::Failed, what).hint(format!(
                    "by {file}; is {tool} setuid root or has it its capability?"
                )));
            }
        }
        Ok(())
    }
}

/// Finds the first line of the user, by name or number, with [`COUNT`] ids or more; returns its first id.
fn find_range(text: &str, name: Option<&str>, uid: u32) -> Option<u32> {
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

/// Returns a field of the user's line in /etc/passwd, from 0 on. getpwuid(3) of a static libc reads no other
/// source either.
fn passwd_field(index: usize) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let uid = getuid().to_string();
    let has_uid = |line: &&str| line.split(':').nth(2) == Some(uid.as_str());
    let line = text.lines().find(has_uid)?;
    line.split(':').nth(index).map(str::to_owned)
}

fn user_name() -> Option<String> {
    passwd_field(0).or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty()))
}

/// Returns the user's home directory in /etc/passwd.
pub(super) fn home() -> Option<String> {
    passwd_field(5).filter(|home| home.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_or_number() {
        let text = "bob:1:2\nann:100000:1000\nann:200000:65536\n1500:300000:70000\nx\n:::\n";
        assert_eq!(find_range(text, Some("ann"), 7), Some(200_000));
        assert_eq!(find_range(text, None, 1500), Some(300_000));
        assert_eq!(find_range(text, Some("bob"), 7), None);
        assert_eq!(find_range("", Some("ann"), 7), None);
    }
}
