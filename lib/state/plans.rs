//! The frozen plans of parts. A plan is there from before the first step is made until the last one is undone.

use super::{Init, State};
use crate::base::error::{Doing, Error, Exit, Result};
use crate::kernel::clock::boot_id;
use crate::plan::{Part, Plan};
use std::path::PathBuf;
use std::sync::Arc;

impl State {
    fn plan_file(&self, part: Part) -> PathBuf {
        self.dir.join(part.file())
    }

    /// Returns the frozen plan of a part. Returns `None` if the part is not up, or was up in an earlier boot of the host.
    ///
    /// # Errors
    /// The file is damaged or of another version.
    pub fn plan(&self, part: Part) -> Result<Option<Arc<Plan>>> {
        if let Some(plan) = self.recall(|seen| seen.plans[part as usize].clone()) {
            return Ok(plan);
        }
        // What is added to a running subhost ends with its PID 1, whose record says whether there is any. Those who ask
        // what runs report a record that cannot be read.
        let has_live = || matches!(self.init(), Ok(Some(init)) if init.live);
        let may_be = part != Part::Live || has_live();
        let plan = match may_be {
            true => self.read_plan(part)?.map(Arc::new),
            false => None,
        };
        self.remember(|seen| seen.plans[part as usize] = Some(plan.clone()));
        Ok(plan)
    }

    fn read_plan(&self, part: Part) -> Result<Option<Plan>> {
        let Some(text) = self.read(part.file())? else {
            return Ok(None);
        };
        let plan = Plan::from_text(&text).map_err(|mut e| {
            e.what = format!("{}: {}", self.plan_file(part).display(), e.what);
            e.hint("take down by hand what is up, then remove the file")
        })?;
        Ok((plan.boot == boot_id()?).then_some(plan))
    }

    /// Freezes a plan, before its steps are made.
    ///
    /// # Errors
    /// The file cannot be written. `NotRunning`, for a plan of what is added to a running subhost.
    pub fn freeze(&self, plan: &Plan) -> Result<()> {
        if plan.part == Part::Live {
            self.note_live()?;
        }
        // If the write fails, what the file says is not known.
        self.remember(|seen| seen.plans[plan.part as usize] = None);
        self.write(&self.plan_file(plan.part), plan.to_text()?.as_bytes())?;
        self.remember(|seen| seen.plans[plan.part as usize] = Some(Some(Arc::new(plan.clone()))));
        Ok(())
    }

    /// Notes in the record of PID 1 that there is a plan of what was added. This comes before the plan: without the note no
    /// command would look for it.
    fn note_live(&self) -> Result<()> {
        let Some(init) = self.init()? else {
            return Err(Error::new(Exit::NotRunning, "it is not running"));
        };
        match init.live {
            true => Ok(()),
            false => self.record(&Init { live: true, ..init }),
        }
    }

    /// Removes a plan, of which nothing is up any more.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn thaw(&self, part: Part) -> Result<()> {
        let file = self.plan_file(part);
        self.remember(|seen| seen.plans[part as usize] = None);
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).doing(|| format!("remove {}", file.display()));
            }
            _ => {}
        }
        self.remember(|seen| seen.plans[part as usize] = Some(None));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan of what was added is looked for only if the record of PID 1 notes it.
    #[test]
    fn a_live_plan_is_found_by_the_record_of_pid_1() {
        let root = std::env::temp_dir().join(format!("subhost-live-{}", std::process::id()));
        std::fs::create_dir_all(root.join("w")).unwrap();
        let state = State::at(&root, "w");
        let boot = boot_id().unwrap();
        let plan = r#"{"format":2,"boot":"BOOT","tree":"/t","owner":{"subhost":"w"},"part":"live",
            "kind":"","steps":[],"made":null,"live":"/t/w/live","netns":""}"#;
        let plan = Plan::from_text(&plan.replace("BOOT", boot)).unwrap();
        assert_eq!(state.freeze(&plan).unwrap_err().exit, Exit::NotRunning);
        let init = r#"{"boot":"BOOT","tree":"/t","identity":{"pid":1,"start":0,"inode":0},
            "by":{"tool":"t","pid":null,"tty":null},"since":0,"up":true,"asked":false,"own":false,
            "stop":"Usual","stop_timeout":{"secs":1,"nanos":0},"env":{},"labels":[],"console":null,
            "rights":{"caps":0,"no_new_privs":false,"seccomp":"Default"}}"#;
        let init: Init = serde_json::from_str(&init.replace("BOOT", boot)).unwrap();
        state.record(&init).unwrap();
        assert!(state.plan(Part::Live).unwrap().is_none());
        state.freeze(&plan).unwrap();
        assert_eq!(*state.plan(Part::Live).unwrap().unwrap(), plan);
        state.thaw(Part::Live).unwrap();
        assert!(state.plan(Part::Live).unwrap().is_none());
        std::fs::remove_dir_all(root).unwrap();
    }
}
