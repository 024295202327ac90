//! Owners and modes of configs, directories and trees that the tools trust.

use crate::common::*;
use std::fs;
use std::os::unix::fs::chown;

#[test]
fn a_config_that_others_can_write_is_refused() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.chmod("config", 0o666);
        assert_refused(s, 5, &["config", "chmod"]);
        w.chmod("config", 0o620);
        chown(w.path("config"), None, Some(1000)).unwrap();
        assert_refused(s, 5, &["config", "chmod"]);
        w.chmod("config", 0o600);
        chown(w.path("config"), Some(1000), None).unwrap();
        assert_refused(s, 5, &["config", "chown"]);
    });
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.chmod(".", 0o777);
        assert_refused(s, 5, &["/w", "chmod"]);
        w.chmod(".", 0o700);
        set_mode(&s.subhost, 0o777);
        assert_refused(s, 5, &[s.subhost.to_str().unwrap(), "chmod"]);
        set_mode(&s.subhost, 0o700);
        fs::write(s.subhost.join("defaults"), "X_A=1\n").unwrap();
        set_mode(s.subhost.join("defaults"), 0o666);
        assert_refused(s, 5, &["defaults", "chmod"]);
    });
}

#[test]
fn a_tree_that_others_can_reach_is_refused() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        set_mode(&s.base, 0o755);
        set_mode(&s.subhost, 0o755);
        w.chmod(".", 0o755);
        assert_refused(s, 5, &["chmod 700", w.dir.to_str().unwrap()]);
        // One closed directory on the path is enough.
        w.chmod(".", 0o700);
        s.tool("subhost-mount w").silent();
        s.tool("subhost-stop w").silent();
        w.chmod(".", 0o755);
        set_mode(&s.subhost, 0o700);
        s.tool("subhost-mount w").silent();
        s.tool("subhost-stop w").silent();
    });
}

#[test]
fn an_upper_that_others_can_reach_is_refused() {
    sandbox(|s| {
        set_mode(&s.base, 0o755);
        let open = s.base.join("open");
        fs::create_dir(&open).unwrap();
        set_mode(&open, 0o755);
        for name in ["up", "work"] {
            fs::create_dir(open.join(name)).unwrap();
            set_mode(open.join(name), 0o755);
        }
        s.overlay(
            "w",
            &format!("UPPER={0}/up\nWORK={0}/work\n", open.display()),
        );
        assert_refused(s, 5, &["chmod", open.to_str().unwrap()]);
    });
}

#[test]
fn without_privilege_one_is_told_so() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        // Other users may be unable to reach the directory that cargo builds in.
        let dir = s.base.join("tools");
        fs::create_dir(&dir).unwrap();
        set_mode(&s.base, 0o755);
        set_mode(&dir, 0o755);
        s.host(&format!("mount --bind {} tools", quote(tools_dir())));
        let before = s.snapshot();
        for tool in ["mount w", "net w", "start w", "stop w"] {
            let line = format!(
                "exec setpriv --reuid=65534 --regid=65534 --clear-groups {}/subhost-{tool}",
                dir.display()
            );
            s.sh(&line).fails(1, &["root"]);
        }
        let line = format!(
            "exec setpriv --reuid=65534 --regid=65534 --clear-groups {}/subhost-enter w -- true",
            dir.display()
        );
        s.sh(&line).fails(125, &["root"]);
        s.assert_same_now(&before);
        assert!(!w.exists("live/bin"));
    });
}
