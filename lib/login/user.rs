//! Users of a subhost, by its own /etc/passwd and /etc/group.

use super::{open_inside, own};
use crate::base::error::{Error, Exit, Result, shown};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::Read;

/// /etc/passwd and /etc/group larger than this are not read.
const MAX: u64 = 8 << 20;

/// A user as the subhost's /etc/passwd has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
    pub shell: String,
}

/// A file of the subhost: regular, of a sane size, opened without waiting for a FIFO's other end.
fn file(path: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(open_inside(path, flags).ok()?);
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    // No more than its size: the kernel's own files have none, and to read some of them has effects
    // (/proc/kmsg takes messages out of the host's log).
    file.take(meta.len()).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// An id in full or not at all: `1x` must not become 1 (CVE-2026-30892).
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

impl User {
    pub fn find(text: &str) -> Result<Self> {
        let (passwd, group) = (file("/etc/passwd"), file("/etc/group"));
        Self::parse(
            text,
            &passwd.unwrap_or_default(),
            &group.unwrap_or_default(),
        )
    }

    /// `USER[:GROUP]`, each a name or a number. A number needs no entry in passwd.
    fn parse(text: &str, passwd: &str, group: &str) -> Result<Self> {
        let (name, group_name) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let unknown = |what: &str, name: &str| {
            let what = format!("there is no {what} '{}' inside", shown(name));
            own(Error::new(Exit::Own, what))
        };
        let mut user = entry(passwd, name)
            .or_else(|| Self::bare(name))
            .ok_or_else(|| unknown("user", name))?;
        if let Some(name) = group_name {
            user.gid = group_id(group, name).ok_or_else(|| unknown("group", name))?;
            user.groups = vec![user.gid];
        } else {
            user.groups = memberships(group, &user.name);
            user.groups.insert(0, user.gid);
        }
        Ok(user)
    }

    fn bare(name: &str) -> Option<Self> {
        let uid = match name {
            // Even a tree without /etc/passwd has its root.
            "root" => 0,
            other => id(other)?,
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

fn entry(passwd: &str, wanted: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let [name, _, uid, gid, _, home, shell] = line.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let uid = id(uid)?;
        if name.is_empty() || (name != wanted && id(wanted) != Some(uid)) {
            return None;
        }
        Some(User {
            name: name.to_owned(),
            uid,
            gid: id(gid)?,
            groups: Vec::new(),
            home: home.to_owned(),
            shell: shell.to_owned(),
        })
    })
}

fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let [name, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        Some((name, id(gid)?, members))
    })
}

fn group_id(group: &str, wanted: &str) -> Option<u32> {
    group_entries(group)
        .find(|(name, ..)| !name.is_empty() && *name == wanted)
        .map(|(_, gid, _)| gid)
        .or_else(|| id(wanted))
}

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
    fn the_kernels_own_files_are_not_read() {
        assert_eq!(file("/proc/self/status").as_deref(), Some(""));
        assert_eq!(file("/proc/self/exe"), None);
        assert_eq!(file("/dev/null"), None);
    }

    #[test]
    fn users() {
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
