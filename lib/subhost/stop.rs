//! Stop: processes, root, network, whatever fails on the way.

use super::{KILL_TIMEOUT, Source, StopHow, Subhost};
use crate::base::error::{Doing, Errno, Error, Exit, Result, shown};
use crate::base::message;
use crate::config::{self, Phase, Stop};
use crate::enter;
use crate::init::{UsualStop, usual_stop};
use crate::kernel::clock::now;
use crate::kernel::holders::{self, Holder};
use crate::kernel::proc::{self, Namespace};
use crate::plan::Part;
use crate::state::{Init, Last, Running};
use crate::subhost::hooks;
use crate::sys;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

impl Subhost {
    /// Takes down processes, root and network, whatever fails on the way.
    ///
    /// # Errors
    /// What is left, and who holds it.
    pub fn stop(&self, how: StopHow) -> Result<()> {
        self.must_be_known()?;
        self.set_stop_timeout()?;
        self.locked(|held| held.stop_locked(how))
    }

    pub(crate) fn stop_locked(&self, how: StopHow) -> Result<()> {
        let mut errors = Vec::new();
        let plan = match self.frozen(Part::Root) {
            Ok(Some(plan)) => Some(plan),
            Ok(None) => self.frozen(Part::Net)?,
            Err(error) => return Err(error),
        };
        let hook = |phase| plan.as_ref().map_or(Ok(()), |plan| hooks::run(plan, phase));
        if !how.keep {
            errors.extend(hook(Phase::Prestop).err());
        }
        if let Some(running) = self.running()? {
            // Mounts and network of a process that does not end cannot be removed.
            let ending = match how.kill {
                true => Ending::Killed,
                false => Ending::AskedFirst,
            };
            self.end(&running, ending)?;
            // The logger of its console ends when it has written the rest.
            let logger = running.init.console.map(|console| console.alive());
            if let Some(Ok(Some(logger))) = logger {
                proc::wait_for_end(&logger, Some(Duration::from_secs(2)));
            }
        }
        errors.extend(self.state.remove_cgroups().err());
        self.state.forget();
        if how.keep {
            return Error::collect(errors);
        }
        if how.kill_holders {
            errors.extend(self.end_holders().err());
        }
        errors.extend(self.down_parts(&Part::FROM_CONFIG, how).err());
        errors.extend(hook(Phase::Poststop).err());
        Error::collect(errors)
    }

    /// Ends PID 1, and all processes inside with it.
    pub(super) fn end(&self, running: &Running, how: Ending) -> Result<()> {
        let at_once = how == Ending::Killed;
        let group = self.state.cgroups()?;
        let frozen = group.is_frozen();
        if frozen && !at_once {
            // A frozen process takes no signal but KILL.
            group.thaw()?;
        }
        // A PID 1 that never came up has no handler yet, and the tool that booted it is gone.
        let is_asked = !at_once && running.init.up;
        let before = self.state.recorded_last();
        let asked = match is_asked {
            true => self.end_by_itself(running),
            false => Ok(false),
        };
        if let Ok(true) = asked {
            return Ok(());
        }
        let killed = match is_asked {
            true => describe_inside(running),
            false => Vec::new(),
        };
        if !killed.is_empty() {
            let when = match &asked {
                Ok(_) => format!(" after {} s", self.stop_timeout(running).as_secs_f32()),
                // It could not be asked: to wait for it would be in vain.
                Err(error) => {
                    message::report(Some(&self.name), error);
                    String::new()
                }
            };
            let text = format!("killed{when}: {}", killed.join(", "));
            message::warn(Some(&self.name), &text);
        }
        sys::pidfd_kill(&running.pidfd, Signal::SIGKILL as i32)
            .or_else(|errno| {
                if errno == Errno::ESRCH {
                    Ok(())
                } else {
                    Err(errno)
                }
            })
            .doing(|| format!("kill PID 1 (pid {})", running.init.identity.pid))?;
        if frozen && at_once {
            // In a v1 freezer it ends when it is thawed.
            let _ = group.thaw();
        }
        if !proc::wait_for_end(&running.pidfd, Some(Duration::from_millis(300))) {
            wake_parents(running);
        }
        if !proc::wait_for_end(&running.pidfd, Some(KILL_TIMEOUT)) {
            return Err(Error::new(
                Exit::TimedOut,
                format!(
                    "its PID 1 (pid {}) does not end on KILL",
                    running.init.identity.pid
                ),
            )
            .hint(
                "it is in an uninterruptible wait, perhaps for a disk or a network file system",
            ));
        }
        self.record_kill(before, killed);
        Ok(())
    }

