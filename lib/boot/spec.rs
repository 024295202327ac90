//! Compiles a config to the spec of PID 1.

use super::{BootRequest, generated, has_own_cgroup, is_init};
use crate::base::error::{Doing, Error, Exit, Result};
use crate::config::{Config, Layer, Net, Pid1, Stop};
use crate::confine::Rights;
use crate::confine::devices::Device;
use crate::init::spec::{self, Bind, Mount, NOEXEC, Op, Own, Process, SAFE, Spec, Way};
use crate::state::{Group, State};
use nix::sys::signal::Signal;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Compiles `config` to the spec of the boot that `request` asks for. Writes the generated files to the state's
/// directory.
///
/// # Errors
/// A file cannot be written; DEVICES names what is not a device.
pub(super) fn compile(
    config: &Config,
    state: &State,
    request: &BootRequest,
    group: &Group,
) -> Result<Spec> {
    let run = &config.run;
    let is_init = is_init(&request.main);
    let rights = config.rights(match is_init {
        true => Pid1::Init,
        false => Pid1::Ours,
    });
    Ok(Spec {
        root: config.root.live.clone(),
        ids: request.ids,
        joins_network: request.joins_network,
        namespaces: vec![Own::Uts, Own::Ipc, Own::Cgroup],
        ops: match has_own_cgroup(&request.main, group) {
            true => ops(config, state, &rights, CgroupMount::Writable)?,
            false => ops(config, state, &rights, CgroupMount::None)?,
        },
        process: Process {
            main: request.main.clone(),
            rights,
            stop_signal: match run.stop {
                Stop::Signal(signal) => signal,
                _ => Signal::SIGTERM as i32,
            },
            stop_timeout: run.stop_timeout,
            log_max: request.stdio.is_none().then_some(run.log_max),
            // An init expects a console, in the background too.
            slaves: request.stdio.map_or([is_init; 3], |stdio| stdio.slaves),
            tied: request.stdio.is_some(),
        },
    })
}

/// Whether the inside finds a cgroup file system.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CgroupMount {
    None,
    /// For the tree's own init, with the directories that such an init would mount if it could.
    Writable,
}

/// Lists the operations that make the inside, in their order.
fn ops(config: &Config, state: &State, rights: &Rights, cgroup: CgroupMount) -> Result<Vec<Op>> {
    let (run, hidden) = (&config.run, &config.confine.hidden);
    let devices = config.confine.devices.iter().map(Device::node);
    let mut ops = vec![Op::Hostname(run.hostname.clone())];
    ops.extend(spec::kernel_mounts(devices.collect::<Result<_>>()?));
    let is_kernels = |path: &String| path.starts_with("/proc/") || path.starts_with("/sys/");
    let masked = hidden.masked.iter().cloned();
    let (kernels, others) = masked.partition(is_kernels);
    ops.push(Op::Mask(kernels));
    // The sysctls of a network namespace that others share stay read-only.
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
    if cgroup == CgroupMount::Writable {
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
    // Before BIND, so that BIND wins on the same file.
    ops.extend(generated_files(config, state)?.into_iter().map(Op::Bind));
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

/// Writes the generated files that cover the tree's own, and returns their binds.
fn generated_files(config: &Config, state: &State) -> Result<Vec<Bind>> {
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

/// Lists the paths inside where a layer shows the host's $SUBHOST, with the configs and trees of all subhosts. Compares
/// device and inode, as a layer may be named by a symbolic link or be a bind mount.
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

/// Writes `spec` to a memfd, from which PID 1 reads it.
pub(super) fn memfd(spec: &Spec) -> Result<OwnedFd> {
    let text = serde_json::to_vec(spec).map_err(|e| {
        Error::new(
            Exit::Failed,
            format!("cannot encode the boot's settings: {e}"),
        )
    })?;
    let fd = memfd_create("subhost", MemfdFlags::CLOEXEC)
        .doing(|| "make room for the boot's settings")?;
    let mut file = File::from(fd);
    file.write_all(&text)
        .and_then(|()| file.rewind())
        .doing(|| "write the boot's settings")?;
    Ok(file.into())
}
