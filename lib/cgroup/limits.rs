//! What is written into which file of which controller for a limit: of v2
//! (Documentation/admin-guide/cgroup-v2.rst) and of v1 (Documentation/admin-guide/cgroup-v1). Pure.

use crate::config::{Bound, CPU_PERIOD, Limits, USUAL_PIDS};

/// One text for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// File and text; of several the first whose file is there.
    pub ways: Vec<(&'static str, String)>,
    /// Where the file is not there, nothing is lost.
    pub optional: bool,
}

/// What one key wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub key: &'static str,
    pub controller: &'static str,
    /// Somebody set it: without the controller it is refused.
    pub explicit: bool,
    pub v2: Vec<Write>,
    pub v1: Vec<Write>,
}

/// The rates of a device by its number, `8:0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// `major:minor`.
    pub device: String,
    /// As in [`crate::config::Io`]: rbps, wbps, riops, wiops.
    pub bounds: [Option<Bound>; 4],
}

fn write(file: &'static str, text: impl Into<String>) -> Write {
    Write {
        ways: vec![(file, text.into())],
        optional: false,
    }
}

fn v2(bound: Bound) -> String {
    match bound {
        Bound::Max => "max".into(),
        Bound::At(number) => number.to_string(),
    }
}

/// v1 says -1.
fn v1(bound: Bound) -> String {
    match bound {
        Bound::Max => "-1".into(),
        Bound::At(number) => number.to_string(),
    }
}

/// All that the settings want, in the order of writing.
pub(super) fn wanted(limits: &Limits, rates: &[Rates]) -> Vec<Wanted> {
    let mut all = Vec::new();
    let mut add = |key, controller, v2, v1| {
        all.push(Wanted {
            key,
            controller,
            explicit: true,
            v2,
            v1,
        });
    };
    if let Some(cpus) = &limits.cpuset {
        let (v2, v1) = (write("cpuset.cpus", cpus), write("cpuset.cpus", cpus));
        add("CPUSET", "cpuset", vec![v2], vec![v1]);
    }
    if let Some(quota) = limits.cpus {
        add(
            "CPUS",
            "cpu",
            vec![write("cpu.max", format!("{} {CPU_PERIOD}", v2(quota)))],
            vec![
                write("cpu.cfs_period_us", CPU_PERIOD.to_string()),
                write("cpu.cfs_quota_us", v1(quota)),
            ],
        );
    }
    if let Some(weight) = limits.cpu_weight {
        // 100 is what 1024 shares were; the kernel takes 2 to 262144 of those.
        let shares = (weight * 1024 / 100).clamp(2, 262_144);
        add(
            "CPU_WEIGHT",
            "cpu",
            vec![write("cpu.weight", weight.to_string())],
            vec![write("cpu.shares", shares.to_string())],
        );
    }
    if let Some(memory) = limits.memory {
        // Swap beyond that would only make the host slow: none where nothing is said.
        let swap = limits.memory_swap.unwrap_or(match memory {
            Bound::Max => Bound::Max,
            Bound::At(_) => Bound::At(0),
        });
        let both = match (memory, swap) {
            (Bound::At(memory), Bound::At(swap)) => Bound::At(memory.saturating_add(swap)),
            _ => Bound::Max,
        };
        // Not there in a kernel without swap, or told not to account for it.
        let optional = limits.memory_swap.is_none();
        let swapping = |file, text| Write {
            optional,
            ..write(file, text)
        };
        add(
            "MEMORY",
            "memory",
            vec![
                write("memory.max", v2(memory)),
                swapping("memory.swap.max", v2(swap)),
            ],
            vec![
                write("memory.limit_in_bytes", v1(memory)),
                swapping("memory.memsw.limit_in_bytes", v1(both)),
            ],
        );
    }
    let pids = limits.pids.unwrap_or(Bound::At(USUAL_PIDS));
    // The kernel's own word in both.
    let max = || vec![write("pids.max", v2(pids))];
    all.push(Wanted {
        key: "PIDS",
        controller: "pids",
        explicit: limits.pids.is_some(),
        v2: max(),
        v1: max(),
    });
    let mut add = |key, v2, v1| {
        all.push(Wanted {
            key,
            controller: "io",
            explicit: true,
            v2,
            v1,
        });
    };
    if let Some(weight) = limits.io_weight {
        // Of 1 to 1000, as systemd maps it: 100 stays what it is.
        let bfq = match weight {
            ..=100 => weight,
            more => 100 + (more - 100) * 900 / 9900,
        };
        let ways = |ways| Write {
            ways,
            optional: false,
        };
        add(
            "IO_WEIGHT",
            vec![ways(vec![
                ("io.weight", weight.to_string()),
                ("io.bfq.weight", bfq.to_string()),
            ])],
            vec![ways(vec![
                ("blkio.bfq.weight", bfq.to_string()),
                ("blkio.weight", bfq.to_string()),
            ])],
        );
    }
    for rates in rates {
        let (mut text, mut old) = (rates.device.clone(), Vec::new());
        for (bound, (word, file)) in rates.bounds.iter().zip(RATES) {
            if let Some(bound) = bound {
                text += &format!(" {word}={}", v2(*bound));
                // Here 0 is none.
                let number = match bound {
                    Bound::Max => 0,
                    Bound::At(number) => *number,
                };
                old.push(write(file, format!("{} {number}", rates.device)));
            }
        }
        add("IO", vec![write("io.max", text)], old);
    }
    all
}

