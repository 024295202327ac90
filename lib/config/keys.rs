//! What kinds of keys there are, and what the table of them (`table`) is made into.
//!
//! Nothing here looks at a value.

use crate::base::error::{Error, Exit, Result};
use std::collections::BTreeMap;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The key, or what it begins with.
    pub key: &'static str,
    /// How the key is completed, and its default.
    pub form: Form,
    /// What it takes, for the manual; behind a semicolon the default in words, if that depends on other keys, on
    /// the name or on the host.
    pub takes: &'static str,
    /// When a change of it applies.
    pub effect: Effect,
    /// What the manual says of it, in the markup that `table` explains.
    pub text: &'static str,
}

/// When the change of a key in a file applies to a subhost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The start reads it.
    Start,
    /// The start reads it, and `subhost-limit` changes what runs.
    Limit,
    /// It is kept in the plan of the root.
    Mount,
    /// It is kept in the plan of the network.
    Net,
    /// Root and network must be made with the same value.
    Both,
    /// It is kept in both plans, and each uses its own.
    Either,
    /// `subhost-start --auto` reads it.
    Auto,
}

impl Effect {
    /// Returns how the manual says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Start => "at the next boot",
            Effect::Limit => "at the next boot, or at once by subhost-limit(8)",
            Effect::Mount => "when the root is next mounted",
            Effect::Net => "when the network is next made",
            Effect::Both => "when root and network are next made",
            Effect::Either => "when the root or the network is next made",
            Effect::Auto => "at the next subhost-start --auto",
        }
    }
}

/// How a row's key is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It is complete; its default, empty if it is unset then.
    Fixed(&'static str),
    /// By the number of a cable, which the manual calls so.
    Numbered(&'static str),
    /// By a name of the user's, which the manual calls so.
    Prefix(&'static str),
}

/// Rows under one heading of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The heading.
    pub heading: &'static str,
    /// What goes for all of them; may be empty.
    pub about: &'static str,
    /// They, in the manual's order.
    pub rows: &'static [Row],
}

/// Makes of the table's rows the lists of keys and the struct that envy fills.
macro_rules! keys {
    ($($heading:literal, $usual:ident, $about:literal {$(
        $key:ident $($field:ident = $default:literal)? $([$number:ident])? $({$rest:ident})?,
            $takes:literal $(, $effect:ident)?: $text:literal;
    )*})*) => {
        use super::keys::{Effect, Form, Group, Row, own_or};

        /// All keys as the manual has them.
        pub const GROUPS: &[Group] = &[$(Group {
            heading: $heading,
            about: $about,
            rows: &[$(Row {
                key: stringify!($key),
                form: $(Form::Fixed({ let _ = stringify!($field); $default }))?
                    $(Form::Numbered(stringify!($number)))?
                    $(Form::Prefix(stringify!($rest)))?,
                takes: $takes,
                effect: own_or(&[$(Effect::$effect)?], Effect::$usual),
                text: $text,
            },)*],
        },)*];

        /// Every key of the fixed names with its built-in default, sorted. An empty default means unset. Where
        /// the default depends on other keys or on the name, `checker` has it.
        pub const KEYS: &[(&str, &str)] = &super::keys::sorted([$($($((stringify!($key), {
            // envy finds the field by the key in small letters.
            assert!(stringify!($key).eq_ignore_ascii_case(stringify!($field)));
            $default
        }),)?)*)*]);

        /// Keys that carry the number of a cable behind their name.
        pub const NUMBERED: &[&str] = &[$($($({ let _ = stringify!($number); stringify!($key) },)?)*)*];

        /// Keys that carry a name of the user's behind their prefix.
        pub const PREFIXES: &[&str] = &[$($($({ let _ = stringify!($rest); stringify!($key) },)?)*)*];

        /// All fixed keys as envy reads them: one text each, still without meaning.
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[allow(missing_docs)]
        pub struct Raw {
            $($($(pub $field: String,)?)*)*
        }
    };
}
pub(super) use keys;

pub use super::table::{GROUPS, KEYS, NUMBERED, PREFIXES, Raw};

/// Returns a row's own effect, or else that of its group.
pub(super) const fn own_or(own: &[Effect], usual: Effect) -> Effect {
    match own {
        [effect, ..] => *effect,
        [] => usual,
    }
}

/// Sorted by the first: a key is looked for whenever a config is read.
pub(super) const fn sorted<const N: usize>(
    mut keys: [(&'static str, &'static str); N],
) -> [(&'static str, &'static str); N] {
    let mut end = 1;
    while end < N {
        let mut at = end;
        while at > 0 && is_before(keys[at].0.as_bytes(), keys[at - 1].0.as_bytes()) {
            (keys[at], keys[at - 1]) = (keys[at - 1], keys[at]);
            at -= 1;
        }
        end += 1;
    }
    keys
}

const fn is_before(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() {
        if one[at] != other[at] {
            return one[at] < other[at];
        }
        at += 1;
    }
    one.len() < other.len()
}

/// Numbers of cables run from 0 to this.
pub const MAX_CABLES: usize = 100;

/// What kind of key a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of [`KEYS`].
    Fixed,
    /// `ADDRi`, `MTUi`.
    Numbered(usize),
    /// `ENV_*`, `X_*`.
    Prefixed,
}

