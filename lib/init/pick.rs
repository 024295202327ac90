//! Opening what the host contributes to the inside, as detached mounts, before the root is changed.

use super::dev::{self, Nodes};
use super::nodes;
use super::spec::{Bind, Mount, Op, Spec};
use crate::base::error::{Doing, Errno, Error, IntoErrno, Result, shown};
use crate::confine::devices::Node;
use crate::kernel::mounts::{Access, mount_detached, open_directory};
use crate::kernel::proc::is_in_user_namespace;
use crate::sys;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A detached mount for one step of the spec.
pub enum Piece {
    /// A file system of the kernel.
    Mount(OwnedFd),
    /// A /dev, and the nodes to bind in it where none can be made.
    Dev(OwnedFd, Option<Nodes>),
    /// A copy of a directory or file of the host.
    Bind(OwnedFd, FileKind),
}

/// All detached mounts of a spec.
pub struct Picked {
    /// A copy of the root with its submounts.
    pub root: OwnedFd,
    /// For each step its mount; none if the step needs none or makes it later.
    pub pieces: Vec<Option<Piece>>,
}

/// Whether a file is a directory. A mount needs a mount point of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// It is a directory.
    Directory,
    /// It is anything else.
    File,
}

/// The owner of what is opened.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    /// Root of this user namespace.
    Us,
    /// Root of another user namespace, and the first of its ids. It cannot make these mounts itself.
    Userns(&'a OwnedFd, u32),
}

/// Makes the detached mounts of a spec, by paths of the host as the tool sees them; no path of the tree is
/// resolved. Returns also the mounts whose ids could not be mapped, described for a message.
///
/// # Errors
/// A source does not exist; the failed call.
pub fn pick_up(spec: &Spec, owner: Owner) -> Result<(Picked, Vec<String>)> {
    let mut unmapped = Vec::new();
    let mut pieces = Vec::with_capacity(spec.ops.len());
    for op in &spec.ops {
        pieces.push(match op {
            Op::Mount(mount) => mount_early(mount, owner)?.map(Piece::Mount),
            Op::Dev(devices) => Some(make_dev(devices, owner)?),
            Op::Bind(source) => Some(bind(source, owner, &mut unmapped)?),
            _ => None,
        });
    }
    let root = clone_root(spec)?;
    Ok((Picked { root, pieces }, unmapped))
}

/// Mounts /proc and /sys. In a user namespace the kernel allows this only while those of the host are fully
/// visible. Other file systems are mounted later, as they show namespaces that do not exist yet; so is the
/// /proc for another user namespace.
fn mount_early(mount: &Mount, owner: Owner) -> Result<Option<OwnedFd>> {
    match (mount.fstype.as_str(), owner) {
        ("proc", Owner::Us) => mount_new(mount).map(Some),
        ("sysfs", _) => match mount_new(mount) {
            // The network namespace is that of the host (NET=host): the /sys of the host shows it as well.
            Err(error) if error.errno == Some(Errno::EPERM) && is_in_user_namespace() => {
                let sys = clone_mount(Path::new("/sys"), Access::ReadOnly);
                sys.doing(|| "bind the host's /sys").map(Some)
            }
            made => made.map(Some),
        },
        _ => Ok(None),
    }
}

/// Mounts a file system of the kernel, detached.
///
/// # Errors
/// The failed call, with a hint.
pub fn mount_new(mount: &Mount) -> Result<OwnedFd> {
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

/// Makes a /dev with nodes. In a user namespace no nodes can be made, so those of the host are bound later.
fn make_dev(devices: &[Node], owner: Owner) -> Result<Piece> {
    Ok(match owner {
        Owner::Userns(_, base) => Piece::Dev(nodes::make_dev(base, devices)?, None),
        Owner::Us if !is_in_user_namespace() => Piece::Dev(nodes::make_dev(0, devices)?, None),
        Owner::Us => {
            let host_nodes = dev::open_nodes(devices)?;
            let dev = nodes::make_dev_without_nodes(0)?;
            host_nodes.make_mount_points(&dev)?;
            Piece::Dev(dev, Some(host_nodes))
        }
    })
}

fn bind(bind: &Bind, owner: Owner, unmapped: &mut Vec<String>) -> Result<Piece> {
    let doing = || format!("bind {}", shown(&bind.source));
    let kind = match !bind.text && std::fs::metadata(&bind.source).doing(doing)?.is_dir() {
        true => FileKind::Directory,
        false => FileKind::File,
    };
    let access = Access::new(bind.read_only);
    let clone = || clone_mount(&bind.source, access);
    let mount = match owner {
        Owner::Us => clone(),
        Owner::Userns(userns, _) => match clone_mapped(&bind.source, access, userns) {
            Err(Errno::EINVAL | Errno::EPERM) => {
                unmapped.extend((!bind.text).then(|| shown(&bind.source)));
                clone()
            }
            other => other,
        },
    };
    Ok(Piece::Bind(mount.doing(doing)?, kind))
}

/// Clones the root with its submounts.
///
/// # Errors
/// Nothing is mounted there; the failed call.
fn clone_root(spec: &Spec) -> Result<OwnedFd> {
    let doing = || format!("make {} the root", shown(&spec.root));
    let root = open_directory(&spec.root).doing(doing)?;
    let status = statx(&root, "", AtFlags::EMPTY_PATH, StatxFlags::empty()).doing(doing)?;
    if !status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        let error = Error::sys(doing(), Errno::EINVAL);
        return Err(error.hint("nothing is mounted there any more"));
    }
    let flags = COPY | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(root.as_fd(), "", flags).doing(doing)?;
    sys::mount_setattr_tree(&copy, sys::NODEV, nix::libc::MS_SLAVE).doing(doing)?;
    Ok(copy)
}

/// The flags of open_tree(2) for a copy with all submounts.
const COPY: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE);

/// Clones what is at a path, with all submounts, as a detached mount without devices.
fn clone_mount(path: &Path, access: Access) -> std::result::Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, path, COPY).map_err(IntoErrno::into_errno)?;
    let attributes = sys::NODEV | access.attributes();
    sys::mount_setattr_tree(&tree, attributes, nix::libc::MS_SLAVE)?;
    Ok(tree)
}

/// Clones like [`clone_mount`], and maps the ids to those of the user namespace.
fn clone_mapped(
    path: &Path,
    access: Access,
    userns: &OwnedFd,
) -> std::result::Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, path, COPY).map_err(IntoErrno::into_errno)?;
    let attributes = sys::NODEV | access.attributes();
    sys::mount_map_tree(&tree, attributes, nix::libc::MS_SLAVE, userns)?;
    Ok(tree)
}