    /// Records that a stop has killed PID 1. If RUN ended at the stop's request, PID 1 has recorded that meanwhile: LAST is then
    /// another one than `before`, and keeps its exit status.
    fn record_kill(&self, before: Option<Last>, killed: Vec<String>) {
        let now_recorded = self.state.recorded_last();
        let ended = now_recorded.filter(|last| Some(last) != before.as_ref());
        let kill = Last {
            when: now(),
            exit: None,
            signal: Some(Signal::SIGKILL as i32),
            out_of_memory: Some(false),
            killed: Vec::new(),
        };
        self.state.record_last(&Last {
            killed,
            ..ended.unwrap_or(kill)
        });
    }

    /// Asks PID 1 to end and waits for STOP_TIMEOUT. Returns whether it has ended.
    ///
    /// # Errors
    /// It cannot be asked.
    fn end_by_itself(&self, running: &Running) -> Result<bool> {
        let timeout = self.stop_timeout(running);
        let deadline = Instant::now() + timeout;
        // If we are killed now, a start must not take it for one that runs on. A full /run must not keep a stop from
        // ending it.
        let _ = self.state.record(&Init {
            asked: true,
            ..running.init.clone()
        });
        self.ask(running, deadline)?;
        let mut pause = Duration::from_millis(300);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if proc::wait_for_end(&running.pidfd, Some(pause.min(left))) {
                return Ok(true);
            }
            if left <= pause {
                return Ok(false);
            }
            wake_parents(running);
            if pause > Duration::from_secs(1) {
                message::waiting(&self.name, || {
                    let inside = describe_inside(running).join(", ");
                    let seconds = left.saturating_sub(pause).as_secs();
                    format!("waiting for {inside}; kills in {seconds} s")
                });
            }
            pause = (pause * 5).min(Duration::from_secs(10));
        }
    }

    /// Returns how long PID 1 may take to end: `--set STOP_TIMEOUT`, or what it was booted with.
    fn stop_timeout(&self, running: &Running) -> Duration {
        let set = self.set_stop_timeout().ok().flatten();
        set.unwrap_or(running.init.stop_timeout)
    }

    /// Returns the STOP_TIMEOUT of `--set`.
    ///
    /// # Errors
    /// It is not a duration.
    fn set_stop_timeout(&self) -> Result<Option<Duration>> {
        match &self.source {
            Source::Files(set) => config::set_stop_timeout(set),
            Source::Config(_) => Ok(None),
        }
    }

    fn ask(&self, running: &Running, deadline: Instant) -> Result<()> {
        let init = &running.init;
        let term = Signal::SIGTERM as i32;
        let (command, signal) = match asking(init) {
            Asking::Command(argv) => (Some(argv), term),
            Asking::Signal(signal) => (None, signal),
        };
        if let Some(argv) = command {
            let left = deadline.saturating_duration_since(Instant::now());
            match enter::run_by_tool(&self.tree, &self.name, &argv, left) {
                Ok(0) => {
                    if !init.own {
                        // So that it tells the rest as well when RUN has ended.
                        let _ = ask_ours(running, Signal::SIGPWR, deadline);
                    }
                    return Ok(());
                }
                Ok(status) => message::warn(
                    Some(&self.name),
                    &format!(
                        "{} inside exited with {status}: sending TERM instead",
                        shown(&argv[0])
                    ),
                ),
                Err(error) => message::report(Some(&self.name), &error),
            }
        }
        if init.own {
            wait_for_handler(init.identity.pid, signal);
        }
        let asked = match init.own {
            true => sys::pidfd_kill(&running.pidfd, signal),
            false => ask_ours(running, Signal::SIGTERM, deadline),
        };
        match asked {
            Err(errno) if errno != Errno::ESRCH => {
                let pid = init.identity.pid;
                Err(Error::sys(format!("ask PID 1 (pid {pid}) to end"), errno))
            }
            _ => Ok(()),
        }
    }

    fn end_holders(&self) -> Result<()> {
        let mut held = Vec::new();
        if let Some(plan) = self.frozen(Part::Net)? {
            held.extend(self.net_holders(&plan)?);
        }
        if let Some(plan) = self.frozen(Part::Root)? {
            held.extend(holders::find_on_mount(&plan.live));
        }
        end_processes(&held);
        Ok(())
    }
}

