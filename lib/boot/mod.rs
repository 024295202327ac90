//! The booting tool's half: a process that is PID 1 of a new pid namespace, recorded before it
//! does anything, and told what to be. Everything else it takes itself, so that the tool stays on
//! the host and can undo.

mod cross;
mod program;
mod texts;

pub use program::{is_out_of_reach, out_of_reach, sibling, tools_in};

use crate::cgroup::{self, Entry, Group, Who};
use crate::config::{Config, Layer, Net, Stop};
use crate::confine::devices::Device;
use crate::error::{Doing, Errno, Error, Exit, Result};
use crate::init::spec::{Go, Hand, Main, Proceed, Report, Spec, receive, send, sockets};
use crate::init::usual_stop;
use crate::kept;
use crate::login::{PATH, Program};
use crate::proc::{self, Identity};
use crate::spawn::Child;
use crate::state::{Booter, Init, State, boot_id, now};
use crate::terminal::{self, Signals, Terminal, Wiring};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use program::init_command;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Where the consoles of started subhosts are kept.
pub const LOGS: &str = "/var/log/subhost";
/// No honest tree takes this long to be assembled, seconds.
const PATIENCE: u16 = 60;

/// How a subhost is booted.
#[derive(Debug)]
pub struct Order {
    /// What PID 1 does.
    pub main: Main,
    /// How the caller's descriptors reach it; none: in the background, with a log.
    pub wiring: Option<Wiring>,
    /// Who boots.
    pub by: Booter,
    /// First id of its user namespace; none: it has none.
    pub ids: Option<u32>,
    /// It joins a network that is not the host's.
    pub joins_network: bool,
}

/// The network that it joins, which may still be on its way.
pub trait Joined {
    /// The namespace, as soon as there is one; none: the host's. Asked for once.
    ///
    /// # Errors
    /// Why there is none.
    fn namespace(&mut self) -> Result<Option<OwnedFd>>;

    /// Waits until all is there that is to be in it.
    ///
    /// # Errors
    /// Why it is not.
    fn complete(&mut self) -> Result<()>;
}

/// A booted subhost.
#[derive(Debug)]
pub struct Booted {
    child: Child,
    socket: OwnedFd,
    terminal: Option<Terminal>,
    pidfd: OwnedFd,
}

/// What our PID 1 runs when the subhost is started.
pub fn started(config: &Config) -> Main {
    let run = &config.run;
    let program = |argv: &[String]| Program {
        argv: argv.to_vec(),
        user: run.user.clone(),
        dir: run.dir.clone(),
        env: run.env.clone(),
        term: None,
        rights: config.rights(!run.init.is_empty()),
        labels: run.labels.clone(),
    };
    if !run.init.is_empty() {
        let mut init = program(&run.init);
        for (key, value) in [("container", "subhost"), ("PATH", PATH), ("TERM", "linux")] {
            init.env.entry(key.into()).or_insert_with(|| value.into());
        }
        return Main::Init(init);
    }
    match run.command.is_empty() {
        true => Main::Hold,
        false => Main::Run(program(&run.command)),
    }
}

/// Boots. The root is mounted.
///
/// # Errors
/// Why it is not up, or why the network is not; nothing of the boot is left then.
pub fn boot(
    config: &Config,
    state: &State,
    network: &mut dyn Joined,
    order: Order,
) -> Result<Booted> {
    // What ended by itself left its own behind.
    state.remove_cgroups()?;
    let is_init = matches!(order.main, Main::Init(_));
    let plan = cgroup::Plan::of(config, is_init)?;
    let planned = plan.group.clone();
    // Before they are made: if we are killed between, somebody knows of them.
    if !planned.is_empty() {
        state.record_cgroups(&planned)?;
    }
    let group = plan.make().inspect_err(|error| {
        // What could not be removed again is still what the record says.
        if error.also.is_empty() {
            state.forget_cgroups();
        }
    })?;
    let booted = match group == planned {
        true => Ok(()),
        false => state.record_cgroups(&group),
    };
    let booted = booted.and_then(|()| boot_in(config, state, network, order, &group));
    booted.map_err(|error| {
        let left = state.remove_cgroups();
        state.forget();
        error.also(left.err())
    })
}

