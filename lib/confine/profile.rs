//! A system call filter as rules, and the programs that the kernel gets of it. Knows no subhost.
//!
//! seccompiler makes what compares arguments. It looks for a call from the first rule to the last,
//! which the kernel does for every call there is when it gets a program (to learn which are always
//! allowed): 0.8 ms. So the search is ours, by halves, over ranges of numbers: 0.03 ms.
//!
//! The kernel runs all programs and obeys the strictest; of equally strict ones the last installed.

use crate::error::{Error, Exit, Result};
use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use syscalls::Sysno;

/// A program of classic BPF.
pub type Program = Vec<sock_filter>;

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
    fn value(self) -> u32 {
        SeccompAction::from(self).into()
    }
}

impl From<Action> for SeccompAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Allow => SeccompAction::Allow,
            Action::Log => SeccompAction::Log,
            Action::Errno(errno) => SeccompAction::Errno(errno.into()),
            Action::Trap => SeccompAction::Trap,
            Action::KillThread => SeccompAction::KillThread,
            Action::KillProcess => SeccompAction::KillProcess,
        }
    }
}

impl Profile {
    /// The programs, in the order in which they are to be installed.
    ///
    /// # Errors
    /// `Invalid` if the kernel would not take one, as it is too long.
    pub fn compile(&self) -> Result<Vec<Program>> {
        let mut calls: Vec<&Rule> = self.rules.iter().collect();
        // Of one call in the order in which they are listed.
        calls.sort_by_key(|rule| rule.call);
        // What becomes of every number, in ranges: from here on.
        let mut ranges: Vec<(u32, Leaf)> = Vec::new();
        let mut from_here = |number: u32, leaf: Leaf| {
            if ranges.last().is_none_or(|(_, last)| *last != leaf) {
                ranges.push((number, leaf));
            }
        };
        let known = Sysno::last().id().cast_unsigned();
        let mut actions = BTreeSet::new();
        let mut next = 0;
        for rules in of_each(&calls) {
            let number = rules[0].call;
            if next < number {
                from_here(next, Leaf::Always(self.default));
            }
            next = number + 1;
            let always = rules.iter().filter(|rule| rule.conditions.is_empty());
            from_here(
                number,
                match always.map(|rule| rule.action).max() {
                    Some(action) => Leaf::Always(action),
                    None if self.default == Action::Allow => Leaf::Always(Action::Allow),
                    None => Leaf::Compare(block(number, rules, Action::Allow, self.default)?),
                },
            );
            let some = rules.iter().filter(|rule| !rule.conditions.is_empty());
            actions.extend(some.map(|rule| rule.action));
        }
        if next <= known {
            from_here(next, Leaf::Always(self.default));
        }
        // Newer ones than we know, if only listed ones are allowed, and those of x32, a second entry
        // to the same calls, are not there: a C library then takes others.
        let not_there = Leaf::Always(Action::Errno(nix::libc::ENOSYS as u16));
        let beyond = match self.default {
            Action::Allow => X32,
            _ => known + 1,
        };
        from_here(beyond, not_there);
        let mut programs = Vec::new();
        actions.remove(&Action::Allow);
        for action in actions {
            let mut others = Program::new();
            let of_it = |rule: &&&Rule| rule.action == action && !rule.conditions.is_empty();
            let of_it: Vec<&Rule> = calls.iter().filter(of_it).copied().collect();
            for rules in of_each(&of_it) {
                let block = block(rules[0].call, rules, action, Action::Allow)?;
                others.extend(if_equal(rules[0].call, block));
            }
            others.push(step(RETURN, Action::Allow.value(), 0, 0));
            programs.push(beginning(others));
        }
        programs.push(beginning(search(&ranges)));
        match programs.iter().all(|program| program.len() <= MAX_LEN) {
            true => Ok(programs),
            false => Err(too_long("it is too long for the kernel")),
        }
    }
}