/// The same with what lifts each of `keys` that is not set.
pub(super) fn lifted(limits: &Limits, keys: &[&str]) -> Limits {
    let mut all = limits.clone();
    let lift = |key: &str, place: &mut Option<Bound>| {
        if keys.contains(&key) && place.is_none() {
            *place = Some(Bound::Max);
        }
    };
    lift("CPUS", &mut all.cpus);
    if keys.contains(&"MEMORY") || keys.contains(&"MEMORY_SWAP") {
        all.memory = all.memory.or(Some(Bound::Max));
    }
    for (key, weight) in [
        ("CPU_WEIGHT", &mut all.cpu_weight),
        ("IO_WEIGHT", &mut all.io_weight),
    ] {
        if keys.contains(&key) {
            *weight = weight.or(Some(100));
        }
    }
    if keys.contains(&"CPUSET") && all.cpuset.is_none() {
        all.cpuset = Some(String::new());
    }
    all
}

/// The words of IO with v1's file for each.
const RATES: [(&str, &str); 4] = [
    ("rbps", "blkio.throttle.read_bps_device"),
    ("wbps", "blkio.throttle.write_bps_device"),
    ("riops", "blkio.throttle.read_iops_device"),
    ("wiops", "blkio.throttle.write_iops_device"),
];

/// What v1 calls a controller of v2.
pub(super) fn old_name(controller: &str) -> &str {
    match controller {
        "io" => "blkio",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(writes: &[Write]) -> Vec<String> {
        let text = |write: &Write| {
            let ways: Vec<String> = write
                .ways
                .iter()
                .map(|(file, text)| format!("{file}: {text}"))
                .collect();
            ways.join(" or ")
        };
        writes.iter().map(text).collect()
    }

    fn of(limits: &Limits, rates: &[Rates], key: &str) -> (Vec<String>, Vec<String>) {
        let all = wanted(limits, rates);
        let one = all.iter().find(|wanted| wanted.key == key).unwrap();
        assert!(one.explicit || key == "PIDS");
        (texts(&one.v2), texts(&one.v1))
    }

    #[test]
    fn what_each_key_writes() {
        let limits = Limits {
            cpus: Some(Bound::At(150_000)),
            cpu_weight: Some(50),
            cpuset: Some("0-1".into()),
            memory: Some(Bound::At(64 << 20)),
            io_weight: Some(10_000),
            ..Limits::default()
        };
        let of = |key| of(&limits, &[], key);
        assert_eq!(of("CPUS").0, ["cpu.max: 150000 100000"]);
        assert_eq!(
            of("CPUS").1,
            ["cpu.cfs_period_us: 100000", "cpu.cfs_quota_us: 150000"]
        );
        assert_eq!(of("CPU_WEIGHT").0, ["cpu.weight: 50"]);
        assert_eq!(of("CPU_WEIGHT").1, ["cpu.shares: 512"]);
        assert_eq!(of("CPUSET").0, ["cpuset.cpus: 0-1"]);
        assert_eq!(
            of("MEMORY").0,
            ["memory.max: 67108864", "memory.swap.max: 0"]
        );
        assert_eq!(
            of("MEMORY").1,
            [
                "memory.limit_in_bytes: 67108864",
                "memory.memsw.limit_in_bytes: 67108864"
            ]
        );
        assert_eq!(of("PIDS").0, ["pids.max: 8192"]);
        assert_eq!(
            of("IO_WEIGHT").0,
            ["io.weight: 10000 or io.bfq.weight: 1000"]
        );
    }

    #[test]
    fn what_max_writes() {
        let limits = Limits {
            cpus: Some(Bound::Max),
            memory: Some(Bound::Max),
            pids: Some(Bound::Max),
            ..Limits::default()
        };
        let of = |key| of(&limits, &[], key);
        assert_eq!(of("CPUS").0, ["cpu.max: max 100000"]);
        assert_eq!(of("CPUS").1[1], "cpu.cfs_quota_us: -1");
        assert_eq!(of("MEMORY").0, ["memory.max: max", "memory.swap.max: max"]);
        assert_eq!(of("MEMORY").1[0], "memory.limit_in_bytes: -1");
        assert_eq!(of("PIDS").1, ["pids.max: max"]);
        let swap = Limits {
            memory: Some(Bound::At(1 << 20)),
            memory_swap: Some(Bound::At(1 << 20)),
            ..Limits::default()
        };
        let (v2, v1) = super::tests::of(&swap, &[], "MEMORY");
        assert_eq!(v2[1], "memory.swap.max: 1048576");
        assert_eq!(v1[1], "memory.memsw.limit_in_bytes: 2097152");
    }

    #[test]
    fn rates_of_devices() {
        let rates = Rates {
            device: "8:16".into(),
            bounds: [Some(Bound::At(1 << 20)), None, None, Some(Bound::Max)],
        };
        let (v2, v1) = of(&Limits::default(), &[rates], "IO");
        assert_eq!(v2, ["io.max: 8:16 rbps=1048576 wiops=max"]);
        assert_eq!(
            v1,
            [
                "blkio.throttle.read_bps_device: 8:16 1048576",
                "blkio.throttle.write_iops_device: 8:16 0"
            ]
        );
    }

    #[test]
    fn nothing_set_limits_processes_alone() {
        let all = wanted(&Limits::default(), &[]);
        assert_eq!(all.len(), 1);
        assert!(!all[0].explicit && all[0].controller == "pids");
    }
}
