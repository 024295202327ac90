//! What root inside may do: the capabilities that services need and no more. The bounding set is
//! cut, so that no setuid file inside gives back what is not here.

use crate::error::{Doing, Error, Exit, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What stays (`capabilities(7)`). Not here, for instance: SYS_ADMIN (mounts, and with them the
/// host's file systems), MKNOD and SYS_RAWIO (disks), SYS_MODULE, SYS_TIME, SYSLOG, BPF, PERFMON,
/// DAC_READ_SEARCH (open_by_handle_at reaches any file of a file system), MAC_ADMIN, and SYS_PTRACE:
/// with it, whoever is root inside catches a process that comes in before it has given up its own
/// (processes of equal rights can still be traced).
const KEPT: &[CapabilitySet] = &[
    CapabilitySet::AUDIT_WRITE,
    CapabilitySet::CHOWN,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::FOWNER,
    CapabilitySet::FSETID,
    CapabilitySet::IPC_LOCK,
    CapabilitySet::KILL,
    CapabilitySet::LEASE,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::NET_BROADCAST,
    CapabilitySet::NET_RAW,
    CapabilitySet::SETFCAP,
    CapabilitySet::SETGID,
    CapabilitySet::SETPCAP,
    CapabilitySet::SETUID,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::SYS_NICE,
];

/// What a process inside is, as far as its rights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rights {
    /// The network namespace is the subhost's own, so its links and routes are as well.
    pub own_network: bool,
    /// PID 1 is an init of the tree's own, which ends by reboot(2): in a pid namespace that is all
    /// that it does, but the same capability loads kernels (kexec).
    pub has_init: bool,
}

/// The set that stays.
pub fn kept(rights: Rights) -> CapabilitySet {
    let mut kept = KEPT
        .iter()
        .fold(CapabilitySet::empty(), |all, cap| all | *cap);
    if rights.own_network {
        kept |= CapabilitySet::NET_ADMIN;
    }
    if rights.has_init {
        kept |= CapabilitySet::SYS_BOOT;
    }
    kept
}

/// Gives up all other capabilities, for good and for all that we start.
///
/// # Errors
/// The failed call: nothing may run with more than it should have.
pub fn give_up(rights: Rights) -> Result<()> {
    let kept = kept(rights);
    clear_ambient_capability_set().doing(|| "clear the ambient capabilities")?;
    for number in 0..64 {
        let cap = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(cap) {
            continue;
        }
        match remove_capability_from_bounding_set(cap) {
            Ok(()) => {}
            // The number after the last one that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(e).doing(|| "cut the bounding set"),
        }
    }
    let now = capabilities(None).doing(|| "read our capabilities")?;
    let sets = CapabilitySets {
        effective: now.effective & kept,
        permitted: now.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).doing(|| "give up capabilities")
}

/// Tools change mounts and namespaces: say early and clearly that this needs root.
///
/// # Errors
/// We are not root.
pub fn must_be_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Exit::Failed, "must be run as root").hint("su or sudo"))
}
