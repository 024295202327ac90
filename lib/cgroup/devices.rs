//! Which devices those inside may open, whatever nodes they have: behind nodev on all that they can
//! write, and the capability to make nodes that they lack. By a program on the v2 cgroup
//! (BPF_PROG_TYPE_CGROUP_DEVICE), where that cannot be by v1's controller; without both it goes
//! without.

use super::dir::write;
use crate::config::Config;
use crate::sys::{self, Instruction};
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsFd;
use std::path::Path;

/// One kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    block: bool,
    major: u32,
    /// None: all.
    minor: Option<u32>,
    read: bool,
    write: bool,
}

impl Rule {
    const fn usual(major: u32, minor: Option<u32>) -> Self {
        Self {
            block: false,
            major,
            minor,
            read: true,
            write: true,
        }
    }

    /// As v1 reads it (Documentation/admin-guide/cgroup-v1/devices.rst).
    fn text(&self) -> String {
        let kind = if self.block { 'b' } else { 'c' };
        let minor = self.minor.map_or("*".into(), |minor| minor.to_string());
        let (read, write) = (
            if self.read { "r" } else { "" },
            if self.write { "w" } else { "" },
        );
        format!("{kind} {}:{minor} {read}{write}m", self.major)
    }
}

/// null, zero, full, random, urandom; tty, console, ptmx; the slaves of terminals (devices.txt).
const USUAL: [Rule; 9] = [
    Rule::usual(1, Some(3)),
    Rule::usual(1, Some(5)),
    Rule::usual(1, Some(7)),
    Rule::usual(1, Some(8)),
    Rule::usual(1, Some(9)),
    Rule::usual(5, Some(0)),
    Rule::usual(5, Some(1)),
    Rule::usual(5, Some(2)),
    Rule::usual(136, None),
];

/// What the settings allow: the usual, and what DEVICES names. What BIND shows is nodev.
pub(super) fn rules(config: &Config) -> Vec<Rule> {
    let mut all = USUAL.to_vec();
    for device in &config.confine.devices {
        // One that is not there is told of when the node is made.
        if let Ok(node) = device.node() {
            all.push(Rule {
                block: node.block,
                major: node.major,
                minor: Some(node.minor),
                read: device.read,
                write: device.write,
            });
        }
    }
    all
}

/// Sets them on a v2 cgroup. False if the kernel does not.
pub(super) fn attach(dir: &Path, rules: &[Rule]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::open(dir, flags, Mode::empty()) else {
        return false;
    };
    let program = sys::load_device_program(&program(rules));
    program.is_ok_and(|program| sys::attach_device_program(&dir, program.as_fd()).is_ok())
}

/// Sets them on a cgroup of v1.
pub(super) fn allow(dir: &Path, rules: &[Rule]) -> std::io::Result<()> {
    write(&dir.join("devices.deny"), "a")?;
    rules
        .iter()
        .try_for_each(|rule| write(&dir.join("devices.allow"), &rule.text()))
}

