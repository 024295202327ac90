//! The devices that processes inside may open. This is a second barrier: all that they can write is mounted
//! nodev, and they lack CAP_MKNOD. In the v2 hierarchy it is a program on the cgroup
//! (BPF_PROG_TYPE_CGROUP_DEVICE), in v1 the controller `devices`. A host with neither does without.

use super::dir::write;
use crate::config::Config;
use crate::sys::{self, Instruction};
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsFd;
use std::path::Path;

/// The access to one device, or to all of a major number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    block: bool,
    major: u32,
    /// The minor number; none means all.
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

    /// Formats the rule for v1 (Documentation/admin-guide/cgroup-v1/devices.rst).
    fn to_text(self) -> String {
        let kind = if self.block { 'b' } else { 'c' };
        let minor = self.minor.map_or("*".into(), |minor| minor.to_string());
        let (read, write) = (
            if self.read { "r" } else { "" },
            if self.write { "w" } else { "" },
        );
        format!("{kind} {}:{minor} {read}{write}m", self.major)
    }
}

/// null, zero, full, random, urandom; tty, console, ptmx; the slaves of pseudoterminals (devices.txt).
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

/// Returns the rules of a config: the usual devices and those of DEVICES. Mounts of BIND are nodev.
pub(super) fn rules(config: &Config) -> Vec<Rule> {
    let mut all = USUAL.to_vec();
    for device in &config.confine.devices {
        // The step that makes the node reports a missing device.
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

/// Attaches the rules to a v2 cgroup. Returns false if the kernel does not support this.
pub(super) fn attach(dir: &Path, rules: &[Rule]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::open(dir, flags, Mode::empty()) else {
        return false;
    };
    let program = sys::load_device_program(&program(rules));
    program.is_ok_and(|program| sys::attach_device_program(&dir, program.as_fd()).is_ok())
}

/// Writes the rules to a v1 cgroup.
pub(super) fn allow(dir: &Path, rules: &[Rule]) -> std::io::Result<()> {
    write(&dir.join("devices.deny"), "a")?;
    rules
        .iter()
        .try_for_each(|rule| write(&dir.join("devices.allow"), &rule.to_text()))
}

/// Compiles the rules; the program returns 1 to allow. A rule also allows making nodes, as PID 1 does for
/// /dev.
///
/// At load time the kernel follows each path through the program, which takes longer than all its runs. So
/// a device with full access takes one test.
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
    // These two compare the lower 32 bits.
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
    // Registers: 2 is the access, 3 the kind, 4 the major number, 5 major and minor number.
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
    // The indices of the tests that jump to the end, which allows.
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

    /// Runs the program as the kernel does, and returns its answer.
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
    fn other_devices_are_denied() {
        let disk = Rule {
            block: true,
            major: 7,
            minor: Some(300),
            read: true,
            write: false,
        };
        // Numbers with all bits set.
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
    fn rules_are_formatted_for_v1() {
        assert_eq!(USUAL[0].to_text(), "c 1:3 rwm");
        assert_eq!(USUAL[8].to_text(), "c 136:* rwm");
    }
}