/// Ends processes of the host, but not this one and its ancestors.
pub(super) fn end_processes(held: &[Holder]) {
    let spared = holders::ancestors();
    let mut pidfds = Vec::new();
    for holder in held.iter().filter(|holder| !spared.contains(&holder.pid)) {
        if let Ok(pidfd) = proc::open_pidfd(holder.pid) {
            let _ = sys::pidfd_kill(&pidfd, Signal::SIGTERM as i32);
            let _ = sys::pidfd_kill(&pidfd, Signal::SIGHUP as i32);
            pidfds.push(pidfd);
        }
    }
    for pidfd in &pidfds {
        if !proc::wait_for_end(pidfd, Some(Duration::from_secs(2))) {
            let _ = sys::pidfd_kill(pidfd, Signal::SIGKILL as i32);
            proc::wait_for_end(pidfd, Some(KILL_TIMEOUT));
        }
    }
}

/// Sends our PID 1 a signal with the time that it has. It ends by itself a little later than the stop kills it, so that the
/// stop can say what it kills.
fn ask_ours(
    running: &Running,
    signal: Signal,
    deadline: Instant,
) -> std::result::Result<(), Errno> {
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(2);
    let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
    sys::pidfd_queue(&running.pidfd, signal as i32, millis)
}

/// Describes the processes inside, PID 1 only if there is no other.
fn describe_inside(running: &Running) -> Vec<String> {
    const MOST: usize = 8;
    let pid_1 = running.init.identity.pid;
    let Some(inside) = Namespace::Pid.inode_of(pid_1) else {
        return Vec::new();
    };
    let is_inside = |pid: &i32| *pid != pid_1 && Namespace::Pid.inode_of(*pid) == Some(inside);
    let is_alive = |pid: &i32| proc::Stat::find(*pid).is_some_and(|stat| !stat.exiting);
    let describe = |pid: i32| format!("{} (pid {pid})", shown(holders::command(pid)));
    let mut pids: Vec<i32> = holders::pids().filter(is_inside).filter(is_alive).collect();
    if pids.is_empty() {
        pids.push(pid_1);
    }
    let more = pids.len().saturating_sub(MOST);
    let mut words: Vec<String> = pids.into_iter().take(MOST).map(describe).collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words
}

/// How PID 1 is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is asked, given its time, and then killed.
    AskedFirst,
    /// It is killed at once.
    Killed,
}

/// How PID 1 is asked to end.
pub(super) enum Asking {
    /// By a command that is run inside.
    Command(Vec<String>),
    /// By a signal.
    Signal(i32),
}

/// Returns how a stop asks PID 1 to end: as STOP says, or as such an init usually is.
pub(super) fn asking(init: &Init) -> Asking {
    let usual = || usual_stop(&executable(init.identity.pid));
    match (&init.stop, init.own) {
        (Stop::Command(argv), _) => Asking::Command(argv.clone()),
        // On TERM our PID 1 sends RUN the signal of STOP.
        (_, false) => Asking::Signal(Signal::SIGTERM as i32),
        (Stop::Signal(signal), true) => Asking::Signal(*signal),
        (Stop::Usual, true) => match usual() {
            UsualStop::Signal(signal) => Asking::Signal(signal),
            UsualStop::Command(words) => {
                Asking::Command(words.iter().map(|word| (*word).to_owned()).collect())
            }
        },
    }
}

fn executable(pid: i32) -> String {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Waits until PID 1 handles `signal`, at most 2 s: the kernel discards signals to a PID 1 that has no handler for them, as
/// an init that has just been started.
fn wait_for_handler(pid: i32, signal: i32) {
    let unheard = [Signal::SIGKILL as i32, Signal::SIGSTOP as i32];
    for _ in 0..if unheard.contains(&signal) { 0 } else { 200 } {
        // Its name need not be UTF-8.
        let status = std::fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let handled = ["SigCgt:", "SigBlk:"].iter().any(|field| {
            let mask = status
                .lines()
                .find_map(|line| u64::from_str_radix(line.strip_prefix(field)?.trim(), 16).ok());
            mask.unwrap_or(0) >> (signal - 1) & 1 == 1
        });
        if handled {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Continues the stopped `subhost-enter`s of a subhost. PID 1 cannot end before all processes inside have been reaped, and
/// those of a `subhost-enter` that is stopped (Ctrl-Z, or a read from the terminal in the background) stay zombies.
fn wake_parents(running: &Running) {
    let Some(inside) = Namespace::Pid.inode_of(running.init.identity.pid) else {
        return;
    };
    for pid in holders::pids() {
        let Some(stat) = proc::Stat::find(pid).filter(|stat| stat.parent > 1) else {
            continue;
        };
        if Namespace::Pid.inode_of(pid) == Some(inside)
            && Namespace::Pid.inode_of(stat.parent) != Some(inside)
            && holders::command(stat.parent) == "subhost-enter"
        {
            let _ = sys::kill(stat.parent, Signal::SIGCONT as i32);
        }
    }
}
