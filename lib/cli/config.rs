//! The tool subhost-config(8): prints and checks settings.

use super::{Common, Tool, print};
use crate::base::envfile::quote;
use crate::base::error::{Error, Exit, Result, shown};
use crate::base::message::warn;
use crate::base::name::Name;
use crate::config::{Config, Net, Userns};
use clap::Parser;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Print or check the settings of a subhost
///
/// subhost-config prints all settings of NAME, defaults included, as lines that a shell can eval. With
/// KEY it prints the value of KEY alone. subhost.config(5) describes the keys.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-config",
    version,
    after_help = "Examples:
  subhost-config web                   all settings
  subhost-config web BRIDGES           one
  eval \"$(subhost-config web)\"         into a script
  subhost-config --check web           check it

Exit status:
  0   valid
  2   wrong usage
  4   no such subhost
  5   invalid"
)]
pub struct ConfigTool {
    /// Print no settings, only errors and warnings
    #[arg(long, conflicts_with = "key")]
    pub check: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Name of the subhost
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Name of a setting
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
}

impl Tool for ConfigTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        let name = Name::new(&self.name)?;
        let report = |error: Error| {
            super::report(Some(&name), &error);
            error.exit as u8
        };
        let config = match Config::load(&self.common.tree()?, &name, &self.common.set) {
            Ok(config) => config,
            Err(error) => return Ok(report(error)),
        };
        if self.check {
            for warning in warnings(&config) {
                warn(Some(&name), &warning);
            }
            return Ok(0);
        }
        let Some(key) = &self.key else {
            let lines = config
                .settings
                .iter()
                .map(|(key, value)| format!("{key}={}\n", quoted(value)));
            print(&lines.collect::<String>())?;
            return Ok(0);
        };
        let known = crate::config::keys::kind(key);
        match (config.settings.get(key), known) {
            (Some(value), _) => print(&format!("{value}\n")).map(|()| 0),
            (None, Ok(_)) => print("\n").map(|()| 0),
            (None, Err(near)) => {
                let error = Error::new(Exit::Usage, format!("there is no key {}", shown(key)));
                Ok(report(match near {
                    Some(near) => error.hint(format!("did you mean {near}?")),
                    None => error,
                }))
            }
        }
    }
}

/// Quotes a value. It adds quotes where `quote` needs none, so that all lines look alike.
fn quoted(value: &str) -> String {
    match quote(value) {
        bare if bare == value => format!("'{bare}'"),
        quoted => quoted,
    }
}

/// Returns warnings about valid settings: those that weaken the defaults, and files that are missing on this
/// host.
fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = crate::config::weakened(config);
    if config.userns != Userns::No && !matches!(config.net, Net::Private(_)) {
        let net = &config.settings["NET"];
        warnings.push(format!(
            "USERNS: with NET={net} root inside can change nothing in its network"
        ));
    }
    for bind in &config.run.binds {
        if !bind.source.exists() {
            warnings.push(format!("BIND: there is no {}", shown(&bind.source)));
        }
    }
    for file in &config.run.env_files {
        match std::fs::metadata(&file.path) {
            Ok(meta) if meta.mode() & 0o044 != 0 => warnings.push(format!(
                "ENV_FILE: {} can be read by others (mode {:04o})",
                shown(&file.path),
                meta.mode() & 0o7777
            )),
            Err(_) if !file.optional => {
                warnings.push(format!("ENV_FILE: there is no {}", shown(&file.path)));
            }
            _ => {}
        }
    }
    for argv in config.hooks.values() {
        if let Some(program) = argv.first()
            && !Path::new(program).exists()
        {
            warnings.push(format!("there is no hook {}", shown(program)));
        }
    }
    warnings
}