fn boot_in(
    config: &Config,
    state: &State,
    network: &mut dyn Joined,
    order: Order,
    group: &Group,
) -> Result<Booted> {
    let is_init = matches!(order.main, Main::Init(_));
    // An init in the background has a console all the same: it expects one.
    let slaves = match order.wiring {
        Some(wiring) => wiring.slaves,
        None => [is_init; 3],
    };
    let mut spec = spec(config, state, &order, slaves)?;
    spec.has_cgroup = is_init && group.unified().is_some();
    if let (Some(base), true) = (order.ids, spec.has_cgroup) {
        // It is to manage its own.
        group.give_to(base)?;
    }
    let log = match order.wiring {
        None => Some(open_log(config)?),
        Some(_) => None,
    };
    // Without it the boot takes longer.
    if let Err(error) = kept::prepare() {
        crate::cli::tell(Some(&config.name), || error.to_string());
    }
    let last = state.for_init()?;
    // Who goes into a user namespace takes it along.
    let taken = match order.ids {
        Some(_) => network.namespace()?,
        None => None,
    };
    let (socket, theirs) = sockets("PID 1")?;
    let (child, program) = spawn(&theirs, log.as_ref(), group, order.ids.is_some())?;
    drop(theirs);
    let child = match order.ids {
        None => child,
        Some(base) => {
            let own = matches!(config.net, Net::Private(_));
            let (child, unmapped) =
                cross::born(child, &socket, &memfd(&spec)?, taken.as_ref(), own, base)?;
            for path in unmapped {
                let what = format!("{path} belongs to nobody inside: its ids cannot be mapped");
                crate::cli::warn(Some(&config.name), &what);
            }
            child
        }
    };
    // Until it is told to go on it does nothing, and ends if we do.
    let (identity, pidfd) = Identity::of(child.id()).doing(|| "watch PID 1")?;
    let mut booted = Booted {
        child,
        socket,
        terminal: None,
        pidfd,
    };
    let record = Init {
        boot: boot_id()?.to_owned(),
        tree: config.tree.clone(),
        identity,
        by: order.by,
        ids: order.ids,
        since: now(),
        up: false,
        asked: false,
        own: is_init,
        stop: config.run.stop.clone(),
        stop_timeout: config.run.stop_timeout,
        env: config.run.env.clone(),
        rights: spec.rights.clone(),
        labels: config.run.labels.clone(),
        console: None,
    };
    let up = state.record(&record).and_then(|()| {
        let memfd = memfd(&spec)?;
        let mut fds = vec![memfd.as_raw_fd(), last.as_raw_fd()];
        let namespace = match order.ids {
            Some(_) => None,
            None => network.namespace()?,
        };
        fds.extend(namespace.as_ref().map(AsRawFd::as_raw_fd));
        send(&booted.socket, &Go, &fds)?;
        // Not before: to let go of a mount takes the kernel a while.
        drop(program);
        network.complete()?;
        booted.proceed()?;
        booted.wait_until_up(is_init)
    });
    let up = up.and_then(|()| {
        let terminal = booted.terminal.take();
        let console = match (&log, terminal) {
            (Some(log), Some(terminal)) if is_init => Some(console(
                &terminal,
                log,
                config.run.log_max,
                &last,
                &booted.pidfd,
            )?),
            (_, terminal) => {
                booted.terminal = terminal;
                None
            }
        };
        state.record(&Init {
            up: true,
            console,
            ..record
        })
    });
    match up {
        Ok(()) => Ok(booted),
        Err(error) => {
            booted.kill();
            Err(error)
        }
    }
}

fn spec(config: &Config, state: &State, order: &Order, slaves: [bool; 3]) -> Result<Spec> {
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

fn open_log(config: &Config) -> Result<OwnedFd> {
    match std::fs::DirBuilder::new().mode(0o700).create(LOGS) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(e).doing(|| format!("make the directory {LOGS}"));
        }
        _ => {}
    }
    let is_dir = std::fs::symlink_metadata(LOGS).is_ok_and(|meta| meta.is_dir());
    if !is_dir {
        let what = format!("{LOGS} is not a directory");
        return Err(Error::new(Exit::Failed, what));
    }
    let path = Path::new(LOGS).join(format!("{}.log", config.name));
    let file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK)
        .open(&path)
        .doing(|| format!("open {}", path.display()))?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        let what = format!("{} is not a regular file", path.display());
        return Err(Error::new(Exit::Failed, what));
    }
    Ok(file.into())
}

