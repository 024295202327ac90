//! What those inside may do.

use super::Checker;
use crate::config::Confine;
use crate::config::keys::Raw;
use crate::config::values::{words, yes_no};
use crate::confine::{Seccomp, caps, devices::Device, hidden::Hidden};
use crate::error::Result;
use std::path::{Path, PathBuf};

impl Checker<'_> {
    pub(super) fn confine(&self, raw: &Raw) -> Result<Confine> {
        let caps = self.value("CAPS", words(&raw.caps))?;
        let devices = self.value("DEVICES", words(&raw.devices))?;
        let devices = devices.iter().map(|word| Device::of(word));
        Ok(Confine {
            caps: self.value("CAPS", caps::Change::of(&caps))?,
            no_new_privs: self.value("NO_NEW_PRIVS", yes_no(&raw.no_new_privs))?,
            seccomp: match raw.seccomp.as_str() {
                "default" => Seccomp::Default,
                "strict" => Seccomp::Strict,
                "off" => Seccomp::Off,
                other => {
                    let what = format!("'{other}' is none of default, strict and off");
                    return Err(self.bad("SECCOMP", what));
                }
            },
            hidden: self.hidden(&raw.mask)?,
            devices: self.value("DEVICES", devices.collect())?,
        })
    }

    fn hidden(&self, text: &str) -> Result<Hidden> {
        let mut words = self.value("MASK", words(text))?;
        for word in &mut words {
            if word == "none" || word.starts_with('-') {
                continue;
            }
            // Without repeated slashes.
            let path: PathBuf = Path::new(&self.inside("MASK", word)?)
                .components()
                .collect();
            *word = path.to_string_lossy().into_owned();
            // Without them there is no system.
            if ["/proc", "/sys", "/dev"].contains(&word.as_str()) {
                return Err(self.bad("MASK", format!("{word} cannot be covered as a whole")));
            }
        }
        self.value("MASK", Hidden::of(&words))
    }
}
