//! What PID 1 is told to be, put together of the config.

use super::{BootRequest, generated};
use crate::base::error::{Doing, Error, Exit, Result};
use crate::config::{Config, Layer, Net, Pid1, Stop};
use crate::confine::Rights;
use crate::confine::devices::Device;
use crate::init::default_stop_signal;
use crate::init::spec::{self, Bind, Main, Mount, NOEXEC, Op, Own, Process, SAFE, Spec, Way};
use crate::state::State;
use nix::sys::signal::Signal;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The boot of `config` as `request` says; leaves in the state's directory the texts that it binds. `has_cgroup`: an
/// init of the tree's own is to see the cgroup that it is in.
///
/// # Errors
/// A text cannot be written, or a device is none.
pub(super) fn compile(
    config: &Config,
    state: &State,
    request: &BootRequest,
    has_cgroup: bool,
) -> Result<Spec> {
    let run = &config.run;
    let usual = match &request.main {
        Main::Run(program) => program
            .argv
            .first()
            .and_then(|program| default_stop_signal(program)),
        _ => None,
    };
    let is_init = matches!(request.main, Main::Init(_));
    let rights = config.rights(match is_init {
        true => Pid1::Init,
        false => Pid1::Ours,
    });
    Ok(Spec {
        root: config.root.live.clone(),
        ids: request.ids,
        joins_network: request.joins_network,
        namespaces: vec![Own::Uts, Own::Ipc, Own::Cgroup],
        ops: ops(config, state, &rights, has_cgroup)?,
        process: Process {
            main: request.main.clone(),
            rights,
            stop_signal: match run.stop {
                Stop::Signal(signal) => signal,
                _ => usual.unwrap_or(Signal::SIGTERM as i32),
            },
            stop_timeout: run.stop_timeout,
            log_max: request.wiring.is_none().then_some(run.log_max),
            // An init in the background has a console all the same: it expects one.
            slaves: request.wiring.map_or([is_init; 3], |wiring| wiring.slaves),
            tied: request.wiring.is_some(),
        },
    })
}

/// What its root becomes.
fn ops(config: &Config, state: &State, rights: &Rights, has_cgroup: bool) -> Result<Vec<Op>> {
    let (run, hidden) = (&config.run, &config.confine.hidden);
    let devices = config.confine.devices.iter().map(Device::node);
    let mut ops = vec![Op::Hostname(run.hostname.clone())];
    ops.extend(spec::kernel_mounts(devices.collect::<Result<_>>()?));
    let is_kernels = |path: &String| path.starts_with("/proc/") || path.starts_with("/sys/");
    let masked = hidden.masked.iter().cloned();
    let (kernels, others) = masked.partition(is_kernels);
    ops.push(Op::Mask(kernels));
    // The sysctls of a network that is not ours alone are not ours to change.
    let own_network = rights.has(CapabilitySet::NET_ADMIN);
    ops.push(Op::ReadOnly {
        paths: hidden.read_only.clone(),
        but: own_network.then(|| "/proc/sys/net".to_owned()),
    });
    if run.ram_size > 0 {
        let size = run.ram_size.to_string();
        let options = [("mode", "0755"), ("size", &*size)];
        ops.push(Op::Mount(Mount::new("tmpfs", &options, SAFE, "/run")));
    }
    if has_cgroup {
        // What an init would mount itself, if it could.
        let cgroups = Mount::new("cgroup2", &[], NOEXEC, "/sys/fs/cgroup");
        ops.push(Op::Mount(cgroups));
        if run.ram_size > 0 {
            let options = [("mode", "1777"), ("size", "5m")];
            ops.push(named("tmpfs", &options, NOEXEC, "/run/lock"));
        }
    }
    for (target, bytes) in &run.tmpfs {
        let size = bytes.map(|bytes| bytes.to_string());
        let mut options = vec![("mode", "1777")];
        options.extend(size.as_deref().map(|size| ("size", size)));
        ops.push(named("tmpfs", &options, SAFE, target));
    }
    ops.extend(covers(config).into_iter().map(Op::Cover));
    // Before what BIND names, so that this wins on the same file.
    ops.extend(texts(config, state)?.into_iter().map(Op::Bind));
    ops.extend(run.binds.iter().map(|bind| {
        Op::Bind(Bind {
            source: bind.source.clone(),
            at: bind.target.clone(),
            read_only: bind.read_only,
            make: true,
            text: false,
        })
    }));
    ops.push(Op::Mask(others));
    Ok(ops)
}

fn named(fstype: &str, options: &[(&str, &str)], attributes: u32, at: &str) -> Op {
    Op::Mount(Mount {
        way: Way::Named,
        ..Mount::new(fstype, options, attributes, at)
    })
}

/// The texts that appear inside in the places of the tree's own.
fn texts(config: &Config, state: &State) -> Result<Vec<Bind>> {
    let run = &config.run;
    let bind = |name, text: &str, make| -> Result<Bind> {
        Ok(Bind {
            source: state.write_text(name, text)?,
            at: format!("/etc/{name}"),
            read_only: true,
            make,
            text: true,
        })
    };
    let mut all = vec![bind("hostname", &format!("{}\n", run.hostname), false)?];
    if matches!(config.net, Net::Private(_)) {
        all.push(bind("hosts", &generated::hosts(config), true)?);
    }
    if !run.dns.is_empty() || !run.search.is_empty() || config.has_helper() {
        all.push(bind("resolv.conf", &generated::resolv_conf(config), true)?);
    }
    Ok(all)
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
