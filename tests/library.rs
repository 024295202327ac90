//! The library by itself: a subhost up, looked at, and down from Rust, without a tool between.

mod common;

use common::*;
use subhost::Name;
use subhost::plan::{Part, Step};
use subhost::subhost::{StartHow, Status, StopHow, Subhost};

#[test]
fn up_and_down_from_rust() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", "BRIDGES=br0\nADDR0=192.0.2.10/24\n");
        let before = s.world();
        subhost::kernel::tools::tools_in(tools_dir().as_ref());
        let w = Subhost::new(&s.subhost, &Name::new("w").unwrap(), &[]);
        let plan = w.plan(Part::Net).unwrap();
        assert!(matches!(&plan.steps[1], Step::Cable(step) if step.cable.host == "w0"));
        assert_eq!(w.status().unwrap(), Status::Stopped);
        assert_eq!(w.start(StartHow::Background, None).unwrap(), 0);
        assert_eq!(w.status().unwrap(), Status::Running);
        assert_eq!(s.inside("w", "hostname"), "w");
        let keep = StopHow {
            keep: true,
            ..StopHow::default()
        };
        w.stop(keep).unwrap();
        assert_eq!(w.status().unwrap(), Status::Hibernating);
        let sync = StopHow {
            sync: true,
            ..StopHow::default()
        };
        w.stop(sync).unwrap();
        assert_eq!(w.status().unwrap(), Status::Stopped);
        s.same(&before);
    });
}

#[test]
fn what_is_not_there_says_so() {
    sandbox(|s| {
        let none = Subhost::new(&s.subhost, &Name::new("none").unwrap(), &[]);
        let error = none.start(StartHow::Background, None).unwrap_err();
        assert_eq!(error.exit, subhost::error::Exit::NoSubhost);
        assert!(Name::new("../x").is_err());
    });
}
