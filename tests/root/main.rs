//! Root file systems: rbind, overlay, image; each writable, read-only and volatile.

#[path = "../common/mod.rs"]
mod common;
mod image;
mod layer_file;
mod mount;
mod overlay;
mod rbind;
mod read_only;
mod volatile;

use crate::common::*;
use std::path::Path;

/// Mounts `w`, calls `check`, unmounts `w`, and asserts that the host is as before.
#[track_caller]
fn mounted(s: &Sandbox, w: &Subhost, check: impl FnOnce()) {
    let before = s.snapshot();
    let name = w.dir.file_name().unwrap().to_str().unwrap();
    s.tool(&format!("subhost-mount {name}")).silent();
    check();
    s.tool(&format!("subhost-mount -u {name}")).silent();
    s.assert_same_but_state(&before);
    s.stop(name, &before);
}

fn findmnt(s: &Sandbox, column: &str, path: &Path) -> String {
    let path = quote(path.to_str().unwrap());
    s.host(&format!("findmnt -no {column} {path} | tail -n 1"))
}

fn loop_devices(s: &Sandbox) -> usize {
    s.snapshot().loops().len()
}
