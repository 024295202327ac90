//! Loop devices, and the files behind them.

use crate::base::error::{Doing, Result, shown};
use loopdev::LoopDevice;
use std::path::{Path, PathBuf};

/// All loop devices with their backing files, as the kernel shows these.
pub fn all_attached() -> Vec<(PathBuf, PathBuf)> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten();
    let mut devices: Vec<(PathBuf, PathBuf)> = entries
        .filter_map(std::result::Result::ok)
        .filter_map(|entry| {
            let device = Path::new("/dev").join(entry.file_name());
            Some((device, behind(&entry.path())?))
        })
        .collect();
    devices.sort();
    devices
}

/// Detaches a loop device; one that is in use detaches itself later.
///
/// # Errors
/// It cannot be opened or has no file.
pub fn detach(device: &Path) -> Result<()> {
    LoopDevice::open(device)
        .and_then(|opened| opened.detach())
        .doing(|| format!("detach {}", shown(device)))
}

/// The file behind a loop device `/dev/loopN`, as the device shows it; none if it has none.
pub fn backing_file(device: &Path) -> Option<PathBuf> {
    behind(&Path::new("/sys/block").join(device.file_name()?))
}

fn behind(block: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut text = std::fs::read(block.join("loop/backing_file")).ok()?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(text)))
}
