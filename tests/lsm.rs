//! APPARMOR and SELINUX: they confine the processes inside if the host has them, and are refused if not.

mod common;

use common::*;
use std::fs;
use std::path::Path;

fn refused(s: &Sandbox, setting: &str, words: &[&str]) {
    let before = s.snapshot();
    s.tool("subhost-start w")
        .arg("--set")
        .arg(setting)
        .fails(1, words);
    s.tool("subhost-enter w --set")
        .arg(setting)
        .arg("--")
        .arg("true")
        .fails(125, words);
    s.assert_same(&before);
}

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with('Y'))
}

/// May do everything but write below /srv.
const PROFILE: &str = "profile NAME flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, signal, ptrace, unix, mount, umount, pivot_root,
  deny /srv/** w,
}
";

#[test]
fn an_apparmor_profile() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.mkdir("root/srv");
        if !has_apparmor() {
            refused(
                s,
                "APPARMOR=some-profile",
                &["APPARMOR=some-profile", "kernel has no AppArmor"],
            );
            return;
        }
        s.host("mount -t securityfs securityfs /sys/kernel/security");
        refused(
            s,
            "APPARMOR=no-such",
            &["APPARMOR=no-such", "apparmor_parser"],
        );
        let profile = format!("subhost-test-{}", std::process::id());
        fs::write(s.base.join("profile"), PROFILE.replace("NAME", &profile)).unwrap();
        s.host("apparmor_parser -r -K profile");
        let before = s.snapshot();
        let write = "echo x >/tmp/x && ! echo x >/srv/x";
        for command in ["RUN", "INIT"] {
            let config = format!("APPARMOR={profile}\n{command}='/bin/sh -c \"sleep 1000; :\"'\n");
            w.config(&config);
            s.tool("subhost-start w").silent();
            assert_has(&current(s, command), &[&profile, "enforce"]);
            assert_has(&s.inside("w", "cat /proc/self/attr/current"), &[&profile]);
            assert_eq!(s.inside("w", &format!("{write}; echo $?")), "0");
            s.tool("subhost-stop -k w").ok();
        }
        assert_has(&s.inside("w", "cat /proc/self/attr/current"), &[&profile]);
        s.host("apparmor_parser -R profile");
        s.assert_same(&before);
    });
}

/// Of tests/selinux/policy.conf: may read files and not write them.
const LABEL: &str = "test_u:test_r:inside_t";

#[test]
fn an_selinux_label() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        // The sandbox has a sysfs of its own, without what was mounted on the host's.
        s.host("test ! -d /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux");
        let context = Path::new("/sys/fs/selinux/context");
        let (has_selinux, has_policy) = (context.exists(), fs::write(context, LABEL).is_ok());
        // The virtual machine of `make check-vm` says that it has loaded the policy.
        assert_eq!(
            has_selinux && has_policy,
            std::env::var_os("SUBHOST_SELINUX").is_some()
        );
        let words = match has_selinux {
            false => ["SELINUX=a:b:c", "kernel has no SELinux"],
            true => ["SELINUX=a:b:c", "does not know it"],
        };
        refused(s, "SELINUX=a:b:c", &words);
        if !has_policy {
            return;
        }
        let before = s.snapshot();
        for command in ["RUN", "INIT"] {
            w.config(&format!(
                "SELINUX={LABEL}\n{command}='/bin/sh -c \"sleep 1000; :\"'\n"
            ));
            s.tool("subhost-start w").silent();
            assert_has(&current(s, command), &[LABEL]);
            assert_has(&s.inside("w", "cat /proc/self/attr/current"), &[LABEL]);
            let denied = s.enter("w", "echo x >/tmp/x").fails(1, &["/tmp/x"]);
            assert_has(&denied.stderr, &["ermission denied"]);
            s.tool("subhost-stop -k w").ok();
        }
        s.assert_same(&before);
    });
}

/// What the command of a running one is confined by.
fn current(s: &Sandbox, command: &str) -> String {
    let pid = s.pid("w");
    let pid = match command {
        "INIT" => pid.to_string(),
        _ => s.host(&format!("pgrep -P {pid}")),
    };
    fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap()
}

#[test]
fn a_label_of_several_lines_is_refused() {
    sandbox(|s| {
        s.overlay("w", "");
        for key in ["APPARMOR", "SELINUX"] {
            s.tool("subhost-config --check w --set")
                .arg(format!("{key}=a\nb"))
                .fails(5, &[key, "control character"]);
        }
    });
}
