//! The name of a subhost: what it may be, and nothing else about it.

use super::error::{Error, Exit, Result, shown};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What lies beside subhosts in $SUBHOST, or is said where a subhost's name is.
const RESERVED: [&str; 7] = [
    "control",
    "defaults",
    "host",
    "lab",
    "layers",
    "plan.json",
    "snapshots",
];

/// The name of a subhost: `[A-Za-z0-9][A-Za-z0-9_.-]*`, at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// # Errors
    /// `Exit::Usage` with the rule.
    pub fn new(name: &str) -> Result<Self> {
        Self::checked(name).ok_or_else(|| {
            Error::new(
                Exit::Usage,
                format!("'{}' cannot be the name of a subhost", shown(name)),
            )
            .hint(
                "a letter or digit, then letters, digits, '_', '.', '-', at most 64 bytes, \
                 none of control, defaults, host, lab, layers, plan.json and snapshots, and not \
                 ending in '.bridge'",
            )
        })
    }

    /// None if it cannot be one.
    pub(crate) fn checked(name: &str) -> Option<Self> {
        let is_kept = RESERVED.contains(&name) || name.ends_with(".bridge");
        Self::of_existing(name).filter(|_| !is_kept)
    }

    /// None if it could never be one. What an earlier version brought up may have a name that is kept for
    /// something else by now: it can still be looked at and taken down.
    pub(crate) fn of_existing(name: &str) -> Option<Self> {
        let ok = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        ok.then(|| Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(name: String) -> std::result::Result<Self, String> {
        // Of a record: of what is up.
        Name::of_existing(&name).ok_or_else(|| format!("'{}' is no name", shown(name)))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_name() {
        let long = "x".repeat(64);
        for good in ["w", "0", "web.example", "a_b-c.d", "bridge", "labs", &long] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        let bad = ["", ".", "-a", "a/b", "a b", "\u{e4}", "..", &long];
        for bad in bad
            .into_iter()
            .chain(RESERVED)
            .chain(["br0.bridge", "x.bridge"])
        {
            let error = Name::new(bad).unwrap_err();
            assert_eq!(error.exit, Exit::Usage, "{bad}");
        }
    }
}
