//! Capabilities by name (`capabilities(7)`), the default set, and the changes that `CAPS` makes.

use rustix::thread::CapabilitySet as Cap;

/// The names, by number, without CAP_.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The default capabilities. Among those left out: SYS_ADMIN (mounts, and with them the file systems of the
/// host), MKNOD and SYS_RAWIO (disks), SYS_MODULE, SYS_TIME, SYSLOG, BPF, PERFMON, DAC_READ_SEARCH
/// (open_by_handle_at reaches any file of a file system), MAC_ADMIN, and SYS_PTRACE: with it, root inside
/// could trace an entering process before that has dropped its capabilities. Without it, it can still trace
/// processes with the same rights.
pub const DEFAULT: Cap = Cap::AUDIT_WRITE
    .union(Cap::CHOWN)
    .union(Cap::DAC_OVERRIDE)
    .union(Cap::FOWNER)
    .union(Cap::FSETID)
    .union(Cap::IPC_LOCK)
    .union(Cap::KILL)
    .union(Cap::LEASE)
    .union(Cap::NET_BIND_SERVICE)
    .union(Cap::NET_BROADCAST)
    .union(Cap::SETFCAP)
    .union(Cap::SETGID)
    .union(Cap::SETPCAP)
    .union(Cap::SETUID)
    .union(Cap::SYS_CHROOT);

/// The change that `CAPS` makes to a set: words `+CAP`, `-CAP`, `all`, `none`, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    add: u64,
    remove: u64,
}

impl Change {
    /// Parses the words.
    ///
    /// # Errors
    /// The first invalid word, with a similar name if there is one.
    pub fn parse(words: &[String]) -> std::result::Result<Self, String> {
        let all = (1 << NAMES.len()) - 1;
        let mut change = Self::default();
        for word in words {
            let (add, remove) = match word.as_str() {
                "all" => (all, 0),
                "none" => (0, all),
                word => match word.split_at_checked(1) {
                    Some(("+", name)) => (bit(name)?, 0),
                    Some(("-", name)) => (0, bit(name)?),
                    _ => return Err(format!("'{word}' is none of +CAP, -CAP, all and none")),
                },
            };
            change.add = change.add & !remove | add;
            change.remove = change.remove & !add | remove;
        }
        Ok(change)
    }

    /// Applies the change to a set.
    pub fn apply(self, usual: Cap) -> Cap {
        Cap::from_bits_retain(usual.bits() & !self.remove | self.add)
    }
}

/// Returns the names of the capabilities of a set, sorted by number.
pub fn names(caps: Cap) -> Vec<&'static str> {
    let numbered = NAMES.iter().enumerate();
    let among = numbered.filter(|(number, _)| caps.bits() & 1 << number != 0);
    among.map(|(_, name)| *name).collect()
}

/// Returns the bit of a capability by its name, with or without CAP_.
///
/// # Errors
/// There is no such capability; the message has a similar name if there is one.
pub(super) fn bit(text: &str) -> std::result::Result<u64, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    if let Some(number) = NAMES.iter().position(|known| *known == name) {
        return Ok(1 << number);
    }
    let near = NAMES
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min();
    Err(match near {
        Some((_, near)) => format!("there is no capability '{text}'; did you mean {near}?"),
        None => format!("there is no capability '{text}'; see capabilities(7)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> std::result::Result<Change, String> {
        Change::parse(
            &text
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn changes_apply_in_order() {
        let usual = Cap::CHOWN | Cap::KILL;
        let apply = |text| change(text).unwrap().apply(usual);
        assert_eq!(apply(""), usual);
        assert_eq!(apply("+SYS_TIME -CAP_KILL"), Cap::CHOWN | Cap::SYS_TIME);
        assert_eq!(apply("+cap_bpf none +syslog"), Cap::SYSLOG);
        assert_eq!(apply("-CHOWN +CHOWN +SYS_TIME -SYS_TIME"), usual);
        assert_eq!(names(apply("none all -CHOWN")), NAMES[1..]);
        assert_eq!(
            names(Cap::CHECKPOINT_RESTORE | Cap::CHOWN),
            ["CHOWN", "CHECKPOINT_RESTORE"]
        );
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(
            change("+SYS_ADMN")
                .unwrap_err()
                .contains("did you mean SYS_ADMIN?")
        );
        assert!(change("+FLY").unwrap_err().contains("capabilities(7)"));
        for bad in ["SYS_ADMIN", "+", "ALL", "\u{e4}"] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_match_the_kernel() {
        for (number, name) in NAMES.iter().enumerate() {
            assert_eq!(
                Cap::from_name(name),
                Some(Cap::from_bits_retain(1 << number)),
                "{name}"
            );
        }
    }
}