/// The kind of `key`, or the nearest known key to a name that is none.
///
/// # Errors
/// The nearest known key, if one is near.
pub fn kind(key: &str) -> std::result::Result<Kind, Option<String>> {
    if KEYS
        .binary_search_by(|(known, _)| (*known).cmp(key))
        .is_ok()
    {
        return Ok(Kind::Fixed);
    }
    if PREFIXES.iter().any(|p| {
        key.strip_prefix(p)
            .is_some_and(|name| !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty())
    }) {
        return Ok(Kind::Prefixed);
    }
    for name in NUMBERED {
        if let Some(digits) = key.strip_prefix(name)
            && let Ok(index) = digits.parse::<usize>()
            && index < MAX_CABLES
            && index.to_string() == digits
        {
            return Ok(Kind::Numbered(index));
        }
    }
    Err(nearest(key))
}

fn nearest(key: &str) -> Option<String> {
    let upper = key.to_uppercase();
    KEYS.iter()
        .map(|(known, _)| (*known).to_owned())
        .chain(NUMBERED.iter().map(|n| format!("{n}0")))
        .map(|known| (strsim::damerau_levenshtein(&upper, &known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}

/// Fills the struct of all fixed keys.
///
/// # Errors
/// A key that is not in the struct: the caller lets none through.
pub fn raw(settings: &BTreeMap<String, String>) -> Result<Raw> {
    let fixed = settings
        .iter()
        .filter(|(key, _)| kind(key) == Ok(Kind::Fixed))
        .map(|(key, value)| (key.clone(), value.clone()));
    envy::from_iter(fixed)
        .map_err(|e| Error::new(Exit::Invalid, format!("cannot read the settings: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row's other half, the field's name, is asserted when the table is compiled.
    #[test]
    fn each_key_has_a_field_of_its_own() {
        let all: BTreeMap<String, String> = KEYS
            .iter()
            .map(|(key, _)| ((*key).to_owned(), format!("value of {key};")))
            .collect();
        let text = format!("{:?}", raw(&all).unwrap());
        assert_eq!(text.matches("value of").count(), KEYS.len());
        assert_eq!(all.len(), KEYS.len(), "a key twice");
        assert!(KEYS.is_sorted(), "{KEYS:?}");
    }

    #[test]
    fn kinds() {
        assert_eq!(kind("ADDR12"), Ok(Kind::Numbered(12)));
        assert_eq!(kind("ENV_LANG"), Ok(Kind::Prefixed));
        assert_eq!(kind("LOWWER"), Err(Some("LOWER".into())));
        assert_eq!(kind("ADRR0"), Err(Some("ADDR0".into())));
        for bad in ["ADDR01", "ADDR", "MTU100", "ENV_", "lower", "QQQQQQ"] {
            assert!(kind(bad).is_err(), "{bad}");
        }
    }
}
