//! Hostile trees: links, pipes, devices and loops where a subhost mounts, reads or writes.

use crate::canary::Canary;
use crate::cases::{Tally, config, mounted_outside, places, survived};
use crate::common::*;
use crate::shape::{Shape, clear, put};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn hostile_places_in_a_tree_of_its_own() {
    sandbox(|s| {
        s.host("mkdir data; echo data >data/file");
        let w = s.rbind("w", &config(s));
        let (root, kept) = (w.path("root"), s.base.join("kept"));
        fs::rename(&root, &kept).unwrap();
        let canary = Canary::new(s);
        let mut tally = Tally::default();
        for (place, shape) in places(0, 6) {
            clear(&root);
            s.host("cp -a kept opt/w/root");
            let before = s.snapshot();
            put(&root, place, shape, &canary.dir);
            let node = root.join(place);
            if matches!(shape, Shape::Device(..) | Shape::Disk) {
                // To open a device is to use it: a tape is wound, a watchdog is started.
                canary.watch(&node);
            }
            let case = format!("{place} {shape:?}");
            let object = place.split('/').next().unwrap();
            tally.count(&case, survived(s, &canary, &before, object));
        }
        tally.holds();
    });
}

#[test]
fn hostile_places_in_the_layers_of_an_overlay() {
    sandbox(|s| {
        s.host("mkdir data; echo data >data/file");
        let w = s.overlay("w", &config(s));
        let root = w.path("root");
        let canary = Canary::new(s);
        let before = s.snapshot();
        let mut tally = Tally::default();
        for (place, shape) in places(1, 6) {
            clear(&root);
            clear(&w.path("work"));
            fs::create_dir(&root).unwrap();
            put(&root, place, shape, &canary.dir);
            let case = format!("{place} {shape:?}");
            let object = place.split('/').next().unwrap();
            tally.count(&case, survived(s, &canary, &before, object));
        }
        tally.holds();
    });
}

/// While a subhost is started, entered and stopped, a thread exchanges directories of its tree with symlinks to the
/// host.
#[test]
fn a_tree_that_changes_under_our_hands() {
    sandbox(|s| {
        s.host("mkdir data; echo data >data/file");
        let w = s.rbind("w", &config(s));
        let canary = Canary::new(s);
        let root = w.path("root");
        let mut pairs = Vec::new();
        for place in [
            "proc", "dev", "sys", "run", "etc", "mnt", "srv", "tmp", "home/web",
        ] {
            let there = root.join(place);
            let link = root.join(format!("{place}.link"));
            symlink(canary.dir.join(place), &link).unwrap();
            pairs.push((there, link));
        }
        for place in ["etc/hosts", "etc/resolv.conf", "etc/passwd", "bin/sh"] {
            let link = root.join(format!("{place}.link"));
            symlink(
                format!("/proc/1/root{}", canary.dir.join(place).display()),
                &link,
            )
            .unwrap();
            pairs.push((root.join(place), link));
        }
        let before = s.snapshot();
        canary.events();
        let (end, turn) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut counts = [0; 2];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    let (one, other) = &pairs[turn.load(Ordering::Relaxed) % pairs.len()];
                    // Twice, so that the tree is as before.
                    for _ in 0..2 {
                        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                    }
                }
            });
            let work = || {
                for number in 0..rounds(26, 5000) {
                    turn.store(number, Ordering::Relaxed);
                    let start = s.tool("subhost-start w").limit(10).run();
                    let enter = s.tool("subhost-enter -u web w -- sh -c :").limit(10).run();
                    let outside = mounted_outside(s, before.lines("mount"));
                    s.tool("subhost-stop --sync w").limit(10).ok();
                    assert!([0, 1].contains(&start.code), "{start}");
                    assert!([0, 125, 126, 127].contains(&enter.code), "{enter}");
                    assert!(outside.is_empty(), "mounted outside: {outside:?}");
                    counts[usize::from(start.code != 0)] += 1;
                }
            };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            end.store(true, Ordering::Relaxed);
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        });
        println!("{} starts succeeded, {} were refused", counts[0], counts[1]);
        s.assert_same_now(&before);
        let events = canary.events();
        assert!(events.is_empty(), "the host was touched: {events:?}");
    });
}

/// Returns all paths below `dir` with the content of the files.
fn contents(dir: &Path) -> Vec<(PathBuf, Option<String>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            all.push((path.clone(), None));
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read_to_string(&path).ok()));
        }
    }
    all.sort();
    all
}

/// Makes `name` in the tree a symlink to the same name in a directory of the host.
fn led_astray(s: &Sandbox, w: &Subhost, name: &str) {
    let outside = s.base.join("outside");
    let target = outside.join(name);
    if name.starts_with("etc/") {
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, "the host's\n").unwrap();
    } else {
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("resolv.conf"), "the host's\n").unwrap();
    }
    let link = w.path("root").join(name);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    if link.is_dir() {
        fs::remove_dir_all(&link).unwrap();
    } else {
        let _ = fs::remove_file(&link);
    }
    symlink(&target, &link).unwrap();
}

#[test]
fn links_in_a_tree_lead_nowhere_outside() {
    let names = [
        "proc",
        "sys",
        "dev",
        "run",
        "etc",
        "etc/resolv.conf",
        "etc/hosts",
        "etc/hostname",
        "mnt",
        "tmp",
        "etc/passwd",
        "etc/group",
    ];
    for name in names {
        sandbox(move |s| {
            let w = s.rbind(
                "w",
                "DNS=192.0.2.53\nHOSTNAME=changed\nBIND=/var/log:/mnt/deep\nTMPFS=/tmp/deep\nRUN=/bin/true\n",
            );
            led_astray(s, &w, name);
            let outside = s.base.join("outside");
            let was = contents(&outside);
            let before = s.snapshot();
            // The tools may refuse or work, as long as nothing outside changes.
            for tool in [
                "subhost-enter w -- true",
                "subhost-enter -u web w -- true",
                "subhost-start w",
            ] {
                s.tool(tool).run();
                let points = s.host("findmnt -rno TARGET");
                assert_lacks(&points, &["outside"]);
            }
            s.stop("w", &before);
            assert_eq!(contents(&outside), was, "{name}: the host was written to");
        });
    }
}

#[test]
fn users_are_not_read_through_a_link_to_the_host() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        led_astray(s, &w, "etc/passwd");
        fs::write(
            s.base.join("outside/etc/passwd"),
            "spy:x:4242:4242::/:/bin/sh\n",
        )
        .unwrap();
        let before = s.snapshot();
        let out = s
            .tool("subhost-enter -u spy w -- id -u")
            .fails(125, &["spy"]);
        assert_lacks(&out.stdout, &["4242"]);
        s.assert_same(&before);
    });
}

#[test]
fn a_tree_with_pipes_and_loops_for_files_does_not_hang_us() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        s.host("cd opt/w/root/etc; rm passwd group; mkfifo passwd group; ln -s loop loop");
        let before = s.snapshot();
        s.tool("subhost-enter -u web w -- true")
            .limit(15)
            .fails(125, &["web"]);
        s.assert_same(&before);
        fs::remove_dir(w.path("root/proc")).unwrap();
        symlink("proc", w.path("root/proc")).unwrap();
        s.tool("subhost-enter w -- true").limit(15).run();
        s.stop("w", &before);
    });
}
