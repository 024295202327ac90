//! The directory of the subhosts, $SUBHOST.

use crate::base::error::{Doing, Error, Exit, Result, shown};
use std::path::{Path, PathBuf};

fn default_tree() -> PathBuf {
    match crate::kernel::privilege::is_user() {
        true => crate::rootless::default_tree(),
        false => PathBuf::from("/opt/subhost"),
    }
}

/// Returns $SUBHOST as an absolute path without symbolic links: from `-S`, else from the environment, else
/// the default, which is `/opt/subhost` for root.
///
/// # Errors
/// `Usage` if the path is not UTF-8; the working directory is unknown.
pub fn tree(option: Option<&Path>) -> Result<PathBuf> {
    let given = match option {
        Some(dir) => dir.to_owned(),
        None => std::env::var_os("SUBHOST")
            .filter(|v| !v.is_empty())
            .map_or_else(default_tree, PathBuf::from),
    };
    let absolute =
        std::path::absolute(&given).doing(|| format!("tell where {} is", shown(&given)))?;
    // The kernel's mount table shows paths without symbolic links, and we compare with those.
    let real = std::fs::canonicalize(&absolute).unwrap_or(absolute);
    if real.to_str().is_none() {
        return Err(Error::new(
            Exit::Usage,
            format!("the path {} is not UTF-8", shown(&real)),
        )
        .hint("a config could not name it"));
    }
    Ok(real)
}
