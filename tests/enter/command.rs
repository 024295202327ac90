//! The command: how it is found, its arguments, its directory, its variables, its limits.

use crate::common::*;
use std::fs;

/// As execvp(3): a file in PATH that cannot be executed is skipped, and a file of unknown format is run by sh.
#[test]
fn commands_are_found_as_shells_find_them() {
    in_each_state(|s| {
        let base = s.layer("base");
        let write = |name: &str, text: &str, mode: u32| {
            fs::write(base.join(name), text).unwrap();
            set_mode(base.join(name), mode);
        };
        write("bin/bare", "echo \"$0 $*\"", 0o755);
        write("bin/denied", "", 0o644);
        write("sbin/both", "", 0o644);
        write("bin/both", "#!/bin/sh\necho found", 0o755);
        write("bin/lost", "#!/no/such\n", 0o755);
        write("bin/odd", "#!/bin/odd\n", 0o755);
        let enter = |line: &str| {
            s.tool(&format!(
                "subhost-enter -e PATH=/etc/passwd:/sbin:/bin w -- {line}"
            ))
        };
        assert_eq!(enter("bare one two").ok().stdout, "/bin/bare one two\n");
        assert_eq!(enter("/bin/bare").ok().stdout, "/bin/bare \n");
        assert_eq!(enter("both").ok().stdout, "found\n");
        enter("denied").fails(126, &["Permission denied"]);
        enter("/bin/denied").fails(126, &["Permission denied"]);
        enter("/etc/passwd/x").fails(127, &["Not a directory"]);
        enter("lost").fails(127, &["interpreter"]);
        enter("odd").fails(126, &["odd"]);
    });
}

#[test]
fn arguments_arrive_as_they_are() {
    in_each_state(|s| {
        let out = s
            .tool("subhost-enter w -- printf")
            .args(["<%s>", "two words", "", "$HOME", "-v", "--", "ü\n"])
            .ok();
        assert_eq!(out.stdout, "<two words><><$HOME><-v><--><ü\n>");
    });
}

#[test]
fn a_directory_and_variables_may_be_given() {
    in_each_state(|s| {
        assert_eq!(s.tool("subhost-enter -w /srv w -- pwd").ok().text(), "/srv");
        s.tool("subhost-enter -w /no/such w -- pwd")
            .fails(125, &["/no/such"]);
        let out = s
            .tool("subhost-enter -e ONE=1 -e")
            .args(["TWO=two words", "w", "--", "sh", "-c", "echo $ONE $TWO"])
            .ok();
        assert_eq!(out.text(), "1 two words");
    });
}

/// RLIMIT_FSIZE applies to the tool's memfd_create(2) files too.
#[test]
fn a_limit_on_files_is_none_for_entering() {
    started("", |s, _| {
        for blocks in [0, 1] {
            let line = format!(
                "ulimit -S -f {blocks}; exec subhost-enter -T w -- /bin/sh -c 'echo in; ulimit -f'"
            );
            assert_eq!(s.sh(&line).ok().text(), "in\nunlimited");
        }
    });
}

/// A stop finds the tools that wait for ended processes by their names.
#[test]
fn it_is_named_the_same_however_it_was_called() {
    started("", |s, _| {
        for tool in ["subhost-enter", "subhost enter"] {
            let line = format!(
                "{tool} -T w -- /bin/sh -c ': >/in; exec sleep 1000' & until [ -e $SUBHOST/w/live/in ]; do sleep 0.01; done
                 cat /proc/$!/comm; rm $SUBHOST/w/live/in; kill $!; wait"
            );
            assert_eq!(s.sh(&line).ok().text(), "subhost-enter", "{tool}");
        }
    });
}

/// The process that executes a link to /proc/self/exe executes itself (CVE-2019-5736): that is not the tool, and says so.
#[test]
fn a_link_to_proc_self_exe_is_refused() {
    started("", |s, _| {
        s.inside("w", "ln -s /proc/self/exe /bin/self");
        s.tool("subhost-enter -j w -- self").fails(
            126,
            &["cannot run a program inside: it is a link to /proc/self/exe"],
        );
    });
}
