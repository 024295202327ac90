//! Filters of system calls as rules. Nothing here knows a subhost.

use serde::{Deserialize, Serialize};

/// The action for a system call, by ascending strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// The kernel executes the call.
    Allow,
    /// The kernel executes the call and logs it (audit).
    Log,
    /// The call fails with this errno.
    Errno(u16),
    /// The process gets SIGSYS, which it can catch.
    Trap,
    /// The kernel kills the thread.
    KillThread,
    /// The kernel kills the process.
    KillProcess,
}

/// The operator of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// The bits of this mask are equal.
    Masked(u64),
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The argument, from 0.
    pub argument: u8,
    /// The operator.
    pub compare: Compare,
    /// The value to compare with.
    pub value: u64,
    /// Whether all 64 bits are compared, or the lower 32, which is what the kernel reads of an int
    /// (CVE-2019-10063).
    pub wide: bool,
}

/// The action for one call, if all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The number of the call.
    pub call: u32,
    /// The action.
    pub action: Action,
    /// The conditions on the arguments.
    pub conditions: Vec<Condition>,
}

/// A filter as rules. Of several matching rules the strictest decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The action for a call that no rule matches.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// Makes a condition on the lower 32 bits of an argument.
pub const fn int(argument: u8, compare: Compare, value: u32) -> Condition {
    Condition {
        argument,
        compare,
        value: value as u64,
        wide: false,
    }
}

impl Action {
    /// Returns `SECCOMP_RET_*` of include/uapi/linux/seccomp.h.
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
