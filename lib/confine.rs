//! What root inside may do: the capabilities that services need and no more. The bounding set is
//! cut, so that no setuid file inside gives back what is not here.

use crate::error::{Doing, Error, Exit, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What stays (`capabilities(7)`). Not here, for instance: SYS_ADMIN (mounts, and with them the
/// host's file systems), MKNOD and SYS_RAWIO (disks), SYS_MODULE, SYS_TIME, SYSLOG, BPF, PERFMON,
/// DAC_READ_SEARCH (open_by_handle_at reaches any file of a file system), MAC_ADMIN.
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
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::SYS_NICE,
    CapabilitySet::SYS_PTRACE,
];

/// The set that stays. `own_network`: the network namespace is the subhost's own, so its links and
/// routes are as well.
pub fn kept(own_network: bool) -> CapabilitySet {
    let kept = KEPT
        .iter()
        .fold(CapabilitySet::empty(), |all, cap| all | *cap);
    if own_network {
        kept | CapabilitySet::NET_ADMIN
    } else {
        kept
    }
}

/// Gives up all other capabilities, for good and for all that we start.
///
/// # Errors
/// The failed call: nothing may run with more than it should have.
pub fn give_up(own_network: bool) -> Result<()> {
    let kept = kept(own_network);
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