/// Those of each call together, of rules that are sorted by it.
fn of_each<'a>(rules: &'a [&'a Rule]) -> impl Iterator<Item = &'a [&'a Rule]> {
    rules.chunk_by(|one, other| one.call == other.call)
}

/// What becomes of the numbers of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    Always(Action),
    /// The arguments decide: a part of a program, which ends in all ways.
    Compare(Program),
}

// include/uapi/linux/bpf_common.h, include/uapi/linux/filter.h
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const MAX_LEN: usize = 4096;
/// Where struct seccomp_data has the call's number, and the architecture of its entry.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

#[cfg(target_arch = "x86_64")]
const ARCH: (TargetArch, u32) = (TargetArch::x86_64, 0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCH: (TargetArch, u32) = (TargetArch::aarch64, 0xc000_00b7);
/// Numbers from here on are those of x32. On aarch64 none are.
const X32: u32 = 0x4000_0000;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Looks at the architecture, then at the number. A call by another architecture's entry (32 bits) has
/// other numbers: the process ends.
fn beginning(then: Program) -> Program {
    let mut program = vec![
        step(LOAD, ARCHITECTURE, 0, 0),
        step(IF_EQUAL, ARCH.1, 1, 0),
        step(RETURN, Action::KillProcess.value(), 0, 0),
        step(LOAD, NUMBER, 0, 0),
    ];
    program.extend(then);
    program
}

/// Looks for the range that the loaded number is in.
fn search(ranges: &[(u32, Leaf)]) -> Program {
    match ranges {
        [] => Program::new(),
        [(_, Leaf::Always(action))] => vec![step(RETURN, action.value(), 0, 0)],
        [(_, Leaf::Compare(block))] => block.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let below = search(low);
            let mut program = vec![
                step(IF_AT_LEAST, high[0].0, 0, 1),
                step(JUMP, below.len() as u32, 0, 0),
            ];
            program.extend(below);
            program.extend(search(high));
            program
        }
    }
}

fn if_equal(number: u32, block: Program) -> Program {
    let mut program = vec![
        step(IF_EQUAL, number, 1, 0),
        step(JUMP, block.len() as u32, 0, 0),
    ];
    program.extend(block);
    program
}

/// What compares the arguments of one call, as seccompiler makes it: jumps are relative, so it runs
/// wherever it stands.
fn block(call: u32, rules: &[&Rule], action: Action, otherwise: Action) -> Result<Program> {
    let make = || -> std::result::Result<Program, BackendError> {
        let chain = rules.iter().map(|rule| {
            let conditions = rule.conditions.iter().map(condition);
            SeccompRule::new(conditions.collect::<std::result::Result<_, _>>()?)
        });
        let chain = chain.collect::<std::result::Result<Vec<_>, _>>()?;
        let chains = BTreeMap::from([(call.into(), chain)]);
        SeccompFilter::new(chains, otherwise.into(), action.into(), ARCH.0)?.try_into()
    };
    let program = make().map_err(too_long)?;
    // Its beginning is as ours.
    let begins = program
        .iter()
        .position(|step| step.code == LOAD && step.k == NUMBER)
        .ok_or_else(|| too_long("seccompiler's programs begin differently"))?;
    Ok(program[begins + 1..].to_vec())
}

fn too_long(why: impl std::fmt::Display) -> Error {
    let what = format!("the system call filter cannot be made: {why}");
    Error::new(Exit::Invalid, what)
}

fn condition(from: &Condition) -> std::result::Result<SeccompCondition, BackendError> {
    let compare = match from.compare {
        Compare::Equal => SeccompCmpOp::Eq,
        Compare::NotEqual => SeccompCmpOp::Ne,
        Compare::Less => SeccompCmpOp::Lt,
        Compare::LessOrEqual => SeccompCmpOp::Le,
        Compare::Greater => SeccompCmpOp::Gt,
        Compare::GreaterOrEqual => SeccompCmpOp::Ge,
        Compare::Masked(mask) => SeccompCmpOp::MaskedEq(mask),
    };
    let width = match from.wide {
        true => SeccompCmpArgLen::Qword,
        false => SeccompCmpArgLen::Dword,
    };
    SeccompCondition::new(from.argument, width, compare, from.value)
}
