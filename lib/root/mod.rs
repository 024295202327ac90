//! Root file systems: what each kind of step of a root means to the kernel. Never follows a link below a
//! subhost's own tree, never unmounts what it did not mount.

mod directory;
mod image;
mod mapped;
mod mounted;
mod overlay;
mod partitions;
mod rbind;
mod tmpfs;
mod within;

pub use mapped::{can_be_mapped, can_map, is_unmapped};
