//! The keys of the root file system: layers, images, mount points.

use super::checker::Checker;
use super::keys::Raw;
use super::limits::LEAST_MEMORY;
use super::values::{size, words, yes_no};
use crate::base::error::Result;
use std::path::PathBuf;

/// The root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The mount point.
    pub live: PathBuf,
    /// The file tree, or the upper of the overlay.
    pub upper: PathBuf,
    /// The work directory of the overlay, or the mount point of the tmpfs of a volatile root.
    pub work: PathBuf,
    /// The layers, topmost first; if there are none, the root is a recursive bind mount of `upper`.
    pub lowers: Vec<Layer>,
    /// The image that contains `upper` and `work`.
    pub image: Option<Image>,
    /// Whether the root is read-only.
    pub read_only: bool,
    /// Whether changes are lost at stop.
    pub volatile: bool,
    /// The size of the tmpfs of a volatile root, in bytes.
    pub disk: Option<u64>,
}

/// A read-only layer of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// A directory.
    Directory(PathBuf),
    /// A file that contains a file system (squashfs, erofs, ext4, ...), mounted read-only.
    Image(PathBuf),
}

/// A file that contains a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The path of the file.
    pub file: PathBuf,
    /// The mount point.
    pub at: PathBuf,
    /// The number of the partition, from 1; none means the whole file.
    pub partition: Option<u32>,
    /// The type of the file system; none means that it is detected by its superblock.
    pub fstype: Option<String>,
    /// The mount options of the file system.
    pub options: Option<String>,
}

impl Root {
    /// Returns `image`, `overlay` or `rbind`.
    pub fn kind(&self) -> &'static str {
        match (&self.image, self.lowers.is_empty()) {
            (Some(_), _) => "image",
            (None, false) => "overlay",
            (None, true) => "rbind",
        }
    }
}

impl Checker<'_> {
    /// Checks the keys of an image; none if there is no image.
    pub(super) fn image(&self, raw: &Raw) -> Result<Option<Image>> {
        let file = if raw.image.is_empty() {
            let file = self.dir.join(format!("{}.img", self.name));
            if !file.exists() {
                for key in ["IMAGE_PARTITION", "IMAGE_FSTYPE", "IMAGE_OPTIONS"] {
                    if self.settings.get(key).is_some_and(|s| !s.value.is_empty()) {
                        return Err(self.bad(
                            key,
                            format!("there is no image: neither IMAGE nor {}.img", self.name),
                        ));
                    }
                }
                return Ok(None);
            }
            file
        } else {
            self.path("IMAGE", &raw.image)?
        };
        let partition = match raw.image_partition.as_str() {
            "" => None,
            text => match text.parse() {
                Ok(number @ 1..=128) => Some(number),
                _ => {
                    return Err(self.bad(
                        "IMAGE_PARTITION",
                        format!("'{text}' is not a number from 1 to 128"),
                    ));
                }
            },
        };
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Some(Image {
            // The kernel shows the path without symbolic links.
            file: std::fs::canonicalize(&file).unwrap_or(file),
            at: self.dir.join("mnt"),
            partition,
            fstype: optional(&raw.image_fstype),
            options: optional(&raw.image_options),
        }))
    }

    /// Checks the keys of the root.
    pub(super) fn root(&self, raw: &Raw, image: Option<Image>) -> Result<Root> {
        let read_only = self.value("READ_ONLY", yes_no(&raw.read_only))?;
        let volatile = self.value("VOLATILE", yes_no(&raw.volatile))?;
        if read_only && volatile {
            return Err(self.bad(
                "VOLATILE",
                "READ_ONLY=yes leaves nothing to be written and forgotten: choose one",
            ));
        }
        let mut lowers = Vec::new();
        for word in self.value("LOWER", words(&raw.lower))? {
            let path = self.path("LOWER", &word)?;
            lowers.push(if path.is_file() {
                Layer::Image(std::fs::canonicalize(&path).unwrap_or(path))
            } else {
                Layer::Directory(path)
            });
        }
        let live = self.path("LIVE", &raw.live)?;
        let upper = self.path("UPPER", &raw.upper)?;
        // The tmpfs is mounted outside of the image, which a volatile root mounts read-only.
        let work = if volatile {
            self.dir.join("work")
        } else {
            self.path("WORK", &raw.work)?
        };
        for (key, path) in [("UPPER", &upper), ("WORK", &work)] {
            if path.starts_with(&live) || live.starts_with(path) {
                return Err(self.bad(
                    key,
                    format!("{} and LIVE contain each other", path.display()),
                ));
            }
        }
        for layer in &lowers {
            if let Layer::Directory(path) = layer
                && let Some((key, other)) = [("UPPER", &upper), ("LIVE", &live)]
                    .into_iter()
                    .find(|(_, other)| path.starts_with(other))
            {
                let (path, other) = (path.display(), other.display());
                return Err(self.bad("LOWER", format!("{path} lies in {key}, {other}")));
            }
        }
        if !lowers.is_empty() && (work.starts_with(&upper) || upper.starts_with(&work)) {
            return Err(self.bad("WORK", "WORK and UPPER lie in each other; give each a directory of its own on one file system"));
        }
        let storage = match (volatile, &image) {
            (true, _) => Storage::Memory,
            (false, Some(_)) => Storage::Image,
            (false, None) => Storage::Directory,
        };
        let disk = self.disk(&raw.disk, storage)?;
        Ok(Root {
            live,
            upper,
            work,
            lowers,
            image,
            read_only,
            volatile,
            disk,
        })
    }

    /// Checks the bound on what may be written to the root.
    fn disk(&self, text: &str, storage: Storage) -> Result<Option<u64>> {
        let Some(size) = self.optional("DISK", text, size)? else {
            return Ok(None);
        };
        if size < LEAST_MEMORY {
            return Err(self.bad("DISK", format!("'{text}' is less than 1M")));
        }
        match storage {
            Storage::Memory => Ok(Some(size)),
            Storage::Image => Err(self
                .bad("DISK", "an image is bounded by its own size")
                .hint("truncate and resize2fs or the like make it larger or smaller")),
            Storage::Directory => Err(self
                .bad(
                    "DISK",
                    "bounds what VOLATILE=yes holds in memory; a directory has no bound",
                )
                .hint("an IMAGE is as large as its file")),
        }
    }
}

/// Where the root keeps what is written.
#[derive(Clone, Copy)]
enum Storage {
    Memory,
    Image,
    Directory,
}
