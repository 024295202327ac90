//! An overlay over any number of layers, whose paths may hold any characters.

use super::shell::{self, Host, word};
use super::{Access, Kind, Submounts};
use crate::base::envfile::quote;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest options that mount(2) takes, in bytes: a page less the final NUL.
pub const MOUNT_DATA_MAX: usize = 4095;

/// An overlay mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// The layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The upper and the work directory; none for a read-only overlay.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// The mount point.
    pub at: PathBuf,
    /// The first host id that the files show at the mount point, for id 0 on disk; none if ids are not
    /// mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
}

/// The extended attributes in which overlayfs keeps its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Xattrs {
    /// `trusted.overlay.*`, which needs CAP_SYS_ADMIN in the initial user namespace.
    Trusted,
    /// `user.overlay.*`, for a mount in a user namespace (`userxattr`, Linux 5.11).
    User,
}

/// Returns the options of an overlay with an upper. With `index=on` the kernel refuses an upper that another
/// mount uses, in any mount namespace. With `metacopy=off` the content of a layer does not depend on the
/// distribution's default.
pub fn upper_options(index: &str) -> [(&'static str, &str); 2] {
    [("index", index), ("metacopy", "off")]
}

/// The mount option that selects [`Xattrs::User`].
pub const USER_OPTION: &str = "userxattr";

/// Returns the deepest directory that holds both paths.
pub fn common(one: &Path, other: &Path) -> PathBuf {
    let both = one.components().zip(other.components());
    both.take_while(|(one, other)| one == other)
        .map(|(part, _)| part)
        .collect()
}

impl Overlay {
    /// Returns the mount access: an overlay without an upper is read-only.
    pub fn access(&self) -> Access {
        match self.upper {
            Some(_) => Access::ReadWrite,
            None => Access::ReadOnly,
        }
    }

    /// Returns the mount source of an overlay over id-mapped layers, whose ids begin at `base`. It identifies
    /// the layers by a hash, because the kernel does not show the paths of such layers.
    pub fn source(&self, base: u32) -> String {
        let mut hasher = SipHasher24::new_with_keys(0x7375_6268_6f73_7400, 0x6c61_7965_7273_0001);
        let upper = self.upper.iter().flat_map(|(upper, work)| [upper, work]);
        for path in self.lowers.iter().chain(upper) {
            hasher.write(path.as_os_str().as_bytes());
            hasher.write_u8(0);
        }
        format!("subhost:{base}:{:016x}", hasher.finish())
    }

    fn options(&self, index: &str, xattrs: Xattrs, name: &dyn Fn(&Path) -> String) -> String {
        let lowers: Vec<String> = self.lowers.iter().map(|path| name(path)).collect();
        let mut options = format!("lowerdir={}", lowers.join(":"));
        if let Some((upper, work)) = &self.upper {
            options += &format!(",upperdir={},workdir={}", name(upper), name(work));
            for (key, value) in upper_options(index) {
                options += &format!(",{key}={value}");
            }
        }
        if xattrs == Xattrs::User {
            options += &format!(",{USER_OPTION}");
        }
        options
    }

    /// Returns the options as one text; none if a path needs escaping, or the text is too long for mount(2).
    pub fn plain_options(&self, index: &str, xattrs: Xattrs) -> Option<String> {
        let upper = self.upper.iter().flat_map(|(upper, work)| [upper, work]);
        let mut paths = self.lowers.iter().chain(upper);
        let plain = |path: &PathBuf| !path.to_string_lossy().contains(['\\', ':', ',', '"']);
        if !paths.all(plain) {
            return None;
        }
        let data = self.options(index, xattrs, &|path| path.to_string_lossy().into_owned());
        (data.len() <= MOUNT_DATA_MAX).then_some(data)
    }

    /// Returns the options as one text, with the characters escaped that overlayfs treats as special.
    pub fn escaped_options(&self, index: &str, xattrs: Xattrs) -> String {
        self.options(index, xattrs, &escaped)
    }

    fn shell_mapped(&self, base: u32) -> Vec<String> {
        let mut words = vec![
            base.to_string(),
            self.source(base),
            self.lowers.len().to_string(),
        ];
        let lowers = self.lowers.iter().map(|lower| word(lower));
        match &self.upper {
            None => words.extend(["''".to_owned()].into_iter().chain(lowers)),
            Some((upper, work)) => {
                let common = common(upper, work);
                words.push(word(&common));
                words.extend(lowers);
                for path in [upper, work] {
                    words.push(word(path.strip_prefix(&common).unwrap_or(path)));
                }
                words.extend(["index=on", "metacopy=off"].map(str::to_owned));
            }
        }
        shell::mount_mapped(&self.at, base, &format!("overlay {}", words.join(" ")))
    }
}

fn escaped(path: &Path) -> String {
    let text = path.to_string_lossy();
    let escape = |c| matches!(c, '\\' | ':' | ',');
    text.chars()
        .flat_map(|c| escape(c).then_some('\\').into_iter().chain(Some(c)))
        .collect()
}

impl Kind for Overlay {
    fn mount_point(&self) -> Option<&Path> {
        Some(&self.at)
    }

    fn is_root(&self) -> bool {
        true
    }

    fn sources(&self) -> (Vec<&Path>, Submounts) {
        let upper = self.upper.iter().map(|(upper, _)| upper);
        let all = self.lowers.iter().chain(upper);
        (all.map(PathBuf::as_path).collect(), Submounts::Excluded)
    }

    fn shell_up(&self, host: &Host) -> Vec<String> {
        if let Some(base) = self.ids {
            return self.shell_mapped(base);
        }
        let xattrs = match host.in_user_namespace {
            true => Xattrs::User,
            false => Xattrs::Trusted,
        };
        let data = self
            .plain_options("on", xattrs)
            .unwrap_or_else(|| self.escaped_options("on", xattrs));
        let read_only = if self.upper.is_none() { "ro," } else { "" };
        let options = quote(&format!("{read_only}{data}"));
        vec![format!(
            "mount -t overlay -o {options} overlay {}",
            word(&self.at)
        )]
    }

    fn shell_down(&self) -> Vec<String> {
        vec![shell::unmount(&self.at)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(lowers: &[&str], upper: Option<(&str, &str)>) -> Overlay {
        Overlay {
            lowers: lowers.iter().map(PathBuf::from).collect(),
            upper: upper.map(|(upper, work)| (upper.into(), work.into())),
            at: "/at".into(),
            ids: None,
        }
    }

    #[test]
    fn options_are_plain_or_escaped() {
        let plain = overlay(&["/a b", "/c"], Some(("/u", "/w")));
        assert_eq!(
            plain.plain_options("on", Xattrs::Trusted).unwrap(),
            "lowerdir=/a b:/c,upperdir=/u,workdir=/w,index=on,metacopy=off"
        );
        let colon = overlay(&["/a:b"], None);
        assert_eq!(colon.plain_options("on", Xattrs::Trusted), None);
        let long = overlay(&["/long"; 1000], None);
        assert_eq!(long.plain_options("on", Xattrs::Trusted), None);
        assert_eq!(
            overlay(&["/a:b,c\\d"], None).escaped_options("on", Xattrs::Trusted),
            "lowerdir=/a\\:b\\,c\\\\d"
        );
    }
}
