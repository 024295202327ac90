//! Root file systems: the actions of the steps that make a root. This room never follows a symbolic link
//! inside the tree of a subhost, and never unmounts a foreign mount.

mod directory;
mod image;
mod mapped;
mod mounted;
mod overlay;
mod partitions;
mod rbind;
mod tmpfs;
mod within;

pub use mapped::{can_map, check_mappable, is_unmapped};
