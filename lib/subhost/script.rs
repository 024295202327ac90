//! Plans as shell scripts, for `-n`.

use super::Subhost;
use super::parts::refuse_foreign;
use super::stop::{Asking, asking};
use crate::base::envfile::quote;
use crate::base::error::Result;
use crate::config::Phase;
use crate::kernel::mountinfo::Mounts;
use crate::kernel::proc::is_in_user_namespace;
use crate::net::{self, Network};
use crate::plan::steps::shell::Host;
use crate::plan::{Part, Presence, Recorded, Step};
use crate::state::Running;
use crate::subhost::hooks;

impl Subhost {
    /// Returns the shell commands that bring up one part, without what is there already.
    ///
    /// # Errors
    /// As [`Subhost::mount`] and [`Subhost::net`], as far as can be told without making anything.
    pub fn script_up(&self, part: Part) -> Result<String> {
        let mounts = Mounts::later();
        let mut network = Network::new();
        let frozen = self.frozen(part)?;
        let is_frozen = frozen.is_some();
        let recorded = match is_frozen {
            true => Recorded::Yes,
            false => Recorded::No,
        };
        let plan = match frozen {
            Some(plan) => plan,
            None => self.plan(part)?.into(),
        };
        let steps = self.presences(&plan, recorded, &mounts, &mut network)?;
        refuse_foreign(&steps)?;
        let has_helper = plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::Helper(_)));
        let host = Host {
            in_user_namespace: is_in_user_namespace(),
            carrier: has_helper.then(net::carrier).flatten(),
        };
        let mut lines = Vec::new();
        let mut executor = self.executor(&mounts, &mut network);
        for (planned, presence) in &steps {
            if *presence == Presence::Absent {
                executor.check(planned.step, &plan.steps)?;
                lines.extend(planned.step.shell_up(&host));
            }
        }
        let (before, after) = hooks::around(part);
        if !lines.is_empty() && !is_frozen {
            lines.splice(0..0, hooks::shell(&plan, before));
            lines.extend(hooks::shell(&plan, after));
        }
        Ok(script(&lines))
    }

    /// Returns the shell commands that take down one part.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub fn script_down(&self, part: Part) -> Result<String> {
        self.must_exist()?;
        Ok(script(&self.commands_down(&[part])?))
    }

    /// Returns the shell commands of a stop: they end the processes, then take down `parts`.
    ///
    /// # Errors
    /// State or kernel cannot be read.
    pub fn script_stop(&self, parts: &[Part]) -> Result<String> {
        self.must_exist()?;
        let mut lines = Vec::new();
        let frozen = match self.frozen(Part::Root)? {
            Some(plan) => Some(plan),
            None => self.frozen(Part::Net)?,
        };
        let hook = |phase| frozen.as_ref().and_then(|plan| hooks::shell(plan, phase));
        lines.extend(hook(Phase::Prestop));
        if let Some(running) = self.running()? {
            lines.extend(self.script_end(&running));
        }
        lines.extend(self.commands_down(parts)?);
        lines.extend(hook(Phase::Poststop));
        Ok(script(&lines))
    }

    fn commands_down(&self, parts: &[Part]) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mounts = Mounts::later();
        let mut network = Network::new();
        for part in parts {
            let (plan, recorded) = match self.frozen(*part)? {
                Some(plan) => (plan, Recorded::Yes),
                None => match self
                    .config()
                    .and_then(|config| self.found(&config, *part, &mounts, &mut network))
                {
                    Ok(plan) => (plan.into(), Recorded::No),
                    Err(_) => continue,
                },
            };
            for (planned, presence) in self
                .presences(&plan, recorded, &mounts, &mut network)?
                .iter()
                .rev()
            {
                if *presence == Presence::Ours {
                    lines.extend(planned.step.shell_down());
                }
            }
            if recorded == Recorded::Yes {
                let file = self.state.dir().join(part.file());
                lines.push(format!("rm -f {}", quote(&file.to_string_lossy())));
            }
        }
        Ok(lines)
    }

    /// Returns the commands that end PID 1: they ask it, wait, and kill it.
    fn script_end(&self, running: &Running) -> Vec<String> {
        let pid = running.init.identity.pid;
        let tenths = running.init.stop_timeout.as_millis() / 100;
        let gone = format!("[ ! -d /proc/{pid} ]");
        let ask = match asking(&running.init) {
            Asking::Command(argv) => {
                let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
                format!("nsenter -t {pid} -a {}", words.join(" "))
            }
            Asking::Signal(signal) => format!("kill -{signal} {pid}"),
        };
        let group = self.state.cgroups().unwrap_or_default();
        let thaw = group
            .freezer()
            .filter(|_| group.is_frozen())
            .map(|(file, _, thawed)| format!("echo {thawed} >{}", quote(&file.to_string_lossy())));
        let end = vec![
            ask,
            format!("i=0; until {gone} || [ $i -ge {tenths} ]; do sleep 0.1; i=$((i + 1)); done"),
            format!("{gone} || kill -KILL {pid}"),
            format!("until {gone}; do sleep 0.1; done"),
        ];
        thaw.into_iter().chain(end).collect()
    }
}

fn script(lines: &[String]) -> String {
    let mut text = String::from("set -e\n");
    for line in lines {
        text += line;
        text.push('\n');
    }
    text
}
