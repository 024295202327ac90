//! The block devices that IO bounds. Nothing here sets a bound.

use super::Rates;
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::config::Io;
use nix::libc::{major, minor};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Returns the rates of IO with the numbers of their devices. `root` is the writable layer of the root, or
/// its image.
pub(super) fn rates(all: &[Io], root: &Path) -> Result<Vec<Rates>> {
    let to_rates = |io: &Io| {
        Ok(Rates {
            device: device(io.device.as_deref().unwrap_or(root))?,
            bounds: [io.read_bytes, io.write_bytes, io.read_ops, io.write_ops],
        })
    };
    all.iter().map(to_rates).collect()
}

/// Returns `major:minor` of a block device, or of that of a directory or file. A partition gives its whole
/// disk, which is what the kernel counts.
fn device(path: &Path) -> Result<String> {
    let meta =
        std::fs::metadata(path).doing(|| format!("find the device of IO {}", shown(path)))?;
    let number = match meta.file_type().is_block_device() {
        true => meta.rdev(),
        false => meta.dev(),
    };
    let (major, minor) = (major(number), minor(number));
    // Major 0: a file system on no device, or on several (unnamed_dev of fs/super.c).
    if major == 0 {
        let what = format!("IO: {} lies on no block device", shown(path));
        return Err(Error::new(Exit::Failed, what)
            .hint("a tmpfs has none; for btrfs name the device itself"));
    }
    let number = format!("{major}:{minor}");
    let known = Path::new("/sys/dev/block").join(&number);
    if !known.join("partition").exists() {
        return Ok(number);
    }
    let disk = std::fs::read_to_string(known.join("../dev"));
    let disk = disk.doing(|| format!("find the disk of {}", shown(path)))?;
    Ok(disk.trim().to_owned())
}