/// The program: 1 allows. Making nodes of what is allowed is allowed, as PID 1 does for its /dev.
///
/// The kernel follows it along every way through it when it is loaded, which takes longer than to run it ever
/// will: what is usual costs one test.
pub(super) fn program(rules: &[Rule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx of include/uapi/linux/bpf.h: u32 access_type, major, minor;
    // access_type is the kind (1 block, 2 character) and above 16 bits the access (1 mknod, 2 read,
    // 4 write).
    const LOAD_WORD: u8 = 0x61;
    const MOVE: u8 = 0xbf;
    const MOVE_NUMBER: u8 = 0xb7;
    const AND: u8 = 0x57;
    const OR: u8 = 0x4f;
    const SHIFT_LEFT: u8 = 0x67;
    const SHIFT_RIGHT: u8 = 0x77;
    const IF_EQUAL: u8 = 0x15;
    const IF_NOT_EQUAL: u8 = 0x55;
    /// Of the lower 32 bits.
    const IF_SAME: u8 = 0x16;
    const IF_OTHER: u8 = 0x56;
    const EXIT: u8 = 0x95;
    // MINORBITS of include/linux/kdev_t.h: no minor is larger.
    const MINOR_BITS: u32 = 20;
    let op = |code, to: u8, from: u8, number: u32| Instruction {
        code,
        registers: from << 4 | to,
        offset: 0,
        number: number.cast_signed(),
    };
    let load = |to, offset| Instruction {
        offset,
        ..op(LOAD_WORD, to, 1, 0)
    };
    // 2: access. 3: kind. 4: major. 5: major and minor.
    let mut all = vec![
        load(2, 0),
        op(MOVE, 3, 2, 0),
        op(AND, 3, 0, 0xffff),
        op(SHIFT_RIGHT, 2, 0, 16),
        load(4, 4),
        op(MOVE, 5, 4, 0),
        op(SHIFT_LEFT, 5, 0, MINOR_BITS),
        load(0, 8),
        op(OR, 5, 0, 0),
    ];
    // The tests that lead to where it is allowed.
    let mut allowing = Vec::new();
    for (kind, block) in [(2, false), (1, true)] {
        let of_kind = all.len();
        all.push(op(IF_NOT_EQUAL, 3, 0, kind));
        for rule in rules.iter().filter(|rule| rule.block == block) {
            let (register, number) = match rule.minor {
                Some(minor) => (5, rule.major << MINOR_BITS | minor),
                None => (4, rule.major),
            };
            if rule.read && rule.write {
                allowing.push(all.len());
                all.push(op(IF_SAME, register, 0, number));
                continue;
            }
            let allowed = 1 | if rule.read { 2 } else { 0 } | if rule.write { 4 } else { 0 };
            let mut other = op(IF_OTHER, register, 0, number);
            other.offset = 3;
            all.extend([other, op(MOVE, 0, 2, 0), op(AND, 0, 0, !allowed)]);
            allowing.push(all.len());
            all.push(op(IF_EQUAL, 0, 0, 0));
        }
        all[of_kind].offset = (all.len() - of_kind - 1) as i16;
    }
    all.extend([op(MOVE_NUMBER, 0, 0, 0), op(EXIT, 0, 0, 0)]);
    for from in allowing {
        all[from].offset = (all.len() - from - 1) as i16;
    }
    all.extend([op(MOVE_NUMBER, 0, 0, 1), op(EXIT, 0, 0, 0)]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program says, by a reading of the few instructions that it has.
    fn allows(program: &[Instruction], kind: u64, access: u64, major: u64, minor: u64) -> bool {
        let mut registers = [0u64; 6];
        let context = [access << 16 | kind, major, minor];
        let mut at = 0;
        loop {
            let op = program[at];
            let (to, from) = (
                usize::from(op.registers & 15),
                usize::from(op.registers >> 4),
            );
            let number = i64::from(op.number).cast_unsigned();
            match op.code {
                0x61 => registers[to] = context[op.offset as usize / 4],
                0xbf => registers[to] = registers[from],
                0xb7 => registers[to] = number,
                0x57 => registers[to] &= number,
                0x4f => registers[to] |= registers[from],
                0x67 => registers[to] <<= number,
                0x77 => registers[to] >>= number,
                0x15 | 0x16 | 0x55 | 0x56 => {
                    let [is, wanted] = match op.code {
                        0x16 | 0x56 => [registers[to], number].map(|all| all & 0xffff_ffff),
                        _ => [registers[to], number],
                    };
                    if (is == wanted) == [0x15, 0x16].contains(&op.code) {
                        at += op.offset as usize;
                    }
                }
                0x95 => return registers[0] == 1,
                other => panic!("{other:#x}"),
            }
            at += 1;
        }
    }

    #[test]
    fn what_is_not_named_is_denied() {
        let disk = Rule {
            block: true,
            major: 7,
            minor: Some(300),
            read: true,
            write: false,
        };
        // Of a number that takes all bits.
        let far = Rule {
            major: 4095,
            minor: Some(0xf_ffff),
            read: false,
            write: true,
            ..disk
        };
        let rules = [&USUAL[..], &[disk, far]].concat();
        let program = program(&rules);
        let allows = |kind, access, major, minor| allows(&program, kind, access, major, minor);
        assert!(allows(2, 6, 1, 3) && allows(2, 2, 1, 9) && allows(2, 6, 136, 77));
        assert!(allows(2, 1, 1, 3), "PID 1 makes it");
        assert!(!allows(1, 2, 1, 3), "a block device of the same numbers");
        assert!(!allows(2, 2, 1, 1), "mem");
        assert!(!allows(2, 2, 1, 11), "kmsg");
        assert!(!allows(1, 2, 8, 0) && !allows(1, 1, 8, 0));
        assert!(allows(1, 2, 7, 300) && !allows(1, 4, 7, 300) && !allows(1, 6, 7, 300));
        assert!(!allows(1, 2, 7, 301));
        assert!(allows(1, 5, 4095, 0xf_ffff) && !allows(1, 2, 4095, 0xf_ffff));
        assert!(!allows(2, 4, 4095, 0xf_ffff) && !allows(1, 4, 4094, 0xf_ffff));
    }

    #[test]
    fn as_v1_reads_it() {
        assert_eq!(USUAL[0].text(), "c 1:3 rwm");
        assert_eq!(USUAL[8].text(), "c 136:* rwm");
    }
}
