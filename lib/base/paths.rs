//! Fixed paths on the host: state, logs, ranges of ids, named network namespaces. Nothing here opens them.

use std::path::{Path, PathBuf};

/// The state of all subhosts; it is gone after a reboot.
pub const RUN: &str = "/run/subhost";
/// The claims of writable layers and images: symbolic links, named by device and inode, whose target is the
/// name of the subhost.
pub const CLAIMS: &str = "/run/subhost/.in-use";
/// A marker: the tools made [`NETNS`] a mount of its own.
pub const SHARED: &str = "/run/subhost/.netns";
/// The private mount that holds the file of the pinned mount namespace.
pub const PINNED: &str = "/run/subhost/.mnt";
/// The file of the pinned mount namespace.
pub const PINNED_FILE: &str = "/run/subhost/.mnt/ns";
/// The named network namespaces, by the convention of iproute2 (`ip-netns(8)`).
pub const NETNS: &str = "/run/netns";
/// Returns the file of the network namespace `name`.
pub fn netns(name: &str) -> PathBuf {
    Path::new(NETNS).join(name)
}

/// The console logs of started subhosts.
pub const LOGS: &str = "/var/log/subhost";
/// The state that survives a reboot: ranges of ids.
pub const LASTING: &str = "/var/lib/subhost";
