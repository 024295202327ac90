//! Where subhosts are: $SUBHOST as an absolute path.

use crate::base::error::{Doing, Error, Exit, Result, shown};
use std::path::{Path, PathBuf};

fn default_tree() -> PathBuf {
    match crate::kernel::privilege::is_user() {
        true => crate::rootless::default_tree(),
        false => PathBuf::from("/opt/subhost"),
    }
}

/// $SUBHOST as an absolute path: `-S`, else the environment's SUBHOST, else `/opt/subhost`, or a
/// user's own.
///
/// # Errors
/// `Usage` if it is not absolute after all or not UTF-8.
pub fn tree(option: Option<&Path>) -> Result<PathBuf> {
    let given = match option {
        Some(dir) => dir.to_owned(),
        None => std::env::var_os("SUBHOST")
            .filter(|v| !v.is_empty())
            .map_or_else(default_tree, PathBuf::from),
    };
    let absolute =
        std::path::absolute(&given).doing(|| format!("tell where {} is", shown(&given)))?;
    // Only a path without symlinks can be compared with what the kernel says of mounts.
    let real = std::fs::canonicalize(&absolute).unwrap_or(absolute);
    if real.to_str().is_none() {
        return Err(Error::new(
            Exit::Usage,
            format!("the path {} is not UTF-8", shown(&real)),
        )
        .hint("configs are text and could not name it"));
    }
    Ok(real)
}
