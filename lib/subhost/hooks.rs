//! Hooks: programs that the tools run on the host before and after they make or remove something, with the whole config in
//! the environment.

use crate::base::envfile::quote;
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::config::Phase;
use crate::kernel::inherited;
use crate::kernel::proc;
use crate::kernel::signals::default_signals;
use crate::plan::{Part, Plan};
use crate::sys;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

/// PATH of hooks, whatever the caller's is.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the phases before and after a part is made. What is added to a running subhost has none.
pub fn around(part: Part) -> (Option<Phase>, Option<Phase>) {
    match part {
        Part::Root => (Some(Phase::Premount), Some(Phase::Postmount)),
        Part::Net => (Some(Phase::Prenet), Some(Phase::Postnet)),
        Part::Live => (None, None),
    }
}

/// Runs the plan's hook of this phase, if it has one. Its output goes to standard error, as the standard output of a tool is
/// data.
///
/// # Errors
/// It cannot be run; it failed; `TimedOut`, and it has been killed with its children.
pub fn run(plan: &Plan, phase: impl Into<Option<Phase>>) -> Result<()> {
    let Some(phase) = phase.into() else {
        return Ok(());
    };
    let Some((program, args)) = plan.hooks.get(&phase).and_then(|argv| argv.split_first()) else {
        return Ok(());
    };
    let hook = || format!("the {} hook {}", phase.key(), shown(program));
    let out = std::io::stderr();
    let out = std::os::fd::AsFd::as_fd(&out).try_clone_to_owned();
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(&plan.hook_env)
        .env("PATH", PATH)
        .env("PHASE", phase.as_str())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out.map(Stdio::from).unwrap_or_else(|_| Stdio::null()))
        // In a process group of its own, so that a hook that hangs is killed with its children.
        .process_group(0);
    sys::before_exec(&mut command, || {
        default_signals().map_err(|errno| std::io::Error::from_raw_os_error(errno as i32))?;
        inherited::reset_limits();
        inherited::reset_scheduling();
        sys::cloexec_from(3).map_err(|errno| std::io::Error::from_raw_os_error(errno as i32))
    });
    let mut child = command.spawn().doing(|| format!("run {}", hook()))?;
    let pid = child.id() as i32;
    let ended =
        proc::open_pidfd(pid).map(|pidfd| proc::wait_for_end(&pidfd, Some(plan.hook_timeout)));
    if !matches!(ended, Ok(true)) {
        let _ = sys::kill(-pid, nix::libc::SIGKILL);
        let _ = child.wait();
        ended.doing(|| format!("watch {}", hook()))?;
        let seconds = plan.hook_timeout.as_secs_f32();
        return Err(Error::new(
            Exit::TimedOut,
            format!("{} had not ended after {seconds} s and was killed", hook()),
        )
        .hint("HOOK_TIMEOUT gives it longer"));
    }
    let status = child.wait().doing(|| format!("wait for {}", hook()))?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Error::new(
            Exit::Failed,
            format!("{} failed with status {code}", hook()),
        )),
        (_, signal) => Err(Error::new(
            Exit::Failed,
            format!("{} was killed by signal {}", hook(), signal.unwrap_or(0)),
        )),
    }
}

/// Returns the hook as a shell command, for `-n`.
pub fn shell(plan: &Plan, phase: impl Into<Option<Phase>>) -> Option<String> {
    let phase = phase.into()?;
    let argv = plan.hooks.get(&phase)?;
    let mut words = vec!["env -i".to_owned()];
    words.extend(
        plan.hook_env
            .iter()
            .map(|(key, value)| format!("{key}={}", quote(value))),
    );
    words.push(format!("PATH={PATH} PHASE={}", phase.as_str()));
    words.extend(argv.iter().map(|word| quote(word)));
    Some(words.join(" "))
}
