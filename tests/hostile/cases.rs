//! One hostile case, run; and the results of many.

use crate::canary::Canary;
use crate::common::*;
use crate::shape::{PLACES, SHAPES, Shape};
use std::fs;

/// Returns the mounts of this thread that are not in `before` and not below $SUBHOST.
pub fn mounted_outside(s: &Sandbox, before: &[String]) -> Vec<String> {
    let inside = s.subhost.to_str().unwrap();
    let now = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let text = |line: &str| line.splitn(3, ' ').nth(2).unwrap().to_owned();
    now.lines()
        .map(text)
        .filter(|line| !before.contains(line) && !line.contains(inside))
        .filter(|line| !line.contains("/run/netns"))
        .collect()
}

/// Starts, enters and stops `w`. The tools may refuse, but within seconds, with an exit status of the table and a
/// message about `object`; and the host must be as before. Returns whether start and enter both worked, or what is
/// wrong.
pub fn survived(
    s: &Sandbox,
    canary: &Canary,
    before: &Snapshot,
    object: &str,
) -> Result<bool, String> {
    canary.events();
    let start = s.tool("subhost-start w").limit(10).run();
    let enter = s.tool("subhost-enter -u web w -- sh -c :").limit(10).run();
    let outside = mounted_outside(s, before.lines("mount"));
    let stop = s.tool("subhost-stop --sync w").limit(10).run();
    let events = canary.events();
    let mut wrong = String::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong += &format!("{what}\n");
        }
    };
    must([0, 1].contains(&start.code), &start.to_string());
    must([0, 125, 126, 127].contains(&enter.code), &enter.to_string());
    for out in [&start, &enter] {
        // With a damaged passwd or directory the message is about the user or the program.
        let objects = [
            object,
            "user 'web'",
            "run sh",
            "run /bin/sleep",
            "/proc/self/exe",
        ];
        let told = objects.iter().any(|object| out.stderr.contains(object));
        must(out.code == 0 || told, &format!("no '{object}': {out}"));
        must(!out.stderr.contains("panicked"), &out.to_string());
    }
    must(outside.is_empty(), &format!("mounted: {outside:?}"));
    must(stop.code == 0, &stop.to_string());
    must(
        events.is_empty(),
        &format!("the host was touched: {events:?}"),
    );
    let diff = before.diff(&s.snapshot());
    must(diff.is_empty(), &diff);
    match wrong.is_empty() {
        true => Ok(start.code == 0 && enter.code == 0),
        false => Err(wrong),
    }
}

/// Counts the results of many cases: none may be wrong, and some must work.
#[derive(Default)]
pub struct Tally {
    pub cases: usize,
    pub works: usize,
    pub wrong: String,
}

impl Tally {
    pub fn count(&mut self, case: &str, outcome: Result<bool, String>) {
        self.cases += 1;
        match outcome {
            Ok(works) => self.works += usize::from(works),
            Err(wrong) => self.wrong += &format!("--- {case}\n{wrong}"),
        }
    }

    #[track_caller]
    pub fn holds(&self) {
        println!("{} cases, {} work", self.cases, self.works);
        assert!(self.wrong.is_empty(), "{}", self.wrong);
        assert!(self.works * 5 > self.cases, "a test of refusals only");
    }
}

/// Returns a config that mounts, reads or writes at each hostile place.
pub fn config(s: &Sandbox) -> String {
    let base = s.base.display();
    format!(
        "DNS=192.0.2.53\nBIND='{base}/data:/mnt/deep {base}/data/file:/srv/file'\n\
         TMPFS=/tmp/deep\nRUN='/bin/sleep 1000'\nRUN_DIR=/srv\nBRIDGES==\nADDR0=192.0.2.2/24\n"
    )
}

pub fn places(kind: usize, one_in: usize) -> impl Iterator<Item = (&'static str, Shape)> {
    let all = PLACES
        .iter()
        .flat_map(|place| SHAPES.iter().map(move |shape| (*place, *shape)));
    // `make check` runs each case with one kind of root at most, `make soak` with all.
    let step = rounds(one_in, 1);
    all.enumerate()
        .filter(move |(number, _)| number % step == kind % step)
        .map(|(_, case)| case)
}
