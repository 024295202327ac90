//! The tools are root on the host and handle hostile trees. They never resolve a path in a tree from the host's
//! root, but by openat2(2) with RESOLVE_IN_ROOT. All else is read and mounted after the tree has become the root,
//! where no link and no `..` leads out.

use crate::common::*;
use std::collections::HashMap;
use std::fs;

/// One system call as strace prints it.
struct Call {
    pid: String,
    text: String,
}

/// Returns the calls of a tool and its children that take a path or change the meaning of paths.
fn traced(s: &Sandbox, line: &str) -> Vec<Call> {
    let log = s.base.join("trace");
    let traced = "%file,fchdir,chroot,pivot_root,umount2,setns,open_tree,move_mount,openat2,execve";
    s.sh(&format!(
        "exec strace -f -y -qq -s 4096 -e trace={traced} -e signal=none -o {} {line}",
        log.display()
    ))
    .ok();
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    fs::remove_file(&log).unwrap();
    // strace prints a call that another process interrupts in two parts.
    let mut begun: HashMap<String, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (pid, text) = line.split_once(' ').unwrap();
        let (pid, text) = (pid.to_owned(), text.trim().to_owned());
        if let Some(first) = text.strip_suffix("<unfinished ...>") {
            begun.insert(pid, first.to_owned());
        } else if let Some((_, rest)) = text.split_once("resumed>") {
            let text = begun.remove(&pid).unwrap_or_default() + rest;
            calls.push(Call { pid, text });
        } else {
            calls.push(Call { pid, text });
        }
    }
    // Some calls are never resumed.
    calls.extend(begun.into_iter().map(|(pid, text)| Call { pid, text }));
    calls
}

impl Call {
    fn is(&self, name: &str) -> bool {
        self.text.starts_with(&format!("{name}("))
    }

    /// Returns whether the call has a path in `dir`, as text or by a descriptor.
    fn reaches_into(&self, dir: &str) -> bool {
        let below = format!("{dir}/");
        // The result does not count: /proc/self/fd opens a file again.
        let call = self
            .text
            .rsplit_once(" = ")
            .map_or(&*self.text, |(call, _)| call);
        ["\"", "<"]
            .iter()
            .any(|quote| call.contains(&format!("{quote}{below}")))
    }
}

/// Asserts that no call before the change of the root reaches into the tree. Returns how many calls it checked.
fn outside_only(s: &Sandbox, name: &str, calls: &[Call]) -> usize {
    let dirs =
        ["root", "live", "mnt/root"].map(|dir| format!("{}/{name}/{dir}", s.subhost.display()));
    let mut gone: Vec<&str> = Vec::new();
    let mut seen = 0;
    for call in calls {
        // From here on the root of the process is that of the subhost.
        if call.is("pivot_root") || (call.is("setns") && call.text.contains("NEWNS|")) {
            gone.push(&call.pid);
        }
        if gone.contains(&call.pid.as_str()) {
            continue;
        }
        seen += 1;
        let in_root = call.text.contains("RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT");
        // An open file needs no path.
        let resolves_nothing =
            call.text.contains(", \"\", ") && call.text.contains("AT_EMPTY_PATH");
        if (call.is("openat2") && in_root) || resolves_nothing {
            continue;
        }
        let into = dirs.iter().find(|dir| call.reaches_into(dir));
        assert!(into.is_none(), "{}", call.text);
    }
    seen
}

/// Makes links where a tool mounts and reads: to the host, and out of the tree by `..`.
fn hostile(s: &Sandbox, tree: &str) {
    s.host(&format!(
        "cd {tree}; mkdir -p etc run
         for name in hostname hosts resolv.conf passwd group; do ln -sfn /../../../../etc/shadow etc/$name; done
         rm -rf srv opt home; ln -sfn ../../../../../../../run/outside srv; ln -sfn /proc/1/root/run/outside opt; ln -s / home"
    ));
}

#[test]
fn no_tool_resolves_a_path_in_a_tree_from_the_host() {
    sandbox(|s| {
        s.host("mkdir /run/outside");
        let config = "BIND='/run/outside:/mnt/outside:ro'\nTMPFS=/var/tmp\nDNS=192.0.2.1\n\
                      RUN='/bin/busybox sleep 1000'\n";
        for kind in ["overlay", "rbind", "image"] {
            let (name, tree) = match kind {
                "overlay" => {
                    s.overlay("o", config).mkdir("root/mnt/outside");
                    ("o", "opt/o/root")
                }
                "rbind" => {
                    s.rbind("r", config).mkdir("root/mnt/outside");
                    ("r", "opt/r/root")
                }
                _ => {
                    s.image("i", "ext4", config);
                    ("i", "")
                }
            };
            if !tree.is_empty() {
                hostile(s, tree);
            }
            let before = s.snapshot();
            // strace waits for all that it traces, so that the boot must end with its command.
            let boot = traced(s, &format!("subhost-enter {name} -- true"));
            assert!(boot.iter().any(|call| call.is("pivot_root")), "{kind}");
            assert!(outside_only(s, name, &boot) > 20, "{kind}");
            s.assert_same(&before);
            s.tool(&format!("subhost-start {name}")).silent();
            let join = traced(s, &format!("subhost-enter {name} -- true"));
            assert!(join.iter().any(|call| call.is("setns")), "{kind}");
            outside_only(s, name, &join);
            for line in [
                "list",
                "info",
                "check",
                "stop --keep",
                "mount",
                "stop --sync",
            ] {
                let (tool, option) = line.split_once(' ').unwrap_or((line, ""));
                let names = if tool == "check" { "" } else { name };
                outside_only(
                    s,
                    name,
                    &traced(s, &format!("subhost-{tool} {option} {names}")),
                );
            }
            s.assert_same(&before);
        }
    });
}

/// PID 1 holds no directory, mount or namespace of the host.
#[test]
fn pid_1_holds_no_way_to_the_host() {
    sandbox(|s| {
        s.overlay("w", "RUN='/bin/busybox sleep 1000'\nBIND=/run/lock:/mnt\n");
        let before = s.snapshot();
        s.host("mkdir -p /run/lock");
        s.tool("subhost-start w").silent();
        let pid = s.pid("w");
        let mut files = 0;
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::metadata(&path).unwrap().file_type();
            let shown = fs::read_link(&path).unwrap().to_string_lossy().into_owned();
            assert!(!kind.is_dir(), "{shown}");
            assert_lacks(&shown, &["mnt:", "net:", "user:", "pid:"]);
            files += usize::from(kind.is_file());
        }
        // The log as 1, 2 and one more, and the record of how RUN ended.
        assert!(files <= 4, "{files} files");
        for link in ["root", "cwd"] {
            let seen = s.host(&format!(
                "readlink /proc/{pid}/{link}; ls /proc/{pid}/{link}/run"
            ));
            assert_eq!(seen, "/", "{link}");
        }
        s.tool("subhost-stop w").ok();
        s.host("rmdir /run/lock");
        s.assert_same(&before);
    });
}
