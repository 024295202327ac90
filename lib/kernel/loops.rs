//! Loop devices and their backing files, as /sys shows them.

use crate::base::error::{Doing, Result, shown};
use loopdev::LoopDevice;
use std::path::{Path, PathBuf};

/// Returns all loop devices that have a backing file, with the path that /sys shows.
pub fn all_attached() -> Vec<(PathBuf, PathBuf)> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten();
    let mut devices: Vec<(PathBuf, PathBuf)> = entries
        .filter_map(std::result::Result::ok)
        .filter_map(|entry| {
            let device = Path::new("/dev").join(entry.file_name());
            Some((device, read_backing_file(&entry.path())?))
        })
        .collect();
    devices.sort();
    devices
}

/// Detaches a loop device. The kernel detaches a device that is in use when it is closed.
///
/// # Errors
/// The device cannot be opened or has no file.
pub fn detach(device: &Path) -> Result<()> {
    LoopDevice::open(device)
        .and_then(|opened| opened.detach())
        .doing(|| format!("detach {}", shown(device)))
}

/// Returns the path of the file behind `/dev/loopN`, as /sys shows it; none if there is no file.
pub fn backing_file(device: &Path) -> Option<PathBuf> {
    read_backing_file(&Path::new("/sys/block").join(device.file_name()?))
}

fn read_backing_file(block: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut text = std::fs::read(block.join("loop/backing_file")).ok()?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(text)))
}
