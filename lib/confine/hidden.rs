//! Files of the kernel that are masked or read-only inside. This file only lists them; `init` mounts.

use std::path::Path;

/// The default masked paths: memory, addresses, log, keys and hardware of the host. The list has what Docker,
/// crun and systemd-nspawn mask, and other files that show all processes of the host.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/proc/vmcore",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// The default read-only paths: they configure the kernel and the hardware of the host.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/driver",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The masked and read-only paths of a subhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The paths inside that are masked.
    pub masked: Vec<String>,
    /// The paths below /proc that are read-only.
    pub read_only: Vec<String>,
    /// The default paths that are neither masked nor read-only.
    pub bare: Vec<String>,
}

impl Default for Hidden {
    fn default() -> Self {
        let all = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Self {
            masked: all(MASKED),
            read_only: all(READ_ONLY),
            bare: Vec::new(),
        }
    }
}

impl Hidden {
    /// Applies words to the defaults, in their order: `PATH` masks a path, `-PATH` uncovers a default path,
    /// `none` uncovers all of them.
    ///
    /// # Errors
    /// The first invalid word.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut hidden = Self::default();
        for word in words {
            match word.strip_prefix('-') {
                Some(path) => hidden.uncover(path)?,
                None if word == "none" => {
                    let mut all = hidden.read_only.split_off(0);
                    all.extend(hidden.masked.split_off(0));
                    all.retain(|path| is_default(path));
                    hidden.bare.extend(all);
                }
                None => {
                    hidden.bare.retain(|path| path != word);
                    // A mask also covers the paths below it.
                    let lies_in = |path: &String| Path::new(path).starts_with(word);
                    hidden.masked.retain(|path| !lies_in(path));
                    hidden.read_only.retain(|path| !lies_in(path));
                    let mut masked = hidden.masked.iter();
                    if !masked.any(|path| Path::new(word).starts_with(path)) {
                        hidden.masked.push(word.clone());
                    }
                }
            }
        }
        hidden.bare.sort();
        Ok(hidden)
    }

    fn uncover(&mut self, path: &str) -> Result<(), String> {
        if !is_default(path) {
            let near = MASKED.iter().chain(READ_ONLY);
            let near = near
                .map(|known| (strsim::damerau_levenshtein(path, known), known))
                .filter(|(distance, _)| *distance <= 3)
                .min();
            return Err(match near {
                Some((_, near)) => format!("'{path}' is not usually hidden; did you mean {near}?"),
                None => format!("'{path}' is not usually hidden"),
            });
        }
        self.masked.retain(|masked| masked != path);
        self.read_only.retain(|read_only| read_only != path);
        if !self.bare.iter().any(|bare| bare == path) {
            self.bare.push(path.to_owned());
        }
        Ok(())
    }
}

fn is_default(path: &str) -> bool {
    MASKED.contains(&path) || READ_ONLY.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Hidden, String> {
        Hidden::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_apply_in_order() {
        assert_eq!(Hidden::parse(&[]).unwrap(), Hidden::default());
        let hidden = parse("/etc/machine-id -/proc/keys -/proc/sys /etc/machine-id").unwrap();
        assert_eq!(hidden.masked.last().unwrap(), "/etc/machine-id");
        assert_eq!(hidden.masked.len(), MASKED.len());
        assert_eq!(hidden.read_only.len(), READ_ONLY.len() - 1);
        assert_eq!(hidden.bare, ["/proc/keys", "/proc/sys"]);
        let none = parse("/srv none /proc/keys").unwrap();
        assert_eq!(none.masked, ["/proc/keys"]);
        assert_eq!(none.read_only, [] as [&str; 0]);
        assert_eq!(none.bare.len(), MASKED.len() + READ_ONLY.len() - 1);
        let less = parse("/proc/sys /srv/x /srv /srv/y /sys/firmware/efi").unwrap();
        assert!(less.masked.ends_with(&["/proc/sys".into(), "/srv".into()]));
        assert!(!less.read_only.contains(&"/proc/sys".to_owned()));
        assert!(
            parse("-/proc/key")
                .unwrap_err()
                .contains("did you mean /proc/keys?")
        );
        assert_eq!(parse("-/srv").unwrap_err(), "'/srv' is not usually hidden");
    }
}
