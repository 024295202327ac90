//! The helper of NET=user: pasta or slirp4netns, a program of the host that carries the traffic of an
//! ordinary user's network namespace. It opens connections as a process of the user, never to the host's
//! loopback, and accepts none.

use super::Network;
use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::base::protocol::ToInit;
use crate::kernel::mountinfo::Mark;
use crate::kernel::packets::{send, sockets};
use crate::kernel::proc::{self, Identity};
use crate::plan::steps::helper::{Carrier, Helper, KNOWN};
use crate::plan::{Act, Presence, PresenceQuery, Step, UndoOptions};
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

/// The time that a helper may take to set up its link, and to end.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the command line of the first supported helper that the host has; none if it has none.
pub fn carrier() -> Option<&'static Carrier> {
    let is_there = |line: &&Carrier| {
        let meta = std::fs::metadata(line[0]);
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    KNOWN.into_iter().find(is_there)
}

fn must_have_carrier() -> Result<&'static Carrier> {
    carrier().ok_or_else(|| {
        let what = "NET=user needs pasta or slirp4netns, and neither is in /usr/bin";
        Error::new(Exit::Failed, what).hint("Debian and Ubuntu: apt install passt, or slirp4netns")
    })
}

impl Act<&mut Network> for Helper {
    fn check(&self, _: &mut Network, _: &[Step]) -> Result<()> {
        if !crate::kernel::privilege::has_entered() {
            let what = "NET=user works only without root";
            return Err(Error::new(Exit::Failed, what).hint("NET=private, and BRIDGES"));
        }
        must_have_carrier()?;
        let tun = Path::new("/dev/net/tun");
        // Both helpers make a tap device.
        let opened = File::options().read(true).write(true).open(tun);
        match opened.doing(|| "use /dev/net/tun for NET=user") {
            Err(error) if error.errno == Some(Errno::EACCES) => {
                Err(error.hint("root lets users do so: chmod 666 /dev/net/tun"))
            }
            Err(error) => Err(error.hint("root: modprobe tun")),
            Ok(_) => Ok(()),
        }
    }

    fn present(&self, _: &mut Network, _: PresenceQuery<'_>) -> Result<Presence> {
        let Some(helper) = state_of(&self.netns)?.helper()? else {
            return Ok(Presence::Absent);
        };
        let alive = helper.alive().doing(|| "tell whether the helper lives")?;
        Ok(match alive {
            Some(_) => Presence::Ours,
            None => Presence::Absent,
        })
    }

    fn act(&self, network: &mut Network) -> Result<()> {
        network.start_helper(self)
    }

    fn undo(&self, _: &mut Network, _: Option<&Mark>, _: UndoOptions) -> Result<()> {
        end_helper(&self.netns)
    }
}

fn state_of(netns: &str) -> Result<State> {
    Ok(State::new(&Name::new(netns)?))
}

impl Network {
    /// Starts the helper, and waits until it has made a default route.
    ///
    /// # Errors
    /// The helper cannot be started, or it fails; then the error holds its message.
    fn start_helper(&mut self, helper: &Helper) -> Result<()> {
        let netns = &helper.netns;
        let line = helper.command_line(must_have_carrier()?);
        let state = state_of(netns)?;
        let (socket, theirs) = sockets("the helper")?;
        // We read the helper's messages only if it fails to start. Later nobody reads them, so the helper
        // itself keeps the read end open: it gets no SIGPIPE. The write end is nonblocking: a full pipe does
        // not block it.
        let doing = || "make a pipe to the helper";
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
        rustix::io::ioctl_fionbio(&write, true).doing(doing)?;
        // subhost-init runs the helper only after ToInit::Go, so a kill before the record leaves no helper.
        let mut child = Command::new(crate::kernel::tools::find_tool("subhost-init")?)
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
            let (identity, _) = Identity::open(child.id() as i32).doing(|| "watch the helper")?;
            state.record_helper(&identity)?;
            send(&socket, &ToInit::Go, &[])?;
            self.wait_for_default_route(netns, &mut child, &line[0], read.into())
        })();
        started.inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
            state.forget_helper();
        })
    }

    /// Waits until the namespace has a default route. `messages` is the standard error of the helper.
    fn wait_for_default_route(
        &mut self,
        netns: &str,
        child: &mut Child,
        program: &str,
        messages: File,
    ) -> Result<()> {
        let end = Instant::now() + TIMEOUT;
        loop {
            let socket = self.netlink_socket(netns)?;
            let routes = self.netlink.routes(&socket).doing(|| "list routes")?;
            if routes.iter().any(|(_, prefix, _)| *prefix == 0) {
                return Ok(());
            }
            let ended = child.try_wait().doing(|| "wait for the helper")?;
            if ended.is_some() || Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                let mut text = Vec::new();
                let _ = messages.take(4096).read_to_end(&mut text);
                let text = String::from_utf8_lossy(&text);
                let what = format!("{program} makes no network: {}", shown(text.trim()));
                return Err(
                    Error::new(Exit::Failed, what).hint("it needs a default route of the host")
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn end_helper(netns: &str) -> Result<()> {
    let state = state_of(netns)?;
    let Some(helper) = state.helper()? else {
        return Ok(());
    };
    let alive = helper.alive().doing(|| "tell whether the helper lives")?;
    if let Some(pidfd) = alive {
        // pasta is PID 1 of a pid namespace of its own, and such a process ignores all signals from outside
        // but KILL and STOP (`pid_namespaces(7)`).
        let _ = sys::pidfd_kill(&pidfd, nix::libc::SIGKILL);
        if !proc::wait_for_end(&pidfd, Some(TIMEOUT)) {
            return Err(Error::new(
                Exit::TimedOut,
                "the network's helper does not end on KILL",
            ));
        }
    }
    state.forget_helper();
    Ok(())
}
