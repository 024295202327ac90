//! What of the kernel's own files is covered inside, and what can only be read. Pure: `init` does it.

use std::path::Path;

/// Covered by nothing: the host's memory, addresses, log, keys, hardware. What Docker, crun and
/// systemd-nspawn cover, and what like it tells of all processes of the host.
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

/// Configures the host's kernel and hardware.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/driver",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What is hidden inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Paths inside that are covered by nothing.
    pub masked: Vec<String>,
    /// Paths below /proc that can only be read.
    pub read_only: Vec<String>,
    /// Which of the usual ones are not.
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
    /// The usual ones, changed by words in their order: `PATH` more, `-PATH` one of the usual less,
    /// `none` none of them.
    ///
    /// # Errors
    /// Which word is none.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut hidden = Self::default();
        for word in words {
            match word.strip_prefix('-') {
                Some(path) => hidden.uncover(path)?,
                None if word == "none" => {
                    let mut all = hidden.read_only.split_off(0);
                    all.extend(hidden.masked.split_off(0));
                    all.retain(|path| usual(path));
                    hidden.bare.extend(all);
                }
                None => {
                    hidden.bare.retain(|path| path != word);
                    // Nothing of what is covered is there any more.
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
        if !usual(path) {
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

fn usual(path: &str) -> bool {
    MASKED.contains(&path) || READ_ONLY.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Hidden, String> {
        Hidden::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_in_their_order() {
        assert_eq!(Hidden::parse(&[]).unwrap(), Hidden::default());
        let hidden = of("/etc/machine-id -/proc/keys -/proc/sys /etc/machine-id").unwrap();
        assert_eq!(hidden.masked.last().unwrap(), "/etc/machine-id");
        assert_eq!(hidden.masked.len(), MASKED.len());
        assert_eq!(hidden.read_only.len(), READ_ONLY.len() - 1);
        assert_eq!(hidden.bare, ["/proc/keys", "/proc/sys"]);
        let none = of("/srv none /proc/keys").unwrap();
        assert_eq!(none.masked, ["/proc/keys"]);
        assert_eq!(none.read_only, [] as [&str; 0]);
        assert_eq!(none.bare.len(), MASKED.len() + READ_ONLY.len() - 1);
        let less = of("/proc/sys /srv/x /srv /srv/y /sys/firmware/efi").unwrap();
        assert!(less.masked.ends_with(&["/proc/sys".into(), "/srv".into()]));
        assert!(!less.read_only.contains(&"/proc/sys".to_owned()));
        assert!(
            of("-/proc/key")
                .unwrap_err()
                .contains("did you mean /proc/keys?")
        );
        assert_eq!(of("-/srv").unwrap_err(), "'/srv' is not usually hidden");
    }
}
