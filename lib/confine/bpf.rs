//! The program that the kernel gets of a system call filter.
//!
//! The kernel translates all of a program, and runs it for every call there is to learn which are always
//! allowed: to load one costs by its length, and by how long it looks for a number. Libraries make one part for
//! each rule and ask for the number in each; here the search goes by halves over ranges of numbers, a test jumps
//! to where it leads, what ends the program is there once, and no argument is loaded twice. The default costs 0.1 ms,
//! and cost 0.8 ms as seccompiler makes it.

use super::profile::{Action, Compare, Condition, Profile, Rule};
use crate::base::error::{Error, Exit, Result};
use nix::libc::sock_filter;
use syscalls::Sysno;

/// A program of classic BPF.
pub type Program = Vec<sock_filter>;

impl Profile {
    /// The program.
    ///
    /// # Errors
    /// `Invalid` if the kernel would not take it, as it is too long.
    pub fn compile(&self) -> Result<Program> {
        let mut calls: Vec<&Rule> = self.rules.iter().collect();
        // Of one call in the order in which they are listed.
        calls.sort_by_key(|rule| rule.call);
        // What becomes of every number, in ranges: from here on.
        let mut ranges: Vec<(u32, Leaf)> = Vec::new();
        let mut from = |number, leaf| {
            if ranges.last().is_none_or(|(_, last)| *last != leaf) {
                ranges.push((number, leaf));
            }
        };
        let known = Sysno::last().id().cast_unsigned();
        let mut next = 0;
        for rules in calls.chunk_by(|one, other| one.call == other.call) {
            let number = rules[0].call;
            if next < number {
                from(next, Leaf::always(self.default));
            }
            next = number + 1;
            from(number, Leaf::combine(rules, self.default));
        }
        if next <= known {
            from(next, Leaf::always(self.default));
        }
        // Newer ones than we know, if only listed ones are allowed, and those of x32, a second entry
        // to the same calls, are not there: a C library then takes others.
        let not_there = Leaf::always(Action::Errno(nix::libc::ENOSYS as u16));
        let beyond = match self.default {
            Action::Allow => X32,
            _ => known + 1,
        };
        from(beyond, not_there);
        let mut backwards = Backwards::default();
        let begin = backwards.search(&ranges);
        let program = backwards.finish(begin);
        match program.len() <= MAX_LEN {
            true => Ok(program),
            false => {
                let what = "the system call filter is too long for the kernel";
                Err(Error::new(Exit::Invalid, what))
            }
        }
    }
}

/// What becomes of the numbers of a range.
#[derive(Debug, PartialEq, Eq)]
struct Leaf<'a> {
    /// The rules that look at arguments, the strictest first.
    rules: Vec<&'a Rule>,
    /// What becomes of those that no rule holds for.
    otherwise: Action,
}

impl<'a> Leaf<'a> {
    fn always(action: Action) -> Self {
        Self {
            rules: Vec::new(),
            otherwise: action,
        }
    }

    /// What the rules of one call make of it.
    fn combine(all: &[&'a Rule], default: Action) -> Self {
        let always = all.iter().filter(|rule| rule.conditions.is_empty());
        let always = always.map(|rule| rule.action).max();
        let some = all.iter().filter(|rule| !rule.conditions.is_empty());
        // Less strict ones change nothing.
        let counts = |rule: &&&Rule| always.is_none_or(|always| rule.action > always);
        let mut rules: Vec<&Rule> = some.filter(counts).copied().collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.action));
        Self {
            rules,
            otherwise: always.unwrap_or(default),
        }
    }
}

// include/uapi/linux/bpf_common.h, include/uapi/linux/filter.h
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const MAX_LEN: usize = 4096;
/// Where struct seccomp_data has the call's number, the architecture of its entry, and the first of the
/// arguments: each has 8 bytes, on our architectures the lower half first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;
/// Numbers from here on are those of x32. On aarch64 none are.
const X32: u32 = 0x4000_0000;
/// How far a test jumps. The kernel's limit is 255: there is room for the jumps that it then needs.
const FAR: usize = 250;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Where a test leads to.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// To the end of the program.
    End(Action),
    /// To the step with this number, counted from the last.
    Step(usize),
}

/// 32 bits of an argument, and what they are compared with.
#[derive(Clone, Copy)]
struct Word {
    offset: u32,
    value: u32,
    /// The bits that count.
    mask: u32,
}

/// A program in the making, from its last step to its first: jumps lead to what is there.
#[derive(Debug, Default)]
struct Backwards {
    steps: Program,
    ends: Vec<(Action, usize)>,
}

