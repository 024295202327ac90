//! What tools of another version left is taken over: frozen plans, records, and a PID 1 that runs.

mod common;

use common::*;
use std::path::Path;

const CONFIG: &str =
    "VOLATILE=yes\nPREMOUNT=/bin/true\nBRIDGES=br0=d6:e7:89:f1:0d:9c\nADDR0=192.0.2.10/24
GATEWAY=192.0.2.1\nROUTES=198.51.100.0/24=192.0.2.2\n";

/// Puts the plans that 0.1.0 froze in the place of ours, without marks, for what is up.
fn as_of_0_1_0(s: &Sandbox) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/versions/0.1.0");
    for plan in ["root.plan", "net.plan"] {
        let text = std::fs::read_to_string(kept.join(plan)).unwrap();
        let text = text.replace("@BOOT@", boot.trim());
        let text = text.replace("@SUBHOST@", s.subhost.to_str().unwrap());
        std::fs::write(Path::new("/run/subhost/w").join(plan), text).unwrap();
    }
    // Its record of PID 1 knew of no protocol.
    s.host("[ ! -e /run/subhost/w/init ] || sed -i 's/\"protocol\":[0-9]*,//' /run/subhost/w/init");
}

#[test]
fn plans_of_0_1_0_are_read_and_taken_down() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", CONFIG);
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-net w").silent();
        as_of_0_1_0(s);
        assert_has(
            &s.tool("subhost-list").ok().stdout,
            &["hibernating", "192.0.2.10"],
        );
        // It is up as its settings want it, and keeps running.
        let out = s.tool("subhost-start w").ok();
        assert_eq!(out.stderr, "", "nothing changed");
        assert_eq!(s.inside("w", "hostname"), "w");
        as_of_0_1_0(s);
        assert_has(&s.tool("subhost-info w").ok().stdout, &["running"]);
        s.stop("w", &before);
    });
}

#[test]
fn records_of_0_1_0_are_read() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", CONFIG);
        let before = s.start("w");
        as_of_0_1_0(s);
        assert_eq!(s.inside("w", "hostname"), "w");
        s.tool("subhost-stop --keep w").silent();
        s.tool("subhost-start w").silent();
        s.stop("w", &before);
    });
}

/// A name that is kept for something else by now: what is up under it is seen and taken down, and then refused.
#[test]
fn what_is_up_under_a_name_that_is_kept_by_now_is_taken_down() {
    sandbox(|s| {
        s.bridge("br0");
        s.overlay("w", CONFIG);
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.host(
            "mv /run/subhost/w /run/subhost/lab
                sed -i 's/\"subhost\":\"w\"/\"subhost\":\"lab\"/' /run/subhost/lab/root.plan",
        );
        assert_has(&s.tool("subhost-list").ok().stdout, &["lab", "hibernating"]);
        assert_has(&s.tool("subhost-list lab").ok().stdout, &["hibernating"]);
        s.tool("subhost-stop lab").silent();
        s.assert_same(&before);
        s.tool("subhost-start lab")
            .fails(2, &["cannot be the name"]);
    });
}

#[test]
fn a_plan_of_a_later_version_is_refused_and_left_untouched() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        s.tool("subhost-mount w").silent();
        s.host("cp /run/subhost/w/root.plan saved
                sed 's/\"format\":[0-9]*/\"format\":99/' saved >/run/subhost/w/root.plan; cp /run/subhost/w/root.plan later");
        for tool in [
            "subhost-mount w",
            "subhost-mount -u w",
            "subhost-stop w",
            "subhost-start w",
        ] {
            s.tool(tool)
                .fails(5, &["root.plan", "format 99", "reads 2 and 1"]);
        }
        s.host(
            "cmp later /run/subhost/w/root.plan; cp saved /run/subhost/w/root.plan; rm saved later",
        );
        s.stop("w", &before);
    });
}

/// With the tools of the version before themselves: SUBHOST_BEFORE is their directory (`make check-before`).
#[cfg(feature = "before")]
mod before {
    use super::*;

    /// A tool of the version before.
    fn old(s: &Sandbox, line: &str) {
        let dir = std::env::var("SUBHOST_BEFORE").expect("SUBHOST_BEFORE names a directory");
        let subhost = s.subhost.to_str().unwrap();
        s.host(&format!("export SUBHOST={subhost}; exec {dir}/{line}"));
    }

    /// Each way to be up by the old tools, and to be taken over.
    fn each(config: &'static str, up: &'static [&'static str]) {
        sandbox(move |s| {
            s.bridge("br0");
            s.overlay("w", config);
            let before = s.snapshot();
            for line in up {
                old(s, line);
            }
            let running = up.contains(&"subhost-start w");
            let state = if running { "running" } else { "hibernating" };
            assert_has(&s.tool("subhost-list").ok().stdout, &[state]);
            if running {
                assert_eq!(s.inside("w", "hostname"), "w");
                s.tool("subhost-stop --keep w").silent();
            }
            s.tool("subhost-start w").silent();
            assert_eq!(s.inside("w", "hostname"), "w");
            s.stop("w", &before);
            // And at once, as they left it.
            for line in up {
                old(s, line);
            }
            s.stop("w", &before);
            assert!(s.tool("subhost-check").ok().stdout.contains("nothing"));
        });
    }

    #[test]
    fn running_under_a_name_that_is_kept_by_now() {
        sandbox(|s| {
            s.overlay("lab", "RUN='sleep 1000'");
            let before = s.snapshot();
            old(s, "subhost-start lab");
            assert_has(&s.tool("subhost-list").ok().stdout, &["lab", "running"]);
            assert_eq!(s.inside("lab", "hostname"), "lab");
            s.stop("lab", &before);
        });
    }

    #[test]
    fn hibernating() {
        each(CONFIG, &["subhost-mount w", "subhost-net w"]);
    }

    #[test]
    fn running() {
        each(CONFIG, &["subhost-start w"]);
    }

    #[test]
    fn running_a_service() {
        each("RUN='sleep 1000'\nMEMORY=64M\n", &["subhost-start w"]);
    }

    #[test]
    fn running_with_ids_of_its_own() {
        each(
            "USERNS=yes\nBRIDGES=br0\nADDR0=192.0.2.10/24\n",
            &["subhost-start w"],
        );
    }
}
