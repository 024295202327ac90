//! The frozen form of a plan: JSON in a file below /run/subhost. A version of the tools reads its own format
//! and the format before it.

use super::{FORMAT, Owner, Part, Plan, Step};
use crate::base::error::{Error, Exit, Result};
use crate::base::name::Name;
use crate::config::Phase;
use crate::kernel::mountinfo::Mark;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Format 1, which 0.1.0 wrote. Its owner is always a subhost, and `half` is root or network.
#[derive(Deserialize)]
struct V1 {
    boot: String,
    tree: PathBuf,
    name: Name,
    half: Part,
    kind: String,
    steps: Vec<Step>,
    made: Option<Vec<Option<Mark>>>,
    live: PathBuf,
    netns: PathBuf,
    #[serde(default)]
    ids: Option<u32>,
    #[serde(default)]
    hooks: BTreeMap<Phase, Vec<String>>,
    #[serde(default)]
    hook_timeout: Duration,
    #[serde(default)]
    hook_env: BTreeMap<String, String>,
}

impl From<V1> for Plan {
    fn from(old: V1) -> Self {
        Self {
            format: FORMAT,
            boot: old.boot,
            tree: old.tree,
            owner: Owner::Subhost(old.name),
            part: old.half,
            kind: old.kind,
            steps: old.steps,
            made: old.made,
            live: old.live,
            netns: old.netns,
            ids: old.ids,
            hooks: old.hooks,
            hook_timeout: old.hook_timeout,
            hook_env: old.hook_env,
        }
    }
}

impl Plan {
    /// Writes the plan in its frozen form, as JSON.
    ///
    /// # Errors
    /// `Invalid` if a path is not UTF-8. A config cannot name such a path.
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string(self);
        text.map_err(|e| Error::new(Exit::Invalid, format!("cannot freeze the plan: {e}")))
    }

    /// Reads the frozen form, in this format or the one before it.
    ///
    /// # Errors
    /// `Invalid` for any other format, and for damaged text.
    pub fn from_text(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |why: String| {
            let what = format!("the frozen plan cannot be read: {why}");
            Error::new(Exit::Invalid, what)
        };
        let wrong = match serde_json::from_str::<Self>(text) {
            Ok(plan) if plan.format == FORMAT => return Ok(plan),
            Ok(_) => None,
            Err(e) => Some(e),
        };
        let version = serde_json::from_str(text).map(|Version { format }| format);
        match (version, wrong) {
            (Ok(1), _) => serde_json::from_str::<V1>(text)
                .map(Self::from)
                .map_err(|e| damaged(e.to_string())),
            (Ok(FORMAT), Some(e)) | (Err(e), _) => Err(damaged(e.to_string())),
            (Ok(other), _) => Err(damaged(format!(
                "it has format {other}, this version reads {FORMAT} and 1"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_refused() {
        let error = Plan::from_text("{\"format\": 999}").unwrap_err();
        assert_eq!(error.exit, Exit::Invalid);
        assert!(error.what.contains("999"));
    }

    #[test]
    fn format_1_is_read() {
        let text = r#"{"format":1,"boot":"b","tree":"/t","name":"w","half":"net","kind":"private",
            "steps":[{"netns":{"name":"w"}}],"made":null,"live":"/t/w/live","netns":"/run/netns/w"}"#;
        let plan = Plan::from_text(text).unwrap();
        assert_eq!((&*plan.owner.id(), plan.part), ("w", Part::Net));
        assert_eq!(plan.steps[0].namespace(), Some("w"));
        assert_eq!(Plan::from_text(&plan.to_text().unwrap()).unwrap(), plan);
        // An unknown step is damage: a later format has another number.
        let bad = text.replace("netns\":{", "moat\":{");
        assert!(Plan::from_text(&bad).unwrap_err().what.contains("moat"));
    }
}
