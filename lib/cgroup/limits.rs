//! The files and texts that set a limit, in the v2 hierarchy (Documentation/admin-guide/cgroup-v2.rst) and
//! in v1 (Documentation/admin-guide/cgroup-v1). Nothing here writes them.

use crate::config::{Bound, CPU_PERIOD, DEFAULT_PIDS, Limits};

/// One text for one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// The files, in the order of preference, each with its text. The first that exists is written.
    pub ways: Vec<(&'static str, String)>,
    /// Whether it is no error if none of the files exists.
    pub optional: bool,
}

/// The limit of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub key: &'static str,
    pub controller: &'static str,
    /// Whether the config sets the key. Then a missing controller is an error.
    pub explicit: bool,
    pub v2: Vec<Write>,
    pub v1: Vec<Write>,
}

/// The rates of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// The numbers of the device, `major:minor`.
    pub device: String,
    /// The bounds in the order of [`crate::config::Io`]: rbps, wbps, riops, wiops.
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

// v1 writes "no bound" as -1.
fn v1(bound: Bound) -> String {
    match bound {
        Bound::Max => "-1".into(),
        Bound::At(number) => number.to_string(),
    }
}

/// Returns the limits of a config, in the order of writing.
pub(super) fn wanted(limits: &Limits, rates: &[Rates]) -> Vec<Wanted> {
    let mut all = cpu_limits(limits);
    all.extend(
        limits
            .memory
            .map(|memory| memory_limit(memory, limits.memory_swap)),
    );
    let pids = limits.pids.unwrap_or(Bound::At(DEFAULT_PIDS));
    // Both hierarchies write "no bound" as max.
    let max = || vec![write("pids.max", v2(pids))];
    all.push(Wanted {
        explicit: limits.pids.is_some(),
        ..set("PIDS", "pids", max(), max())
    });
    all.extend(limits.io_weight.map(io_weight));
    all.extend(rates.iter().map(io_rates));
    all
}

/// Makes a limit that the config sets.
fn set(key: &'static str, controller: &'static str, v2: Vec<Write>, v1: Vec<Write>) -> Wanted {
    Wanted {
        key,
        controller,
        explicit: true,
        v2,
        v1,
    }
}

fn cpu_limits(limits: &Limits) -> Vec<Wanted> {
    let mut all = Vec::new();
    if let Some(cpus) = &limits.cpuset {
        let (v2, v1) = (write("cpuset.cpus", cpus), write("cpuset.cpus", cpus));
        all.push(set("CPUSET", "cpuset", vec![v2], vec![v1]));
    }
    if let Some(quota) = limits.cpus {
        all.push(set(
            "CPUS",
            "cpu",
            vec![write("cpu.max", format!("{} {CPU_PERIOD}", v2(quota)))],
            vec![
                write("cpu.cfs_period_us", CPU_PERIOD.to_string()),
                write("cpu.cfs_quota_us", v1(quota)),
            ],
        ));
    }
    if let Some(weight) = limits.cpu_weight {
        // A weight of 100 is the default of 1024 shares; the kernel allows 2 to 262144 shares.
        let shares = (weight * 1024 / 100).clamp(2, 262_144);
        all.push(set(
            "CPU_WEIGHT",
            "cpu",
            vec![write("cpu.weight", weight.to_string())],
            vec![write("cpu.shares", shares.to_string())],
        ));
    }
    all
}

fn memory_limit(memory: Bound, swap: Option<Bound>) -> Wanted {
    // A kernel without swap, or with swapaccount=0, lacks the files of swap.
    let optional = swap.is_none();
    // Without MEMORY_SWAP there is no swap: swapping beyond the limit would only slow the host.
    let swap = swap.unwrap_or(match memory {
        Bound::Max => Bound::Max,
        Bound::At(_) => Bound::At(0),
    });
    let both = match (memory, swap) {
        (Bound::At(memory), Bound::At(swap)) => Bound::At(memory.saturating_add(swap)),
        _ => Bound::Max,
    };
    let write_swap = |file, text| Write {
        optional,
        ..write(file, text)
    };
    set(
        "MEMORY",
        "memory",
        vec![
            write("memory.max", v2(memory)),
            write_swap("memory.swap.max", v2(swap)),
        ],
        vec![
            write("memory.limit_in_bytes", v1(memory)),
            write_swap("memory.memsw.limit_in_bytes", v1(both)),
        ],
    )
}