impl Backwards {
    fn push(&mut self, step: sock_filter) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// A step that is near enough for a test, and leads there.
    fn near(&mut self, target: Target) -> usize {
        let next = self.steps.len();
        match target {
            Target::Step(step) if next - step > FAR => {
                self.push(self::step(JUMP, (next - step - 1) as u32, 0, 0))
            }
            Target::Step(step) => step,
            Target::End(action) => {
                let ends = self.ends.iter().rev();
                let mut near = ends.filter(|(end, step)| *end == action && next - step <= FAR);
                if let Some((_, step)) = near.next() {
                    return *step;
                }
                self.ends.push((action, next));
                self.push(self::step(RETURN, action.value(), 0, 0))
            }
        }
    }

    /// A test of what is loaded.
    fn test(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        let (yes, no) = (self.near(yes), self.near(no));
        let next = self.steps.len();
        let [jt, jf] = [yes, no].map(|step| (next - step - 1) as u8);
        Target::Step(self.push(step(code, k, jt, jf)))
    }

    /// A test of 32 bits of an argument, of those in `mask`.
    fn word(&mut self, word: Word, code: u16, yes: Target, no: Target) -> Target {
        let load = step(LOAD, word.offset, 0, 0);
        if word.mask == u32::MAX {
            // What is loaded stays loaded.
            let [yes, no] = [yes, no].map(|target| self.past(target, word.offset));
            self.test(code, word.value, yes, no);
        } else {
            self.test(code, word.value & word.mask, yes, no);
            self.push(step(AND, word.mask, 0, 0));
        }
        Target::Step(self.push(load))
    }

    /// Where a target goes on if this is loaded.
    fn past(&self, target: Target, offset: u32) -> Target {
        match target {
            Target::Step(step) if (self.steps[step].code, self.steps[step].k) == (LOAD, offset) => {
                Target::Step(step - 1)
            }
            other => other,
        }
    }

