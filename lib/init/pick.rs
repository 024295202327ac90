//! What of the host is to appear inside, picked up before the root is changed.

use super::dev::{self, Nodes};
use super::nodes;
use super::spec::{Bind, Mount, Op, Spec};
use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::confine::devices::Node;
use crate::kernel::mounts::{mount_detached, open_directory};
use crate::kernel::proc::is_in_user_namespace;
use crate::sys;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What was picked up on the host for one operation.
pub enum Piece {
    /// A file system of the kernel's, mounted nowhere yet.
    Mount(OwnedFd),
    /// The same of /dev, and what is to be bound in it where no nodes can be made.
    Dev(OwnedFd, Option<Nodes>),
    /// A copy of a directory, or of something else.
    Bind(OwnedFd, bool),
}

/// All that was picked up on the host.
pub struct Picked {
    /// A copy of the root with all below it.
    pub root: OwnedFd,
    /// For each operation what it needs of the host.
    pub pieces: Vec<Option<Piece>>,
}

/// For whom it is picked up.
#[derive(Clone, Copy)]
pub enum For<'a> {
    /// For us as we are.
    Us,
    /// For root of a user namespace, which has the ids from the number on, and can have none of it made itself.
    Owner(&'a OwnedFd, u32),
}

/// What the operations need of the host, before its root is let go of, by the paths as our caller sees them; no
/// path of the tree is resolved before. Gives also, in words, what of it cannot be mapped to the ids of its owner.
///
/// # Errors
/// What is not there; what the kernel makes none of.
pub fn pick_up(spec: &Spec, whose: For) -> Result<(Picked, Vec<String>)> {
    let mut unmapped = Vec::new();
    let mut pieces = Vec::with_capacity(spec.ops.len());
    for op in &spec.ops {
        pieces.push(match op {
            Op::Mount(mount) => kernels(mount, whose)?.map(Piece::Mount),
            Op::Dev(devices) => Some(dev(devices, whose)?),
            Op::Bind(given) => Some(bind(given, whose, &mut unmapped)?),
            _ => None,
        });
    }
    let root = root(spec)?;
    Ok((Picked { root, pieces }, unmapped))
}

/// /proc and /sys. In a user's world they are only to be had while the host's own are in sight; others are made
/// later, as they belong to namespaces that are yet to be made. So does the /proc of one that goes to a user
/// namespace.
fn kernels(mount: &Mount, whose: For) -> Result<Option<OwnedFd>> {
    match (mount.fstype.as_str(), whose) {
        ("proc", For::Us) => make(mount).map(Some),
        ("sysfs", _) => match make(mount) {
            // The network is not the world's: the host's own /sys shows it as well.
            Err(error) if error.errno == Some(Errno::EPERM) && is_in_user_namespace() => {
                let sys = clone_of(Path::new("/sys"), true);
                sys.doing(|| "bind the host's /sys").map(Some)
            }
            made => made.map(Some),
        },
        _ => Ok(None),
    }
}

/// A file system that is mounted nowhere yet.
///
/// # Errors
/// The kernel makes none.
pub fn make(mount: &Mount) -> Result<OwnedFd> {
    let options = mount.options.iter();
    let options: Vec<_> = options.map(|(key, value)| (&**key, &**value)).collect();
    let attributes = MountAttrFlags::from_bits_retain(mount.attributes);
    mount_detached(&mount.fstype, &options, attributes).map_err(|error| match error.errno {
        Some(Errno::EPERM) if mount.fstype == "proc" => error.hint(
            "in a user namespace only where nothing is mounted over parts of the host's /proc",
        ),
        _ => error,
    })
}

/// /dev with its nodes. In a user's world none can be made: the host's are bound.
fn dev(devices: &[Node], whose: For) -> Result<Piece> {
    Ok(match whose {
        For::Owner(_, base) => Piece::Dev(nodes::devices(base, devices)?, None),
        For::Us if !is_in_user_namespace() => Piece::Dev(nodes::devices(0, devices)?, None),
        For::Us => {
            let given = dev::pick_up(devices)?;
            let dev = nodes::without_nodes(0)?;
            given.make_room(&dev)?;
            Piece::Dev(dev, Some(given))
        }
    })
}

fn bind(bind: &Bind, whose: For, unmapped: &mut Vec<String>) -> Result<Piece> {
    let doing = || format!("bind {}", shown(&bind.source));
    let directory = !bind.text && std::fs::metadata(&bind.source).doing(doing)?.is_dir();
    let clone = || clone_of(&bind.source, bind.read_only);
    let mount = match whose {
        For::Us => clone(),
        For::Owner(userns, _) => match mapped(&bind.source, bind.read_only, userns) {
            Err(Errno::EINVAL | Errno::EPERM) => {
                unmapped.extend((!bind.text).then(|| shown(&bind.source)));
                clone()
            }
            other => other,
        },
    };
    Ok(Piece::Bind(mount.doing(doing)?, directory))
}

/// A copy of the root with all below it.
///
/// # Errors
/// Nothing is mounted there; the failed call.
fn root(spec: &Spec) -> Result<OwnedFd> {
    let doing = || format!("make {} the root", shown(&spec.root));
    let root = open_directory(&spec.root).doing(doing)?;
    let told = statx(&root, "", AtFlags::EMPTY_PATH, StatxFlags::empty()).doing(doing)?;
    if !told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        let error = Error::sys(doing(), Errno::EINVAL);
        return Err(error.hint("nothing is mounted there any more"));
    }
    let flags = COPY | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(root.as_fd(), "", flags).doing(doing)?;
    sys::mount_setattr_tree(&copy, sys::NODEV, nix::libc::MS_SLAVE).doing(doing)?;
    Ok(copy)
}

const COPY: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE);

/// What is there, with all submounts, as a detached mount.
///
/// # Errors
/// The errno of the failed call.
fn clone_of(path: &Path, read_only: bool) -> std::result::Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, path, COPY).map_err(IntoErrno::into_errno)?;
    let read_only = if read_only { sys::RDONLY } else { 0 };
    sys::mount_setattr_tree(&tree, sys::NODEV | read_only, nix::libc::MS_SLAVE)?;
    Ok(tree)
}

fn mapped(path: &Path, read_only: bool, userns: &OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, path, COPY).map_err(IntoErrno::into_errno)?;
    let read_only = if read_only { sys::RDONLY } else { 0 };
    let attributes = sys::NODEV | read_only;
    sys::mount_map_tree(&tree, attributes, nix::libc::MS_SLAVE, userns)?;
    Ok(tree)
}
