//! The mount table as the kernel tells it, with whatever names a hostile tree brings: every line
//! is read or passed over, and every question has an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use subhost::kernel::mountinfo::{Table, unescape};

fuzz_target!(|text: &[u8]| {
    assert!(unescape(text).len() <= text.len());
    let table = Table::parse(text);
    assert!(table.all().len() <= text.split(|b| *b == b'\n').count());
    for mount in table.all().iter().take(64) {
        mount.describe();
        mount.overlay_layers();
        mount.is_read_only();
        assert!(table.below(mount.id).len() <= table.all().len());
        if let Some(found) = table.at(&mount.at) {
            assert_eq!(found.at, mount.at);
        }
    }
    table.find_containing(Path::new("/a/b/../c"));
});
