//! Frozen plans: a damaged one is refused, and one that is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subhost::plan::Plan;

fuzz_target!(|text: &str| {
    if let Ok(plan) = Plan::from_text(text) {
        let again = Plan::from_text(&plan.to_text().unwrap()).unwrap();
        assert_eq!(plan, again);
    }
});
