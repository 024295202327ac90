//! The file `assigned` beside a config: what a subhost was assigned and keeps.

use crate::base::error::{Doing, Result, shown};
use crate::config::{Config, Net};
use crate::plan::Part;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// Writes the MAC addresses of the cables and the range of ids to `assigned`, so that they stay the same on another host.
pub(super) fn keep(config: &Config, part: Part, ids: Option<u32>) -> Result<()> {
    let file = Config::assigned_file(&config.dir);
    let mut text = std::fs::read_to_string(&file).unwrap_or_default();
    let before = text.clone();
    let cables = match &config.net {
        Net::Private(private) if part == Part::Net => &private.cables[..],
        _ => &[],
    };
    for cable in cables {
        let key = format!("MAC{}=", cable.index);
        if !text.lines().any(|line| line.starts_with(&key)) {
            text += &format!("{key}{}\n", cable.mac);
        }
    }
    if let Some(base) = ids.filter(|base| config.ids != Some(*base)) {
        // On this host its former range belongs to another subhost.
        let others = text.lines().filter(|line| !line.starts_with("IDS="));
        text = others.map(|line| format!("{line}\n")).collect();
        text += &format!("IDS={base}\n");
    }
    if text == before {
        return Ok(());
    }
    let new = config.dir.join("assigned.new");
    std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&new, &file))
        .doing(|| format!("write {}", shown(&file)))
}
