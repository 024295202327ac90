//! CAPS and NO_NEW_PRIVS.

use crate::common::*;
use crate::{Call, copy, outcomes, plant, status};
use nix::libc;

/// A capability lets the system calls through that it is for.
#[test]
fn capabilities_by_name() {
    sandbox(|s| {
        s.overlay("w", "CAPS='+CAP_BPF +SYS_TIME -KILL'\n");
        plant(&s.layer("base"));
        s.tool("subhost-start w").silent();
        let calls: &[Call] = &[
            ("bpf", libc::SYS_bpf, [0; 3]),
            ("time", libc::SYS_adjtimex, [0; 3]),
            ("mount", libc::SYS_mount, [0; 3]),
        ];
        let told = outcomes(s, "w", calls);
        assert_ne!(told["bpf"], "EPERM");
        assert_eq!(told["time"], "EFAULT");
        assert_eq!(told["mount"], "EPERM");
        for process in ["1", "self"] {
            for key in ["CapBnd", "CapPrm", "CapEff"] {
                let caps = u64::from_str_radix(&status(s, "w", process, key), 16).unwrap();
                // KILL 5, SYS_TIME 25, BPF 39 (capabilities.h)
                assert_eq!(caps >> 5 & 1, 0, "{process} {key} {caps:x}");
                assert_eq!(caps >> 25 & 1, 1, "{process} {key} {caps:x}");
                assert_eq!(caps >> 39 & 1, 1, "{process} {key} {caps:x}");
            }
        }
        // The settings of the boot count, whatever the config says now.
        s.overlay("none", "CAPS=none\n");
        s.tool("subhost-start none").silent();
        assert_eq!(status(s, "none", "self", "CapBnd"), "0000000000000000");
        s.sh("echo CAPS=all >> $SUBHOST/none/config").ok();
        assert_eq!(status(s, "none", "self", "CapBnd"), "0000000000000000");
    });
}

#[test]
fn all_capabilities_and_all_calls() {
    sandbox(|s| {
        s.overlay("w", "CAPS=all SECCOMP=off\n".replace(' ', "\n").as_str());
        s.tool("subhost-start w").silent();
        s.tool("subhost-enter w -- mount -t tmpfs none /mnt").ok();
        s.overlay("v", "CAPS=+SYS_ADMIN\n");
        s.tool("subhost-start v").silent();
        s.tool("subhost-enter v -- mount -t tmpfs none /mnt").ok();
    });
}

/// A setuid file changes the user, unless NO_NEW_PRIVS is set.
#[test]
fn no_new_privileges() {
    sandbox(|s| {
        for (name, value, uid) in [("w", "no", "0"), ("v", "yes", "1000")] {
            let w = s.overlay(name, &format!("NO_NEW_PRIVS={value}\n"));
            copy(&w.path("root"), &program("id").unwrap(), "id");
            w.chmod("root/id", 0o4755);
            s.tool(&format!("subhost-start {name}")).silent();
            for process in ["1", "self"] {
                let expected = if value == "yes" { "1" } else { "0" };
                assert_eq!(status(s, name, process, "NoNewPrivs"), expected);
                assert_eq!(status(s, name, process, "Seccomp"), "2");
            }
            let told = s
                .tool(&format!("subhost-enter -u web {name} -- /id -u"))
                .ok();
            assert_eq!(told.text(), uid, "{value}");
        }
    });
}

#[test]
fn words_that_are_none() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        for (config, says) in [
            (
                "CAPS=+SYS_ADMN",
                "config:2: CAPS: there is no capability 'SYS_ADMN'; did you mean SYS_ADMIN?",
            ),
            ("CAPS=SYS_ADMIN", "is none of +CAP, -CAP, all and none"),
            ("NO_NEW_PRIVS=1", "neither yes nor no"),
            (
                "SECCOMP=on",
                "config:2: SECCOMP: 'on' is not default, strict, off or a path",
            ),
        ] {
            w.config(&format!("{config}\n"));
            s.tool("subhost-start w").fails(5, &[says]);
        }
    });
}

/// `subhost-config --check` reports each setting that is weaker than the default, and nothing else.
#[test]
fn what_a_config_weakens_is_shown() {
    sandbox(|s| {
        s.host("mkdir -p srv/www");
        let www = s.base.join("srv/www");
        let plain = format!(
            "CAPS='-KILL all none -BPF'\nNO_NEW_PRIVS=yes\nSECCOMP=strict\nMASK=/srv\n\
             BIND='{} /etc/hosts:/etc/hosts:ro'\n",
            www.display()
        );
        let w = s.overlay("w", &plain);
        s.tool("subhost-config --check w").silent();
        assert_lacks(&s.tool("subhost-info w").run().stdout, &["Weakened"]);
        w.write("calls.json", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        for (line, says) in [
            (
                "CAPS='+SYS_ADMIN +KILL +BPF'",
                "CAPS gives root inside also SYS_ADMIN, BPF",
            ),
            ("SECCOMP=off", "SECCOMP=off: no system call is refused"),
            (
                "SECCOMP=./calls.json",
                "w/calls.json says which system calls are refused",
            ),
            (
                "MASK='-/proc/keys -/proc/sys'",
                "MASK: not covered or protected are /proc/keys, /proc/sys",
            ),
            (
                "DEVICES=/dev/mem",
                "DEVICES: the inside has the host's /dev/mem",
            ),
            ("NET=host", "NET=host: the inside can listen and connect"),
            ("LOWER=/", "LOWER=/ shows the inside all files of the host"),
            (
                "BIND=/etc:/mnt",
                "BIND: the inside can write the host's /etc",
            ),
            (
                "BIND=/usr/share/doc:/mnt",
                "BIND: the inside can write the host's /usr/share/doc",
            ),
            (
                "BIND=/root:/mnt:ro",
                "BIND: the inside can read the host's /root",
            ),
            (
                "BIND=/run/docker.sock:/mnt:ro",
                "BIND: the inside can talk to services of the host by /run/docker.sock",
            ),
        ] {
            w.config(&format!("{line}\n"));
            assert_has(&s.tool("subhost-config --check w").ok().stderr, &[says]);
            let info = s.tool("subhost-info w").run();
            assert_has(&info.stdout, &["Weakened:", says]);
            let json = s.tool("subhost-info --json w").run().stdout;
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json["weakened"].as_array().unwrap().len(), 1, "{json}");
        }
    });
}
