//! The keys that confine processes inside.

use super::checker::Checker;
use super::keys::Raw;
use super::trust;
use super::values::{words, yes_no};
use crate::base::error::{Doing, Result};
use crate::confine::{Filter, caps, devices::Device, hidden::Hidden, oci::Rules};
use rustix::thread::CapabilitySet;
use std::path::{Path, PathBuf};

/// The confinement, relative to the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confine {
    /// The change to the default capabilities.
    pub caps: caps::Change,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
    /// The filter of system calls.
    pub seccomp: Filter,
    /// The masked and the read-only paths.
    pub hidden: Hidden,
    /// The devices besides the usual ones.
    pub devices: Vec<Device>,
}

/// The most devices. A program for this many (`cgroup::device_program`) needs no jump beyond the range of
/// an instruction.
const DEVICES_MAX: usize = 1000;

impl Checker<'_> {
    pub(super) fn confine(&self, raw: &Raw) -> Result<Confine> {
        let caps = self.value("CAPS", words(&raw.caps))?;
        let devices = self.value("DEVICES", words(&raw.devices))?;
        if devices.len() > DEVICES_MAX {
            let what = format!(
                "{} devices, at most {DEVICES_MAX} are possible",
                devices.len()
            );
            return Err(self.bad("DEVICES", what));
        }
        let devices = devices.iter().map(|word| Device::parse(word));
        Ok(Confine {
            caps: self.value("CAPS", caps::Change::parse(&caps))?,
            no_new_privs: self.value("NO_NEW_PRIVS", yes_no(&raw.no_new_privs))?,
            seccomp: self.filter(&raw.seccomp)?,
            hidden: self.hidden(&raw.mask)?,
            devices: self.value("DEVICES", devices.collect())?,
        })
    }

    fn filter(&self, text: &str) -> Result<Filter> {
        let file = match text {
            "default" => return Ok(Filter::Default),
            "strict" => return Ok(Filter::Strict),
            "off" => return Ok(Filter::Off),
            path if path.contains('/') => self.path("SECCOMP", path)?,
            other => {
                let what = format!("'{other}' is not default, strict, off or a path with a /");
                return Err(self.bad("SECCOMP", what));
            }
        };
        // Whoever can write the file decides what processes inside can do, so it must be trusted.
        let read = trust::read(&file, self.tree)?;
        let kernel = nix::sys::utsname::uname().doing(|| "ask for the kernel's release")?;
        let rules = Rules::parse(&read, &kernel.release().to_string_lossy());
        let wrong = |why| self.bad("SECCOMP", format!("{}: {why}", file.display()));
        let rules = rules.map_err(wrong)?;
        let program = rules.profile(CapabilitySet::all()).compile();
        program.map_err(|e| wrong(e.to_string()))?;
        Ok(Filter::File(file, rules))
    }

    fn hidden(&self, text: &str) -> Result<Hidden> {
        let mut words = self.value("MASK", words(text))?;
        for word in &mut words {
            if word == "none" || word.starts_with('-') {
                continue;
            }
            // The components drop repeated slashes.
            let path: PathBuf = Path::new(&self.inside("MASK", word)?)
                .components()
                .collect();
            *word = path.to_string_lossy().into_owned();
            // Without these no system runs.
            if ["/proc", "/sys", "/dev"].contains(&word.as_str()) {
                return Err(self.bad("MASK", format!("{word} cannot be covered as a whole")));
            }
        }
        self.value("MASK", Hidden::parse(&words))
    }
}
