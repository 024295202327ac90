//! Where things are on the host, by constants: state, logs, ranges of ids, named network namespaces.

use std::path::{Path, PathBuf};

/// State of all subhosts, gone at reboot.
pub const RUN: &str = "/run/subhost";
/// Claims of writable layers and images: links named by device and inode, to the name of the subhost.
pub const CLAIMS: &str = "/run/subhost/.in-use";
/// Here if it was we who made [`NETNS`] a mount of its own.
pub const SHARED: &str = "/run/subhost/.netns";
/// The private mount on which a mount namespace is kept, and the file of that namespace.
pub const PINNED: &str = "/run/subhost/.mnt";
/// The kept mount namespace.
pub const PINNED_FILE: &str = "/run/subhost/.mnt/ns";
/// Named network namespaces, by iproute2's convention (`ip-netns(8)`).
pub const NETNS: &str = "/run/netns";
/// The file of the network namespace `name`.
pub fn netns(name: &str) -> PathBuf {
    Path::new(NETNS).join(name)
}

/// Consoles of started subhosts.
pub const LOGS: &str = "/var/log/subhost";
/// What outlives a reboot: ranges of ids.
pub const LASTING: &str = "/var/lib/subhost";