    fn condition(&mut self, condition: &Condition, yes: Target, no: Target) -> Target {
        let (code, yes, no) = match condition.compare {
            Compare::Equal | Compare::Masked(_) => (IF_EQUAL, yes, no),
            Compare::NotEqual => (IF_EQUAL, no, yes),
            Compare::Greater => (IF_ABOVE, yes, no),
            Compare::LessOrEqual => (IF_ABOVE, no, yes),
            Compare::GreaterOrEqual => (IF_AT_LEAST, yes, no),
            Compare::Less => (IF_AT_LEAST, no, yes),
        };
        let mask = match condition.compare {
            Compare::Masked(mask) => mask,
            _ => u64::MAX,
        };
        let low = Word {
            offset: ARGUMENTS + 8 * u32::from(condition.argument),
            value: condition.value as u32,
            mask: mask as u32,
        };
        let of_low = self.word(low, code, yes, no);
        if !condition.wide {
            return of_low;
        }
        // The upper half decides unless it is the same.
        let high = Word {
            offset: low.offset + 4,
            value: (condition.value >> 32) as u32,
            mask: (mask >> 32) as u32,
        };
        match code {
            IF_EQUAL => self.word(high, IF_EQUAL, of_low, no),
            _ => {
                let same = self.test(IF_EQUAL, high.value, of_low, no);
                self.word(high, IF_ABOVE, yes, same)
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf) -> Target {
        let otherwise = Target::End(leaf.otherwise);
        leaf.rules.iter().rfold(otherwise, |otherwise, rule| {
            let holds = Target::End(rule.action);
            let conditions = rule.conditions.iter();
            conditions.rfold(holds, |holds, one| self.condition(one, holds, otherwise))
        })
    }

    /// Looks for the range that the loaded number is in.
    fn search(&mut self, ranges: &[(u32, Leaf)]) -> Target {
        if let [(_, leaf)] = ranges {
            return self.leaf(leaf);
        }
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let (from_here, below) = (self.search(high), self.search(low));
        self.test(IF_AT_LEAST, high[0].0, from_here, below)
    }

    /// Looks at the architecture, then at the number. A call by another architecture's entry (32 bits) has
    /// other numbers: the process ends.
    fn finish(mut self, begin: Target) -> Program {
        let begin = self.near(begin);
        if begin + 1 < self.steps.len() {
            let over = self.steps.len() - begin - 1;
            self.push(step(JUMP, over as u32, 0, 0));
        }
        self.push(step(LOAD, NUMBER, 0, 0));
        self.push(step(RETURN, Action::KillProcess.value(), 0, 0));
        self.push(step(IF_EQUAL, ARCH, 1, 0));
        self.push(step(LOAD, ARCHITECTURE, 0, 0));
        self.steps.reverse();
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel makes of a call by this program.
    fn run(program: &Program, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = vec![number, ARCH, 0, 0];
        data.extend(
            arguments
                .iter()
                .flat_map(|all| [*all as u32, (*all >> 32) as u32]),
        );
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = &program[at];
            let jump = |holds| usize::from(if holds { step.jt } else { step.jf });
            at += 1;
            match step.code {
                LOAD => loaded = data[step.k as usize / 4],
                JUMP => at += step.k as usize,
                IF_EQUAL => at += jump(loaded == step.k),
                IF_AT_LEAST => at += jump(loaded >= step.k),
                IF_ABOVE => at += jump(loaded > step.k),
                AND => loaded &= step.k,
                RETURN => return step.k,
                other => panic!("code {other:#x}"),
            }
        }
    }

    fn holds(condition: &Condition, arguments: [u64; 6]) -> bool {
        let cut = |all: u64| {
            if condition.wide {
                all
            } else {
                all & 0xffff_ffff
            }
        };
        let (is, value) = (
            cut(arguments[usize::from(condition.argument)]),
            cut(condition.value),
        );
        match condition.compare {
            Compare::Equal => is == value,
            Compare::NotEqual => is != value,
            Compare::Less => is < value,
            Compare::LessOrEqual => is <= value,
            Compare::Greater => is > value,
            Compare::GreaterOrEqual => is >= value,
            Compare::Masked(mask) => is & cut(mask) == value & cut(mask),
        }
    }

    /// What it should make of it.
    fn expected(profile: &Profile, number: u32, arguments: [u64; 6]) -> Action {
        let rules = profile.rules.iter().filter(|rule| rule.call == number);
        let that_hold = rules
            .clone()
            .filter(|rule| rule.conditions.iter().all(|one| holds(one, arguments)));
        let is_listed = rules.count() > 0;
        let known = Sysno::last().id().cast_unsigned();
        let beyond = if profile.default == Action::Allow {
            X32
        } else {
            known + 1
        };
        match that_hold.map(|rule| rule.action).max() {
            Some(action) => action,
            None if number >= beyond && !is_listed => Action::Errno(nix::libc::ENOSYS as u16),
            None => profile.default,
        }
    }

    fn actions() -> impl Strategy<Value = Action> {
        prop::sample::select(vec![
            Action::Allow,
            Action::Log,
            Action::Errno(1),
            Action::Errno(38),
            Action::Trap,
            Action::KillProcess,
        ])
    }

    fn conditions() -> impl Strategy<Value = Condition> {
        let compare = prop::sample::select(vec![
            Compare::Equal,
            Compare::NotEqual,
            Compare::Less,
            Compare::LessOrEqual,
            Compare::Greater,
            Compare::GreaterOrEqual,
            Compare::Masked(0x1_0000_0003),
        ]);
        let value = prop::sample::select(vec![0, 1, 2, 3, 0x1_0000_0000, 0x1_0000_0002]);
        (0u8..3, compare, value, any::<bool>()).prop_map(|(argument, compare, value, wide)| {
            Condition {
                argument,
                compare,
                value,
                wide,
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_program_does_what_the_rules_say(
            default in actions(),
            rules in prop::collection::vec(
                (0u32..400, actions(), prop::collection::vec(conditions(), 0..3)),
                0..150,
            ),
            arguments in prop::collection::vec(
                prop::array::uniform6(prop::sample::select(vec![0u64, 1, 2, 3, 0x1_0000_0000, 0x1_0000_0002, u64::MAX])),
                8,
            ),
        ) {
            let rules = rules.into_iter().map(|(call, action, conditions)| Rule { call, action, conditions });
            let profile = Profile { default, rules: rules.collect() };
            let program = profile.compile().unwrap();
            for number in (0..480).chain([X32 - 1, X32, X32 + 1, u32::MAX]) {
                for arguments in &arguments {
                    let is = run(&program, number, *arguments);
                    prop_assert_eq!(is, expected(&profile, number, *arguments).value(), "call {}", number);
                }
            }
        }
    }

    #[test]
    fn the_usual_program_is_short() {
        let caps = rustix::thread::CapabilitySet::empty();
        let program = super::super::calls::profile(caps, false).compile().unwrap();
        assert!(program.len() < 120, "{} steps", program.len());
        assert_eq!(program[0].k, ARCHITECTURE);
    }
}
