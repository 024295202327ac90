//! The frozen plans of its parts: there from before they are made until nothing of them is up.

use super::State;
use crate::base::error::{Doing, Result};
use crate::kernel::clock::boot_id;
use crate::plan::{Part, Plan};
use std::path::PathBuf;
use std::sync::Arc;

impl State {
    fn plan_file(&self, part: Part) -> PathBuf {
        self.dir.join(part.file())
    }

    /// The frozen plan of one part; none if it is not up, or was in an earlier boot of the host.
    ///
    /// # Errors
    /// The file is damaged or of another version.
    pub fn plan(&self, part: Part) -> Result<Option<Arc<Plan>>> {
        if let Some(plan) = &self.known().plans[part as usize] {
            return Ok(plan.clone());
        }
        // What is added to what runs is so only while that has a PID 1, whose record says so; one that cannot be
        // read is told of by those who ask what runs.
        let has_live = || matches!(self.init(), Ok(Some(init)) if init.live);
        let may_be = part != Part::Live || has_live();
        let plan = match may_be {
            true => self.read_plan(part)?.map(Arc::new),
            false => None,
        };
        self.keep_plan(part, plan.as_ref());
        Ok(plan)
    }

    fn keep_plan(&self, part: Part, plan: Option<&Arc<Plan>>) {
        let mut known = self.known();
        if known.keeps {
            known.plans[part as usize] = Some(plan.cloned());
        }
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

    /// Freezes a plan before it is made.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn freeze(&self, plan: &Plan) -> Result<()> {
        self.known().plans[plan.part as usize] = None;
        self.write(&self.plan_file(plan.part), plan.to_text()?.as_bytes())?;
        self.keep_plan(plan.part, Some(&Arc::new(plan.clone())));
        Ok(())
    }

    /// Forgets a plan: nothing of it is up any more.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn thaw(&self, part: Part) -> Result<()> {
        let file = self.plan_file(part);
        self.known().plans[part as usize] = None;
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).doing(|| format!("remove {}", file.display()));
            }
            _ => {}
        }
        self.keep_plan(part, None);
        Ok(())
    }
}
