//! What PID 1 is told to be, put together of the config.

use super::{Order, texts};
use crate::base::error::{Doing, Error, Exit, Result};
use crate::config::{Config, Layer, Net, Stop};
use crate::confine::devices::Device;
use crate::init::spec::{Main, Spec};
use crate::init::usual_stop;
use crate::state::State;
use nix::sys::signal::Signal;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The boot of `config` as `order` says; leaves in the state's directory the texts that it binds.
///
/// # Errors
/// A text cannot be written, or a device is none.
pub(super) fn of(config: &Config, state: &State, order: &Order, slaves: [bool; 3]) -> Result<Spec> {
    let run = &config.run;
    let mut texts = vec![(
        state.write_text("hostname", &format!("{}\n", run.hostname))?,
        "/etc/hostname".into(),
        false,
    )];
    if matches!(config.net, Net::Private(_)) {
        texts.push((
            state.write_text("hosts", &texts::hosts(config))?,
            "/etc/hosts".into(),
            true,
        ));
    }
    if !run.dns.is_empty() || !run.search.is_empty() || config.has_helper() {
        texts.push((
            state.write_text("resolv.conf", &texts::resolv_conf(config))?,
            "/etc/resolv.conf".into(),
            true,
        ));
    }
    let usual = match &order.main {
        Main::Run(program) => program.argv.first().and_then(|program| usual_stop(program)),
        _ => None,
    };
    let devices = config.confine.devices.iter().map(Device::node);
    Ok(Spec {
        live: config.root.live.clone(),
        ids: order.ids,
        hostname: run.hostname.clone(),
        has_cgroup: false,
        joins_network: order.joins_network,
        covers: covers(config),
        masked: config.confine.hidden.masked.clone(),
        read_only: config.confine.hidden.read_only.clone(),
        devices: devices.collect::<Result<_>>()?,
        binds: run.binds.clone(),
        texts,
        tmpfs: run.tmpfs.clone(),
        ram_size: run.ram_size,
        stop_signal: match run.stop {
            Stop::Signal(signal) => signal,
            _ => usual.unwrap_or(Signal::SIGTERM as i32),
        },
        stop_timeout: run.stop_timeout,
        log_max: order.wiring.is_none().then_some(run.log_max),
        slaves,
        tied: order.wiring.is_some(),
        main: order.main.clone(),
        rights: config.rights(matches!(order.main, Main::Init(_))),
    })
}

/// Where a layer shows the host's $SUBHOST, with all subhosts' configs and trees. By identity, as a
/// layer may be called by a link or be a bind.
fn covers(config: &Config) -> Vec<String> {
    let identity = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino()))
    };
    let below = |layer: &Layer| match layer {
        Layer::Directory(path) => {
            let layer = identity(path)?;
            let holding = config
                .tree
                .ancestors()
                .find(|dir| identity(dir) == Some(layer))?;
            config.tree.strip_prefix(holding).ok()
        }
        Layer::Image(_) => None,
    };
    let layers = config.root.lowers.iter().filter_map(below);
    layers
        .filter(|path| path.parent().is_some())
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// It, to be read by descriptor.
pub(super) fn memfd(spec: &Spec) -> Result<OwnedFd> {
    let text = serde_json::to_vec(spec)
        .map_err(|e| Error::new(Exit::Failed, format!("cannot put the boot into words: {e}")))?;
    let fd = memfd_create("subhost", MemfdFlags::CLOEXEC)
        .doing(|| "make room for the boot's settings")?;
    let mut file = File::from(fd);
    file.write_all(&text)
        .and_then(|()| file.rewind())
        .doing(|| "write the boot's settings")?;
    Ok(file.into())
}
