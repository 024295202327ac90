//! The name of a subhost and its rules. Nothing here looks whether the subhost exists.

use super::error::{Error, Exit, Result, shown};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names that $SUBHOST holds besides subhosts, or that commands take in place of a subhost's name.
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
    /// Makes a name for a subhost.
    ///
    /// # Errors
    /// `Exit::Usage`, with the rule as the hint.
    pub fn new(name: &str) -> Result<Self> {
        Self::parse(name).ok_or_else(|| {
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

    /// Returns the name; none if a subhost cannot have it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let is_reserved = RESERVED.contains(&name) || name.ends_with(".bridge");
        Self::parse_recorded(name).filter(|_| !is_reserved)
    }

    /// Returns the name of a subhost that may be up; none if no version allowed it. An earlier version
    /// may have brought up a subhost whose name is reserved now: it can still be listed and stopped.
    pub(crate) fn parse_recorded(name: &str) -> Option<Self> {
        let ok = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        ok.then(|| Self(name.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(name: String) -> std::result::Result<Self, String> {
        // The name is from the record of a subhost that is up.
        Name::parse_recorded(&name).ok_or_else(|| format!("'{}' is no name", shown(name)))
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
    fn names_follow_the_rule() {
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
