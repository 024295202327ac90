//! The address that a cable's inner end has for good when none is given.

use crate::config::Mac;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// siphash-2-4 over machine-id, the subhost's name and the cable's number, as a locally
/// administered individual address. The same on every start of this host, others on another host.
/// Without a machine-id (`machine-id(5)`) the boot's random id serves; `assigned` then keeps it.
pub fn derived(name: &str, index: usize) -> Mac {
    let id = [
        "/etc/machine-id",
        "/var/lib/dbus/machine-id",
        "/proc/sys/kernel/random/boot_id",
    ]
    .iter()
    .find_map(|file| {
        std::fs::read_to_string(file)
            .ok()
            .filter(|id| !id.trim().is_empty())
    })
    .unwrap_or_default();
    from(id.trim(), name, index)
}

fn from(machine: &str, name: &str, index: usize) -> Mac {
    // An application's own key, so that the address does not give the machine-id away.
    let mut hasher = SipHasher24::new_with_keys(0x7375_6268_6f73_7400, 0x6361_626c_6500_0001);
    for part in [machine, name, &index.to_string()] {
        hasher.write(part.as_bytes());
        hasher.write_u8(0);
    }
    let [a, b, c, d, e, f, ..] = hasher.finish().to_le_bytes();
    Mac([a & 0xfc | 0x02, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_local_and_individual() {
        let mac = from("0123", "web", 0);
        assert_eq!(mac, from("0123", "web", 0));
        assert_eq!(mac.0[0] & 3, 2);
        for other in [
            from("0123", "web", 1),
            from("0123", "we", 0),
            from("9", "web", 0),
        ] {
            assert_ne!(mac, other);
        }
        // Parts are kept apart: (a, bc) is not (ab, c).
        assert_ne!(from("a", "bc", 0), from("ab", "c", 0));
    }
}
