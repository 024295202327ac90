//! What those inside may do.

use super::Checker;
use crate::config::Confine;
use crate::config::keys::Raw;
use crate::config::values::{words, yes_no};
use crate::confine::{Seccomp, caps};
use crate::error::Result;

impl Checker<'_> {
    pub(super) fn confine(&self, raw: &Raw) -> Result<Confine> {
        let caps = self.value("CAPS", words(&raw.caps))?;
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
        })
    }
}
