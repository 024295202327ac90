//! The root file system: layers, images, and where it is mounted.

use super::checker::Checker;
use super::keys::Raw;
use super::limits::LEAST_MEMORY;
use super::values::{size, words, yes_no};
use crate::base::error::Result;
use std::path::PathBuf;

/// How the root file system is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it is mounted.
    pub live: PathBuf,
    /// The file tree, or the overlay's writable layer.
    pub upper: PathBuf,
    /// The overlay's work directory, or where the tmpfs of a volatile root is mounted.
    pub work: PathBuf,
    /// Read-only layers, topmost first; empty: the root is a recursive bind of `upper`.
    pub lowers: Vec<Layer>,
    /// The image that holds `upper` and `work`.
    pub image: Option<Image>,
    /// Nothing can be written.
    pub read_only: bool,
    /// What is written is gone at stop.
    pub volatile: bool,
    /// Bytes that may be written, where that is a bound of the root's own to keep.
    pub disk: Option<u64>,
}

/// One read-only layer of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// A directory.
    Directory(PathBuf),
    /// A file with a file system in it (squashfs, erofs, ext4 ...), mounted read-only.
    Image(PathBuf),
}

/// A file with a file system in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub file: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// Number of the partition, from 1; none: the whole file.
    pub partition: Option<u32>,
    /// File system type; none: recognised by its superblock.
    pub fstype: Option<String>,
    /// Mount options of the file system.
    pub options: Option<String>,
}

impl Root {
    /// `image`, `overlay` or `rbind`.
    pub fn kind(&self) -> &'static str {
        match (&self.image, self.lowers.is_empty()) {
            (Some(_), _) => "image",
            (None, false) => "overlay",
            (None, true) => "rbind",
        }
    }
}

impl Checker<'_> {
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
                        format!("'{text}' is no number from 1 to 128"),
                    ));
                }
            },
        };
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Some(Image {
            // As the kernel will call it.
            file: std::fs::canonicalize(&file).unwrap_or(file),
            at: self.dir.join("mnt"),
            partition,
            fstype: optional(&raw.image_fstype),
            options: optional(&raw.image_options),
        }))
    }

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
        // The volatile tmpfs is mounted outside the image, which is then mounted read-only.
        let work = if volatile {
            self.dir.join("work")
        } else {
            self.path("WORK", &raw.work)?
        };
        for (key, path) in [("UPPER", &upper), ("WORK", &work)] {
            if path.starts_with(&live) || live.starts_with(path) {
                return Err(self.bad(
                    key,
                    format!("{} and LIVE lie in each other", path.display()),
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
        let disk = self.disk(&raw.disk, image.is_some(), volatile)?;
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

    /// What may be written to the root.
    fn disk(&self, text: &str, image: bool, volatile: bool) -> Result<Option<u64>> {
        let Some(size) = self.optional("DISK", text, size)? else {
            return Ok(None);
        };
        if size < LEAST_MEMORY {
            return Err(self.bad("DISK", format!("'{text}' is less than 1M")));
        }
        match (volatile, image) {
            (true, _) => Ok(Some(size)),
            (false, true) => Err(self
                .bad("DISK", "an image is bounded by its own size")
                .hint("truncate and resize2fs or the like make it larger or smaller")),
            (false, false) => Err(self
                .bad(
                    "DISK",
                    "bounds what VOLATILE=yes holds in memory; a directory has no bound",
                )
                .hint("an IMAGE is as large as its file")),
        }
    }
}
