//! ENV_FILE: its variables are seen inside and nowhere else.

use crate::common::*;
use crate::hooks::hooks;
use crate::log;
use std::fs;

/// Writes the files for ENV_FILE in `env.d` of `w`.
fn env_files(w: &Subhost) {
    w.mkdir("env.d");
    w.write(
        "env.d/first",
        "# Not to be shown.\nSECRET='correct horse'\nexport OVER=file\nLATER=one\nPLACE=\"$SUBHOST $NAME\"\n",
    );
    w.write("env.d/second", "LATER=two\n");
    w.chmod("env.d/first", 0o600);
    w.chmod("env.d/second", 0o600);
}

#[test]
fn what_env_files_hold_is_seen_inside_only() {
    sandbox(|s| {
        let lines = hooks(s, "env >>$SUBHOST/seen");
        let config = format!(
            "{lines}ENV_FILE='env.d/first env.d/second -env.d/none'\nENV_OVER=config\nRUN=/svc\n"
        );
        let w = s.overlay("w", &config);
        env_files(&w);
        w.script(
            "root/svc",
            "echo \"<$SECRET> <$OVER> <$LATER> <$PLACE>\"; echo done; exec sleep 1000",
        );
        let all = format!("correct horse config two {} w", s.subhost.display());
        let echo = "echo $SECRET $OVER $LATER $PLACE";
        let before = s.snapshot();
        let all_of = |out: Output| out.stdout + &out.stderr;
        let mut told = all_of(s.tool("subhost-start -v w").ok());
        eventually("the log is written", || log().contains("done"));
        assert_has(&log(), &["<correct horse> <config> <two>"]);
        assert_eq!(s.inside("w", echo), all);
        // Only a boot reads the files.
        s.host("mv opt/w/env.d opt/w/away");
        for line in [
            "subhost-config w",
            "subhost-config w ENV_FILE",
            "subhost-config --check w",
            "subhost-info w",
            "subhost-info --json w",
            "subhost-list --json",
            "subhost-limit w",
            "subhost-mount -n w",
        ] {
            told += &all_of(s.tool(line).ok());
        }
        assert_has(&told, &["env.d/first", "there is no"]);
        assert_eq!(s.inside("w", echo), all);
        // The record that a later join reads belongs to root, mode 0600.
        let recorded = s
            .host("grep -rl 'correct horse' /run /var/lib/subhost 2>&- | xargs -r stat -c '%a %n'");
        assert_eq!(recorded, "600 /run/subhost/w/init");
        told += &all_of(s.tool("subhost-stop -v --sync w").ok());
        s.assert_same_now(&before);
        s.tool("subhost-start w").fails(
            1,
            &["ENV_FILE: cannot read", "/w/env.d/first", "No such file"],
        );
        s.assert_same(&before);
        // `subhost-enter` boots as well, and then reads the files.
        s.host("mv opt/w/away opt/w/env.d; echo SECRET=another >>opt/w/env.d/first");
        assert_eq!(s.inside("w", echo), all.replace("correct horse", "another"));
        s.assert_same_now(&before);
        told += &fs::read_to_string(s.subhost.join("seen")).unwrap();
        assert_has(
            &told,
            &["PHASE=premount", "PHASE=poststop", "ENV_OVER=config"],
        );
        assert_lacks(&told, &["correct", "horse", "another", "PLACE", "LATER"]);
    });
}

#[test]
fn an_init_of_the_trees_own_has_what_env_files_hold() {
    sandbox(|s| {
        let w = s.with_init("w", "ENV_FILE=env.d/first\n", "::sysinit:/bin/sh -c 'tr \"\\000\" \"\\n\" </proc/1/environ >/root/environ; touch /root/done'\n");
        env_files(&w);
        let before = s.start("w");
        eventually("init begins", || w.exists("root/root/done"));
        assert_has(
            &w.read("root/root/environ"),
            &["SECRET=correct horse\n", "OVER=file\n", "container=subhost"],
        );
        assert_eq!(s.inside("w", "echo $SECRET"), "correct horse");
        s.tool("subhost-stop --sync w").limit(20).silent();
        s.assert_same_now(&before);
    });
}

#[test]
fn a_bad_env_file_is_refused_and_not_shown() {
    sandbox(|s| {
        let w = s.rbind("w", "ENV_FILE='-none env'\n");
        let dir = w.dir.display().to_string();
        let before = s.snapshot();
        let refused = |code: i32, parts: &[&str]| {
            for (line, code) in [
                ("subhost-start -v w", code),
                ("subhost-enter w -- true", 125),
            ] {
                let out = s.tool(line).fails(code, parts);
                assert_has(&out.stderr, &["ENV_FILE: ", &dir]);
                assert_lacks(&out.stderr, &["hunter", "unter2", "panicked"]);
                s.assert_same(&before);
            }
        };
        refused(1, &["cannot read", "No such file"]);
        for (text, part) in [
            ("PASSWORD=hunter2 hunter3", "/w/env:2:18: a second word"),
            ("PASSWORD=\"a$hunter2\"", "env:2:12: ... is not set above"),
            ("hunter2", "env:2:1: ... without ="),
            ("PASSWORD='hunter2", "never closed"),
            ("PASSWORD=hunter2*", "env:2:17: unquoted"),
            // The message names the variable and not its value.
            ("PATH=hunter2", "env:2:1: PATH is a variable that shells"),
        ] {
            w.write("env", &format!("hunter=1\n{text}\n"));
            refused(5, &[part]);
        }
        w.write("env", "PASSWORD=hunter2\n");
        w.chmod("env", 0o606);
        refused(5, &["can be written by others", "chmod go-w"]);
        let out = s.tool("subhost-config --check w").ok();
        assert_has(
            &out.stderr,
            &["ENV_FILE: ", "can be read by others (mode 0606)"],
        );
        w.chmod("env", 0o600);
        s.tool("subhost-config --check w").silent();
        s.host("mkdir -m 777 opt/w/open; mv opt/w/env opt/w/open/; ln -s open/env opt/w/env");
        refused(5, &["w/open can be written by others"]);
        s.host("rm opt/w/env; mkfifo opt/w/env");
        refused(5, &["is not a regular file"]);
    });
}
