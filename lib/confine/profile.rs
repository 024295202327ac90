//! A system call filter as rules. Knows no subhost.

use serde::{Deserialize, Serialize};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// It is done.
    Allow,
    /// It is done, and the audit log says so.
    Log,
    /// It fails.
    Errno(u16),
    /// SIGSYS, which can be caught.
    Trap,
    /// The thread ends.
    KillThread,
    /// The process ends.
    KillProcess,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal in the bits of this mask.
    Masked(u64),
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Which argument, from 0.
    pub argument: u8,
    /// How.
    pub compare: Compare,
    /// With what.
    pub value: u64,
    /// All 64 bits, or the lower 32: what the kernel reads of an int, whatever is above
    /// (CVE-2019-10063).
    pub wide: bool,
}

/// What becomes of one call, if all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its number.
    pub call: u32,
    /// What becomes of it.
    pub action: Action,
    /// About its arguments.
    pub conditions: Vec<Condition>,
}

/// A filter as rules. Of several rules that hold the strictest counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// What becomes of a call that no rule holds for.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// The condition that the lower 32 bits compare so.
pub const fn int(argument: u8, compare: Compare, value: u32) -> Condition {
    Condition {
        argument,
        compare,
        value: value as u64,
        wide: false,
    }
}

impl Action {
    /// `SECCOMP_RET_*` of include/uapi/linux/seccomp.h.
    pub(super) fn value(self) -> u32 {
        match self {
            Action::Allow => 0x7fff_0000,
            Action::Log => 0x7ffc_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Trap => 0x0003_0000,
            Action::KillThread => 0,
            Action::KillProcess => 0x8000_0000,
        }
    }
}
