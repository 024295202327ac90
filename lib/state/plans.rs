//! The frozen plans of root and network: there from before they are made until nothing of them is up.

use super::State;
use crate::base::error::{Doing, Result};
use crate::kernel::clock::boot_id;
use crate::plan::{Half, Plan};
use std::path::PathBuf;
use std::sync::Arc;

fn plan_name(half: Half) -> &'static str {
    match half {
        Half::Root => "root.plan",
        Half::Net => "net.plan",
    }
}

impl State {
    fn plan_file(&self, half: Half) -> PathBuf {
        self.dir.join(plan_name(half))
    }

    /// The frozen plan of one half; none if it is not up, or was in an earlier boot of the host.
    ///
    /// # Errors
    /// The file is damaged or of another version.
    pub fn plan(&self, half: Half) -> Result<Option<Arc<Plan>>> {
        if let Some(plan) = &self.known().plans[half as usize] {
            return Ok(plan.clone());
        }
        let plan = self.read_plan(half)?.map(Arc::new);
        self.keep_plan(half, plan.as_ref());
        Ok(plan)
    }

    fn keep_plan(&self, half: Half, plan: Option<&Arc<Plan>>) {
        let mut known = self.known();
        if known.keeps {
            known.plans[half as usize] = Some(plan.cloned());
        }
    }

    fn read_plan(&self, half: Half) -> Result<Option<Plan>> {
        let Some(text) = self.read(plan_name(half))? else {
            return Ok(None);
        };
        let plan = Plan::from_text(&text).map_err(|mut e| {
            e.what = format!("{}: {}", self.plan_file(half).display(), e.what);
            e.hint("take down by hand what is up, then remove the file")
        })?;
        Ok((plan.boot == boot_id()?).then_some(plan))
    }

    /// Freezes a plan before it is made.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn freeze(&self, plan: &Plan) -> Result<()> {
        self.known().plans[plan.half as usize] = None;
        self.write(&self.plan_file(plan.half), plan.to_text()?.as_bytes())?;
        self.keep_plan(plan.half, Some(&Arc::new(plan.clone())));
        Ok(())
    }

    /// Forgets a plan: nothing of it is up any more.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn thaw(&self, half: Half) -> Result<()> {
        let file = self.plan_file(half);
        self.known().plans[half as usize] = None;
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).doing(|| format!("remove {}", file.display()));
            }
            _ => {}
        }
        self.keep_plan(half, None);
        Ok(())
    }
}