fn memfd(spec: &Spec) -> Result<OwnedFd> {
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

/// Spawns the process in its cgroups, and in a pid namespace of its own unless it `crosses` and makes
/// that itself. Gives what it was executed by, too.
fn spawn(
    socket: &OwnedFd,
    log: Option<&OwnedFd>,
    group: &Group,
    crosses: bool,
) -> Result<(Child, OwnedFd)> {
    let (program, mut command) = init_command()?;
    if crosses {
        command.arg("--cross");
    }
    command.arg(&socket.as_raw_fd().to_string());
    if let Some(log) = log {
        let to = || log.try_clone().doing(|| "open the log");
        command.stdio(0, null()?);
        command.stdio(1, to()?);
        command.stdio(2, to()?);
    }
    let entry = group.entry(Who::Init)?;
    let flags = match crosses {
        true => CloneFlags::empty(),
        false => CloneFlags::CLONE_NEWPID,
    };
    let child = command.spawn(flags, &entry, || Ok(()));
    Ok((child.doing(|| "start PID 1")?, program))
}

/// The host's /dev/null.
fn null() -> Result<OwnedFd> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.map(Into::into).doing(|| "open /dev/null")
}

/// Leaves a process behind that writes an init's console to the log.
fn console(
    terminal: &Terminal,
    log: &OwnedFd,
    log_max: u64,
    last: &File,
    pidfd: &OwnedFd,
) -> Result<Identity> {
    let (socket, theirs) = sockets("the console's logger")?;
    let (_program, mut command) = init_command()?;
    command.arg("--console");
    command.arg(&theirs.as_raw_fd().to_string());
    command.arg(&log_max.to_string());
    for number in 0..3 {
        command.stdio(number, null()?);
    }
    let child = command.spawn(CloneFlags::empty(), &Entry::default(), || {
        nix::unistd::chdir("/")
    });
    let child = child.doing(|| "start the console's logger")?;
    let identity = Identity::of(child.id()).doing(|| "watch the console's logger")?;
    let fds = [
        terminal.master.as_raw_fd(),
        terminal.slave.as_raw_fd(),
        log.as_raw_fd(),
        last.as_raw_fd(),
        pidfd.as_raw_fd(),
    ];
    send(&socket, &Go, &fds)?;
    Ok(identity.0)
}

fn is_ready(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
}

/// Waits until there is a report, or its sender has ended without one.
fn wait_for_report(socket: &OwnedFd, sender: Option<&OwnedFd>) -> Result<()> {
    let fds = std::iter::once(socket).chain(sender);
    let mut fds: Vec<PollFd> = fds
        .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
        .collect();
    loop {
        match poll(&mut fds, PollTimeout::from(PATIENCE * 1000)) {
            Ok(0) => {
                let what = format!("the inside was not up after {PATIENCE} s");
                return Err(Error::new(Exit::TimedOut, what));
            }
            // What it sent comes before its end.
            Ok(_) if fds[0].any() == Some(false) && !is_ready(socket) => {
                return Err(terminal::lost());
            }
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::sys("wait for PID 1", errno)),
        }
    }
}

impl Booted {
    fn proceed(&self) -> Result<()> {
        match send(&self.socket, &Proceed, &[]) {
            // It has failed, and said why.
            Err(error) if error.errno == Some(Errno::EPIPE) => Ok(()),
            other => other,
        }
    }

    fn wait_until_up(&mut self, is_init: bool) -> Result<()> {
        loop {
            wait_for_report(&self.socket, None)?;
            match receive::<Report>(&self.socket)? {
                Some((Report::Terminal, fds)) => {
                    let pair = <[OwnedFd; 2]>::try_from(fds).ok();
                    self.terminal = pair.map(|[master, slave]| Terminal { master, slave });
                }
                Some((Report::Up, _)) => return Ok(()),
                Some((report, _)) => {
                    return Err(report.error().unwrap_or_else(terminal::lost));
                }
                // An init closes the socket by being executed.
                None if is_init && !proc::has_ended(&self.pidfd) => return Ok(()),
                None => return Err(terminal::lost()),
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill();
    }

    /// Stays until PID 1 has ended; gives its status as a shell would (128+N for signal N).
    ///
    /// # Errors
    /// The wait failed.
    pub fn attend(self, wiring: Wiring, signals: &Signals) -> Result<u8> {
        let hand_on = |signal| {
            // An init of the tree's own has closed the socket and takes signals itself.
            if send(&self.socket, &Hand(signal), &[]).is_err() {
                let _ = crate::sys::pidfd_kill(&self.pidfd, signal);
            }
        };
        terminal::carry(
            wiring,
            self.terminal.as_ref(),
            signals,
            &self.pidfd,
            hand_on,
        )?;
        let status = self.child.wait();
        let status = status.doing(|| "wait for PID 1")?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => code as u8,
            (_, signal) => 128 + signal.unwrap_or(0) as u8,
        })
    }
}
