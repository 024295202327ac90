//! Describes what a config weakens, compared with the defaults. Each key that can weaken something has its
//! function here.

use crate::base::error::shown;
use crate::config::{Bind, Bound, Config, Layer, Net, Pid1};
use crate::confine::{Filter, caps};
use std::path::Path;

/// Returns a sentence for each weakness; none if there is none.
pub fn weakened(config: &Config) -> Vec<String> {
    let checks: [fn(&Config) -> Vec<String>; 8] = [
        layers,
        network,
        binds,
        capabilities,
        filter,
        hidden,
        devices,
        processes,
    ];
    checks.iter().flat_map(|check| check(config)).collect()
}

fn layers(config: &Config) -> Vec<String> {
    let is_root = |layer: &Layer| matches!(layer, Layer::Directory(path) if path == Path::new("/"));
    let text =
        "LOWER=/ shows the inside all files of the host, such as /etc/shadow and private keys";
    config
        .root
        .lowers
        .iter()
        .any(is_root)
        .then(|| text.into())
        .into_iter()
        .collect()
}

fn network(config: &Config) -> Vec<String> {
    let text = "NET=host: the inside can listen and connect as the host";
    (config.net == Net::Host)
        .then(|| text.into())
        .into_iter()
        .collect()
}

/// The directories whose writers can run programs on the host.
const SYSTEM: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/run",
    "/var/spool/cron",
];
/// The directories with files that only some users of the host may read.
const SECRET: &[&str] = &[
    "/",
    "/dev",
    "/etc",
    "/etc/ssh",
    "/etc/ssl/private",
    "/proc",
    "/root",
    "/sys",
];

fn binds(config: &Config) -> Vec<String> {
    let about = |bind: &Bind| {
        let source = &bind.source;
        let lies_in = |dirs: &[&str]| dirs.iter().any(|dir| source.starts_with(dir));
        // A socket can be used through a read-only mount as well.
        let sockets = source.extension().is_some_and(|end| end == "sock")
            || ["/run", "/var/run"]
                .map(Path::new)
                .contains(&source.as_path());
        let holds_system = SYSTEM.iter().any(|dir| Path::new(dir).starts_with(source));
        let what = if sockets {
            "the inside can talk to services of the host by"
        } else if !bind.read_only && (lies_in(SYSTEM) || holds_system) {
            "the inside can write the host's"
        } else if SECRET.iter().any(|dir| source == Path::new(dir)) {
            "the inside can read the host's"
        } else {
            return None;
        };
        Some(format!("BIND: {what} {}", shown(source)))
    };
    config.run.binds.iter().filter_map(about).collect()
}

fn capabilities(config: &Config) -> Vec<String> {
    let pid1 = match config.run.init.is_empty() {
        true => Pid1::Ours,
        false => Pid1::Init,
    };
    let default = super::default_caps(&config.net, pid1);
    let more = config.confine.caps.apply(default) - default;
    let text = || {
        format!(
            "CAPS gives root inside also {}",
            caps::names(more).join(", ")
        )
    };
    (!more.is_empty()).then(text).into_iter().collect()
}

fn filter(config: &Config) -> Vec<String> {
    match &config.confine.seccomp {
        Filter::Off => vec!["SECCOMP=off: no system call is refused".into()],
        Filter::File(file, _) => vec![format!(
            "SECCOMP: {} says which system calls are refused, not the built-in list",
            shown(file)
        )],
        Filter::Default | Filter::Strict => Vec::new(),
    }
}

fn hidden(config: &Config) -> Vec<String> {
    let bare = &config.confine.hidden.bare;
    let text = || format!("MASK: not covered or protected are {}", bare.join(", "));
    (!bare.is_empty()).then(text).into_iter().collect()
}

fn processes(config: &Config) -> Vec<String> {
    let text = "PIDS=max: a fork bomb inside is bounded by the host alone";
    (config.limits.pids == Some(Bound::Max))
        .then(|| text.into())
        .into_iter()
        .collect()
}

fn devices(config: &Config) -> Vec<String> {
    let text = |path: &String| format!("DEVICES: the inside has the host's {}", shown(path));
    config
        .confine
        .devices
        .iter()
        .map(|device| text(&device.path))
        .collect()
}
