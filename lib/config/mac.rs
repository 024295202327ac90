//! The default MAC of the inner end of a cable.

use crate::config::Mac;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// Derives a MAC from machine-id, name of the subhost and index of the cable, with SipHash-2-4. It is a
/// locally administered unicast address, the same at each start on this host and another on another host. A
/// host without a machine-id (`machine-id(5)`) uses its boot id; the file `assigned` keeps the result.
pub fn derive(name: &str, index: usize) -> Mac {
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
    hash(id.trim(), name, index)
}

fn hash(machine: &str, name: &str, index: usize) -> Mac {
    // A key of this application, so that the address does not reveal the machine-id.
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
    fn addresses_are_stable_local_and_unicast() {
        let mac = hash("0123", "web", 0);
        assert_eq!(mac, hash("0123", "web", 0));
        assert_eq!(mac.0[0] & 3, 2);
        for other in [
            hash("0123", "web", 1),
            hash("0123", "we", 0),
            hash("9", "web", 0),
        ] {
            assert_ne!(mac, other);
        }
        // The parts are separated: (a, bc) differs from (ab, c).
        assert_ne!(hash("a", "bc", 0), hash("ab", "c", 0));
    }
}