fn io_weight(weight: u64) -> Wanted {
    // BFQ takes 1 to 1000. As in systemd, 100 is 100 in both scales.
    let bfq = match weight {
        ..=100 => weight,
        more => 100 + (more - 100) * 900 / 9900,
    };
    let first_of = |ways| {
        vec![Write {
            ways,
            optional: false,
        }]
    };
    set(
        "IO_WEIGHT",
        "io",
        first_of(vec![
            ("io.weight", weight.to_string()),
            ("io.bfq.weight", bfq.to_string()),
        ]),
        first_of(vec![
            ("blkio.bfq.weight", bfq.to_string()),
            ("blkio.weight", bfq.to_string()),
        ]),
    )
}

fn io_rates(rates: &Rates) -> Wanted {
    let (mut text, mut old) = (rates.device.clone(), Vec::new());
    for (bound, (word, file)) in rates.bounds.iter().zip(RATES) {
        if let Some(bound) = bound {
            text += &format!(" {word}={}", v2(*bound));
            // v1 writes "no bound" as 0 here.
            let number = match bound {
                Bound::Max => 0,
                Bound::At(number) => *number,
            };
            old.push(write(file, format!("{} {number}", rates.device)));
        }
    }
    set("IO", "io", vec![write("io.max", text)], old)
}

/// Returns the limits with no bound, or the default weight, for each of `keys` that is not set.
pub(super) fn lift_unset(limits: &Limits, keys: &[&str]) -> Limits {
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

/// The words of IO, each with its file of v1.
const RATES: [(&str, &str); 4] = [
    ("rbps", "blkio.throttle.read_bps_device"),
    ("wbps", "blkio.throttle.write_bps_device"),
    ("riops", "blkio.throttle.read_iops_device"),
    ("wiops", "blkio.throttle.write_iops_device"),
];

/// Returns the name that a controller has in v1.
pub(super) fn v1_name(controller: &str) -> &str {
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

    fn texts_of(limits: &Limits, rates: &[Rates], key: &str) -> (Vec<String>, Vec<String>) {
        let all = wanted(limits, rates);
        let one = all.iter().find(|wanted| wanted.key == key).unwrap();
        assert!(one.explicit || key == "PIDS");
        (texts(&one.v2), texts(&one.v1))
    }

    #[test]
    fn each_key_writes_its_files() {
        let limits = Limits {
            cpus: Some(Bound::At(150_000)),
            cpu_weight: Some(50),
            cpuset: Some("0-1".into()),
            memory: Some(Bound::At(64 << 20)),
            io_weight: Some(10_000),
            ..Limits::default()
        };
        let of = |key| texts_of(&limits, &[], key);
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
    fn max_lifts_a_limit() {
        let limits = Limits {
            cpus: Some(Bound::Max),
            memory: Some(Bound::Max),
            pids: Some(Bound::Max),
            ..Limits::default()
        };
        let of = |key| texts_of(&limits, &[], key);
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
        let (v2, v1) = texts_of(&swap, &[], "MEMORY");
        assert_eq!(v2[1], "memory.swap.max: 1048576");
        assert_eq!(v1[1], "memory.memsw.limit_in_bytes: 2097152");
    }

    #[test]
    fn rates_name_their_device() {
        let rates = Rates {
            device: "8:16".into(),
            bounds: [Some(Bound::At(1 << 20)), None, None, Some(Bound::Max)],
        };
        let (v2, v1) = texts_of(&Limits::default(), &[rates], "IO");
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
    fn by_default_only_pids_are_limited() {
        let all = wanted(&Limits::default(), &[]);
        assert_eq!(all.len(), 1);
        assert!(!all[0].explicit && all[0].controller == "pids");
    }
}
