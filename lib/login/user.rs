//! The users of a subhost, from its /etc/passwd and /etc/group.

use super::own;
use crate::base::error::{Error, Exit, Result, shown};
use crate::kernel::resolve::open_without_magic_links;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::Read;

/// The largest /etc/passwd or /etc/group that is read, in bytes.
const MAX: u64 = 8 << 20;

/// A user, from /etc/passwd of the subhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
    pub shell: String,
}

/// Reads a regular file of the subhost. It does not block on a FIFO.
fn read(path: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(open_without_magic_links(path, flags).ok()?);
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    // At most the size that stat(2) shows. Files of the kernel have size 0, and reading some of them has
    // effects (/proc/kmsg consumes messages of the log).
    file.take(meta.len()).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Parses an id; the whole text must be one: `1x` is not 1 (CVE-2026-30892).
fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

impl User {
    /// Finds a user by `USER[:GROUP]`, each a name or a number.
    ///
    /// # Errors
    /// `Own` if there is no such user or group.
    pub fn find(text: &str) -> Result<Self> {
        let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
        Self::parse(
            text,
            &passwd.unwrap_or_default(),
            &group.unwrap_or_default(),
        )
    }

    /// Finds a user in the texts of both files. A numeric user needs no entry.
    fn parse(text: &str, passwd: &str, group: &str) -> Result<Self> {
        let (name, group_name) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let unknown = |what: &str, name: &str| {
            let what = format!("there is no {what} '{}' inside", shown(name));
            own(Error::new(Exit::Own, what))
        };
        let mut user = find_entry(passwd, name)
            .or_else(|| Self::without_entry(name))
            .ok_or_else(|| unknown("user", name))?;
        if let Some(name) = group_name {
            user.gid = find_group(group, name).ok_or_else(|| unknown("group", name))?;
            user.groups = vec![user.gid];
        } else {
            user.groups = memberships(group, &user.name);
            user.groups.insert(0, user.gid);
        }
        Ok(user)
    }

    /// Makes a user that has no entry: root, or a number.
    fn without_entry(name: &str) -> Option<Self> {
        let uid = match name {
            // Even a tree without /etc/passwd has root.
            "root" => 0,
            other => parse_id(other)?,
        };
        Some(Self {
            name: name.to_owned(),
            uid,
            gid: uid,
            groups: Vec::new(),
            home: if uid == 0 { "/root" } else { "/" }.into(),
            shell: String::new(),
        })
    }
}

/// Finds the entry of a user by name or number.
fn find_entry(passwd: &str, wanted: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let [name, _, uid, gid, _, home, shell] = line.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let uid = parse_id(uid)?;
        if name.is_empty() || (name != wanted && parse_id(wanted) != Some(uid)) {
            return None;
        }
        Some(User {
            name: name.to_owned(),
            uid,
            gid: parse_id(gid)?,
            groups: Vec::new(),
            home: home.to_owned(),
            shell: shell.to_owned(),
        })
    })
}

/// Iterates over name, gid and members of the groups.
fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let [name, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        Some((name, parse_id(gid)?, members))
    })
}

/// Finds the gid of a group by name or number.
fn find_group(group: &str, wanted: &str) -> Option<u32> {
    group_entries(group)
        .find(|(name, ..)| !name.is_empty() && *name == wanted)
        .map(|(_, gid, _)| gid)
        .or_else(|| parse_id(wanted))
}

/// Returns the gids of the groups that list the user as a member, at most 1024.
fn memberships(group: &str, user: &str) -> Vec<u32> {
    group_entries(group)
        .filter(|(.., members)| members.split(',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
        .take(1024)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        broken:x:1x:1::/:/bin/sh\nwww-data:x:33:33:www:/var/www:/usr/sbin/nologin\nshort:x:5\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:\ntty:x:5:www-data,other\nbad:x:1x:www-data\n";

    #[test]
    fn files_of_the_kernel_are_not_read() {
        assert_eq!(read("/proc/self/status").as_deref(), Some(""));
        assert_eq!(read("/proc/self/exe"), None);
        assert_eq!(read("/dev/null"), None);
    }

    #[test]
    fn users_are_found() {
        let user = User::parse("www-data", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (33, 33, vec![33, 5]));
        let user = User::parse("33", PASSWD, GROUP).unwrap();
        assert_eq!((user.name.as_str(), user.uid), ("www-data", 33));
        let user = User::parse("1234:tty", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1234, 5, vec![5]));
        assert_eq!(User::parse("root", "", "").unwrap().home, "/root");
        for bad in [
            "broken",
            "short",
            "nobody",
            "1x",
            "-1",
            "+1",
            "",
            "4294967295",
            "root:nogroup",
        ] {
            assert!(User::parse(bad, PASSWD, GROUP).is_err(), "{bad}");
        }
    }
}
