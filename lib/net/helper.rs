//! NET=user: what goes in and out of a network of an ordinary user's is carried by a helper, pasta or
//! slirp4netns, which the host has. It makes connections as the user's processes do, never to the host's
//! own loopback, and lets none in.

use super::Network;
use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::kernel::packets::{Go, send, sockets};
use crate::kernel::proc::{self, Identity};
use crate::net::netns;
use crate::plan::Presence;
use crate::state::State;
use crate::sys;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where queries for names go inside: the helper hands them to the host's name server.
pub const DNS: &str = "10.0.2.3";

/// Those that are known, the better first. `NETNS` stands for the namespace.
const KNOWN: [&[&str]; 2] = [
    &[
        "/usr/bin/pasta",
        "--foreground",
        "--quiet",
        "--config-net",
        "--no-map-gw",
        "--tcp-ports",
        "none",
        "--udp-ports",
        "none",
        "--tcp-ns",
        "none",
        "--udp-ns",
        "none",
        "--dns-forward",
        DNS,
        "--netns-only",
        "--netns",
        "NETNS",
    ],
    &[
        "/usr/bin/slirp4netns",
        "--configure",
        "--disable-host-loopback",
        "--netns-type=path",
        "NETNS",
        "eth0",
    ],
];

/// How long a helper may take to set up its link.
const PATIENCE: Duration = Duration::from_secs(10);

/// The command line of the helper that this host has.
///
/// # Errors
/// It has none.
pub(super) fn command_line(netns: &str) -> Result<Vec<String>> {
    let is_there = |line: &&&[&str]| {
        let meta = std::fs::metadata(line[0]);
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let Some(line) = KNOWN.iter().find(is_there) else {
        let what = "NET=user needs pasta or slirp4netns, and neither is in /usr/bin";
        return Err(Error::new(Exit::Failed, what)
            .hint("Debian and Ubuntu: apt install passt, or slirp4netns"));
    };
    let path = netns::path(netns).to_string_lossy().into_owned();
    let word = |word: &&str| match *word {
        "NETNS" => path.clone(),
        word => word.to_owned(),
    };
    Ok(line.iter().map(word).collect())
}

/// What must hold before a helper is started.
///
/// # Errors
/// There is none, or it could not work.
pub(super) fn check(netns: &str) -> Result<()> {
    if !crate::kernel::privilege::has_entered() {
        let what = "NET=user is for ordinary users: root has cables";
        return Err(Error::new(Exit::Failed, what).hint("NET=private, and BRIDGES"));
    }
    command_line(netns)?;
    let tun = Path::new("/dev/net/tun");
    let opened = File::options().read(true).write(true).open(tun);
    match opened.doing(|| "use /dev/net/tun for NET=user") {
        Err(error) if error.errno == Some(Errno::EACCES) => {
            Err(error.hint("root lets users do so: chmod 666 /dev/net/tun"))
        }
        Err(error) => Err(error.hint("root: modprobe tun")),
        Ok(_) => Ok(()),
    }
}

fn state_of(netns: &str) -> Result<State> {
    Ok(State::of(&Name::new(netns)?))
}

impl Network {
    pub(super) fn helper_present(&mut self, netns: &str) -> Result<Presence> {
        let Some(helper) = state_of(netns)?.helper()? else {
            return Ok(Presence::Absent);
        };
        let alive = helper.alive().doing(|| "tell whether the helper lives")?;
        Ok(match alive {
            Some(_) => Presence::Ours,
            None => Presence::Absent,
        })
    }

    /// Starts the helper, and waits until it has made a way out.
    pub(super) fn start_helper(&mut self, netns: &str) -> Result<()> {
        let line = command_line(netns)?;
        let state = state_of(netns)?;
        let (socket, theirs) = sockets("the helper")?;
        // What it says is for us if it fails. Later it is lost: a pipe that it holds both ends of neither
        // ends it nor grows.
        let doing = || "make a pipe to the helper";
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
        rustix::io::ioctl_fionbio(&write, true).doing(doing)?;
        // It does nothing, and ends if we do, until it has been recorded.
        let mut child = Command::new(crate::kernel::tools::sibling("subhost-init")?)
            .args(["--helper", &theirs.as_raw_fd().to_string()])
            .args(&line)
            .env_clear()
            .current_dir("/")
            .stdin(read.try_clone().map(Stdio::from).doing(doing)?)
            .stdout(Stdio::null())
            .stderr(Stdio::from(write))
            .spawn()
            .doing(|| format!("start {}", line[0]))?;
        drop(theirs);
        let started = (|| {
            let (identity, _) = Identity::of(child.id() as i32).doing(|| "watch the helper")?;
            state.record_helper(&identity)?;
            send(&socket, &Go, &[])?;
            self.wait_for_way_out(netns, &mut child, &line[0], read.into())
        })();
        started.inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
            state.forget_helper();
        })
    }

    fn wait_for_way_out(
        &mut self,
        netns: &str,
        child: &mut Child,
        program: &str,
        said: File,
    ) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let handle = self.handle(netns)?;
            let routes = self.netlink.routes(&handle).doing(|| "list routes")?;
            if routes.iter().any(|(_, prefix, _)| *prefix == 0) {
                return Ok(());
            }
            let ended = child.try_wait().doing(|| "wait for the helper")?;
            if ended.is_some() || Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                let mut text = Vec::new();
                let _ = said.take(4096).read_to_end(&mut text);
                let said = String::from_utf8_lossy(&text);
                let what = format!("{program} makes no way out: {}", shown(said.trim()));
                return Err(Error::new(Exit::Failed, what)
                    .hint("it takes the host's own: is there a default route?"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn end_helper(&mut self, netns: &str) -> Result<()> {
        let state = state_of(netns)?;
        let Some(helper) = state.helper()? else {
            return Ok(());
        };
        let alive = helper.alive().doing(|| "tell whether the helper lives")?;
        if let Some(pidfd) = alive {
            // pasta is PID 1 of a namespace of its own, and hears nothing else.
            let _ = sys::pidfd_kill(&pidfd, nix::libc::SIGKILL);
            if !proc::wait(&pidfd, Some(PATIENCE)) {
                return Err(Error::new(
                    Exit::TimedOut,
                    "the network's helper does not end on KILL",
                ));
            }
        }
        state.forget_helper();
        Ok(())
    }
}
