//! What the shell forms of steps have in common.

use super::helper::Carrier;
use crate::base::envfile::quote;
use crate::kernel::userns::COUNT;
use std::path::Path;

/// What of the host a shell form depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// We are in a user namespace: there overlayfs keeps its notes in attributes that a user may write.
    pub in_user_namespace: bool,
    /// What carries a user's network; none if the host has nothing for that.
    pub carrier: Option<&'static Carrier>,
}

/// A path as a word.
pub(super) fn word(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// The commands that make `$p` a process with new namespaces, `options` of unshare(1), of which `kind` is
/// one, that has the ids from `base` on as its own.
pub(super) fn with_namespaces(base: u32, kind: &str, options: &str) -> Vec<String> {
    let of = |pid: &str| format!("\"$(readlink /proc/{pid}/ns/{kind})\"");
    vec![
        format!("unshare {options} sleep 60 & p=$!"),
        format!(
            "until [ {} != {} ]; do kill -0 $p; done",
            of("$p"),
            of("$$")
        ),
        format!("for m in uid_map gid_map; do echo 0 {base} {COUNT} > /proc/$p/$m; done"),
    ]
}

/// The command that ends it.
pub(super) const END: &str = "kill $p; wait $p || :";

/// Mounts with mapped ids. For a bind util-linux has that from 2.39 on (X-mount.idmap), for layers
/// nobody.
pub(super) fn mapped(at: &Path, base: u32, what: &str) -> Vec<String> {
    let mut lines = with_namespaces(base, "user", "--user");
    lines.push(format!("perl - $p {} {what} <<'END'", word(at)));
    lines.extend(include_str!("map.pl").lines().map(str::to_owned));
    lines.push("END".to_owned());
    lines.push(END.to_owned());
    lines
}

/// The command that unmounts `at` with all below it.
pub(super) fn unmount(at: &Path) -> String {
    format!("umount -R {}", word(at))
}
