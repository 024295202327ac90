//! Hostile processes: they reach neither the host by PID 1 nor the programs of the tools.

use crate::common::*;
use crate::shape::clear;
use std::fs;
use std::os::unix::fs::symlink;

/// PID 1 works in the tree with descriptors of the host open. A symlink in the tree to /proc/self/fd must not lead it
/// to the host.
#[test]
fn no_descriptor_of_pid_1_leads_to_the_host() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        s.host("mkdir data look; mount --bind / look; mount --make-private look");
        // The host's root without the mounts on it, as PID 1 would reach it.
        let marks = s.base.join("look").join(s.base.strip_prefix("/").unwrap());
        let before = s.snapshot();
        for fd in 0..rounds(14, 64) {
            for way in ["self", "1"] {
                let there = format!("/proc/{way}/fd/{fd}{}", s.base.display());
                for (place, target) in [
                    ("mnt", there.clone()),
                    ("etc/hosts", format!("{there}/hosts")),
                ] {
                    clear(&w.path("root").join(place));
                    symlink(target, w.path("root").join(place)).unwrap();
                }
                w.config(&format!(
                    "BIND={}/data:/mnt/bind\nTMPFS=/mnt/tmpfs\n",
                    s.base.display()
                ));
                let out = s.tool("subhost-start w").limit(10).run();
                assert!([0, 1].contains(&out.code), "{out}");
                w.config("");
                let out = s.tool("subhost-start w").limit(10).run();
                assert!([0, 1].contains(&out.code), "{out}");
                let made: Vec<_> = fs::read_dir(&marks).unwrap().collect();
                assert!(made.is_empty(), "descriptor {fd}: {made:?}");
                s.tool("subhost-stop --sync w").ok();
            }
        }
        s.assert_same_now(&before);
        s.host("umount look");
    });
}

/// A program inside that is a symlink to /proc/self/exe is the program that executes it. A process inside that opens
/// it could write to the tool later (CVE-2019-5736). The program is a trampoline; with CAP_SYS_PTRACE it is the tool
/// itself, on a read-only mount.
#[test]
fn the_tools_cannot_be_written_from_inside() {
    for caps in ["", "CAPS=+SYS_PTRACE\n"] {
        sandbox(move |s| tools_cannot_be_written(s, caps));
    }
}

fn tools_cannot_be_written(s: &Sandbox, caps: &str) {
    let w = s.rbind("w", &format!("RUN=/bin/catch\n{caps}"));
    s.host(&format!("mkdir tools; cp {}/subhost-enter {0}/subhost-init {0}/subhost-start {0}/subhost-stop tools", tools_dir()));
    s.host("for f in $(ldd tools/subhost-enter | grep -o '/[^ ]*'); do mkdir -p opt/w/root/${f%/*}; cp $f opt/w/root/$f; done");
    // The tool, run as a program inside, finds a subhost there whose hook keeps it running.
    w.write("root/opt/v/config", "PREMOUNT='/bin/sleep 1000'\n");
    w.mkdir("root/opt/v/root");
    s.host("chmod -R go-rwx opt/w/root/opt");
    symlink("/proc/self/exe", w.path("root/bin/self")).unwrap();
    w.write("root/bin/named", "#!/proc/self/exe\n");
    w.chmod("root/bin/named", 0o755);
    w.script(
        "root/bin/catch",
        "while :; do for p in /proc/[0-9]*; do
            case $(tr '\\0' ' ' <$p/cmdline) in self*)
                { kill -9 ${p#/proc/}; sleep 1; (: >>/proc/self/fd/3)
                echo $? >/tried; exec sleep 1000; } 3<$p/exe;; esac; done; done 2>>/said",
    );
    let before = s.snapshot();
    let sums = s.host("cksum tools/*");
    let tool = |line: &str| {
        let tools = s.base.join("tools");
        s.sh(&format!("PATH={}:$PATH; {line}", tools.display()))
    };
    tool("subhost-start w").silent();
    let enter = tool("subhost-enter w -- self -S /opt v -- true >/dev/null 2>&1");
    if caps.is_empty() {
        // It ends before a process inside can open it; one that does gets nothing.
        let codes: Vec<i32> = (0..50)
            .map(|_| tool("subhost-enter w -- self -S /opt v").run().code)
            .collect();
        assert!(
            codes.iter().all(|code| [126, 137].contains(code)),
            "{codes:?}"
        );
        tool("subhost-enter w -- /bin/named").fails(126, &[]);
        enter.fails(126, &[]);
        assert_ne!(
            fs::read_to_string(w.path("root/tried")).unwrap_or_default(),
            "0\n"
        );
    } else {
        enter.fails(137, &[]);
        eventually("it has been tried", || w.exists("root/tried"));
        assert_has(&w.read("root/said"), &["Read-only file system"]);
        assert_ne!(w.read("root/tried"), "0\n");
    }
    tool("subhost-stop --sync w").ok();
    assert_eq!(s.host("cksum tools/*"), sums);
    s.assert_same_now(&before);
}

/// Root inside once changed the host's subhost-init by /proc/1/exe, and wrote to its descriptors.
#[test]
fn nobody_inside_reaches_into_pid_1() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.snapshot();
        let init = format!("{}/subhost-init", tools_dir());
        let mode = || s.host(&format!("stat -c '%a %U' {init}"));
        let was = mode();
        s.tool("subhost-start w").silent();
        for attack in [
            "chmod 4755 /proc/1/exe",
            "chown 33 /proc/1/exe",
            "cat /proc/1/environ",
            "readlink /proc/1/fd/1",
            ": >/proc/1/fd/1",
        ] {
            let out = s.enter("w", attack).run();
            assert_ne!(out.code, 0, "{attack}: {out}");
        }
        assert_eq!(mode(), was);
        let caps = s.inside("w", "grep CapBnd /proc/self/status /proc/1/status");
        for line in caps.lines() {
            let bits = u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap();
            // SYS_MODULE 16, SYS_RAWIO 17, SYS_PTRACE 19, SYS_ADMIN 21, SYS_BOOT 22, MKNOD 27.
            for forbidden in [16, 17, 19, 21, 22, 27] {
                assert_eq!(bits >> forbidden & 1, 0, "{forbidden}: {line}");
            }
        }
        s.stop("w", &before);
    });
}
