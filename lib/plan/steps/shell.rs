//! Shell commands that the scripts of several kinds of steps share.

use super::helper::Carrier;
use crate::base::envfile::quote;
use crate::kernel::userns::COUNT;
use std::path::Path;

/// Properties of the host that the shell commands of a step depend on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// The script runs in a user namespace, where overlayfs needs `userxattr`.
    pub in_user_namespace: bool,
    /// The program that carries the traffic of NET=user; none if the host has none.
    pub carrier: Option<&'static Carrier>,
}

/// Quotes a path as one shell word.
pub(super) fn word(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// Returns the commands that start a process in new namespaces and set `$p` to its pid. `options` are those
/// of unshare(1), `kind` is one of the new namespaces, and `base` is the first host id of its user namespace.
pub(super) fn start_in_namespaces(base: u32, kind: &str, options: &str) -> Vec<String> {
    let link = |pid: &str| format!("\"$(readlink /proc/{pid}/ns/{kind})\"");
    vec![
        format!("unshare {options} sleep 60 & p=$!"),
        format!(
            "until [ {} != {} ]; do kill -0 $p; done",
            link("$p"),
            link("$$")
        ),
        format!("for m in uid_map gid_map; do echo 0 {base} {COUNT} > /proc/$p/$m; done"),
    ]
}

/// The command that ends the process of [`start_in_namespaces`].
pub(super) const END: &str = "kill $p; wait $p || :";

/// Returns the commands that mount `what` on `at` with mapped ids. They use Perl: mount(8) can map a bind
/// only from util-linux 2.39 on (X-mount.idmap), and the layers of an overlay not at all.
pub(super) fn mount_mapped(at: &Path, base: u32, what: &str) -> Vec<String> {
    let mut lines = start_in_namespaces(base, "user", "--user");
    lines.push(format!("perl - $p {} {what} <<'END'", word(at)));
    lines.extend(include_str!("map.pl").lines().map(str::to_owned));
    lines.push("END".to_owned());
    lines.push(END.to_owned());
    lines
}

/// Returns the command that unmounts `at` and all mounts below it.
pub(super) fn unmount(at: &Path) -> String {
    format!("umount -R {}", word(at))
}
