//! An overlay: layers of any number and name.

use super::Kind;
use super::shell::{self, Host, word};
use crate::base::envfile::quote;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What mount(2) takes: a page less its final NUL.
pub const MOUNT_DATA_MAX: usize = 4095;

/// An overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Writable layer and work directory; none: the overlay is read-only.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// Where it is mounted.
    pub at: PathBuf,
    /// First of the host's ids that its files have there, from 0 on; none: their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
}

/// `index=on`: the kernel itself then refuses an upper that another mount uses, in whatever mount
/// namespace. `metacopy=off`: what a layer holds does not depend on the distribution's default.
pub fn with_upper(index: &str) -> [(&'static str, &str); 2] {
    [("index", index), ("metacopy", "off")]
}

/// What overlayfs is told to keep its notes where a user may write them. Linux 5.11.
pub const USER_OPTION: &str = "userxattr";

/// The directory that both lie in.
pub fn common(one: &Path, other: &Path) -> PathBuf {
    let both = one.components().zip(other.components());
    both.take_while(|(one, other)| one == other)
        .map(|(part, _)| part)
        .collect()
}

impl Overlay {
    /// What an overlay over mapped layers, with the ids from `base` on, has as its source: the kernel does not
    /// tell their paths.
    pub fn source(&self, base: u32) -> String {
        let mut hasher = SipHasher24::new_with_keys(0x7375_6268_6f73_7400, 0x6c61_7965_7273_0001);
        let upper = self.upper.iter().flat_map(|(upper, work)| [upper, work]);
        for path in self.lowers.iter().chain(upper) {
            hasher.write(path.as_os_str().as_bytes());
            hasher.write_u8(0);
        }
        format!("subhost:{base}:{:016x}", hasher.finish())
    }

    fn options(&self, index: &str, is_user: bool, name: &dyn Fn(&Path) -> String) -> String {
        let lowers: Vec<String> = self.lowers.iter().map(|path| name(path)).collect();
        let mut options = format!("lowerdir={}", lowers.join(":"));
        if let Some((upper, work)) = &self.upper {
            options += &format!(",upperdir={},workdir={}", name(upper), name(work));
            for (key, value) in with_upper(index) {
                options += &format!(",{key}={value}");
            }
        }
        if is_user {
            options += &format!(",{USER_OPTION}");
        }
        options
    }

    /// The options as one text, if no path in them needs escaping and it is short enough for mount(2).
    /// `is_user`: in a user namespace.
    pub fn plain_options(&self, index: &str, is_user: bool) -> Option<String> {
        let upper = self.upper.iter().flat_map(|(upper, work)| [upper, work]);
        let mut paths = self.lowers.iter().chain(upper);
        let plain = |path: &PathBuf| !path.to_string_lossy().contains(['\\', ':', ',', '"']);
        if !paths.all(plain) {
            return None;
        }
        let data = self.options(index, is_user, &|path| path.to_string_lossy().into_owned());
        (data.len() <= MOUNT_DATA_MAX).then_some(data)
    }

    /// The options as one text with what overlayfs needs escaped.
    pub fn escaped_options(&self, index: &str, is_user: bool) -> String {
        self.options(index, is_user, &escaped)
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
        shell::mapped(&self.at, base, &format!("overlay {}", words.join(" ")))
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

    fn sources(&self) -> (Vec<&Path>, bool) {
        let upper = self.upper.iter().map(|(upper, _)| upper);
        let all = self.lowers.iter().chain(upper);
        (all.map(PathBuf::as_path).collect(), false)
    }

    fn shell_up(&self, host: &Host) -> Vec<String> {
        if let Some(base) = self.ids {
            return self.shell_mapped(base);
        }
        let is_user = host.in_user_namespace;
        let data = self
            .plain_options("on", is_user)
            .unwrap_or_else(|| self.escaped_options("on", is_user));
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
            plain.plain_options("on", false).unwrap(),
            "lowerdir=/a b:/c,upperdir=/u,workdir=/w,index=on,metacopy=off"
        );
        assert_eq!(overlay(&["/a:b"], None).plain_options("on", false), None);
        assert_eq!(
            overlay(&["/long"; 1000], None).plain_options("on", false),
            None
        );
        assert_eq!(
            overlay(&["/a:b,c\\d"], None).escaped_options("on", false),
            "lowerdir=/a\\:b\\,c\\\\d"
        );
    }
}
