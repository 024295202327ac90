//! A small system tree: busybox and its names, the files of a login, the usual directories. Files of the host are
//! copied.

use super::program;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

const APPLETS: &str = "[ awk basename cat chmod chown chroot cp cut date df dirname dmesg echo env expr false \
    find fold free grep halt head hostname httpd id ifconfig init ip kill killall ln ls mkdir \
    mknod mktemp mount mv nc netstat nohup nproc nsenter od pidof ping ping6 poweroff printf ps pwd \
    readlink reboot reset rm rmdir route sed seq setsid sh sha256sum sleep sort stat stty sync tail tee \
    test time timeout top touch tr true tty umount uname uniq unshare uptime usleep wc wget which \
    whoami xargs yes";

const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         web:x:1000:1000:Web:/home/web:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    (
        "etc/group",
        "root:x:0:\nweb:x:1000:\nextra:x:2000:web\nnogroup:x:65534:\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/resolv.conf", "nameserver 203.0.113.1\n"),
    ("etc/hostname", "tree\n"),
    ("etc/os-release", "ID=tree\nPRETTY_NAME='A small tree'\n"),
];

const DIRS: &[&str] = &[
    "bin", "dev", "etc", "home/web", "lib", "lib64", "mnt", "proc", "root", "run", "sbin", "srv",
    "sys", "usr/bin", "usr/sbin", "var/log",
];

/// Returns busybox and, if it is not static, its libraries: path on the host and path in the tree.
fn programs() -> &'static [(String, String)] {
    static PROGRAMS: OnceLock<Vec<(String, String)>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let busybox = program("busybox").expect("busybox is not installed");
        let busybox = busybox.to_str().unwrap().to_owned();
        let ldd = Command::new("ldd").arg(&busybox).output();
        let libraries = ldd.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).into());
        libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .map(|path| (path.to_owned(), path.to_owned()))
            .chain([(busybox, "/bin/busybox".to_owned())])
            .collect()
    })
}

/// Makes the tree at `dir`, which may exist already.
pub fn make(dir: &Path) {
    for name in DIRS {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::create_dir_all(dir.join("tmp")).unwrap();
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    for (from, to) in programs() {
        let to = dir.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    for name in APPLETS.split_whitespace() {
        symlink("busybox", dir.join("bin").join(name)).unwrap();
    }
    for name in ["init", "halt", "poweroff", "reboot"] {
        symlink("../bin/busybox", dir.join("sbin").join(name)).unwrap();
    }
    for (name, text) in FILES {
        fs::write(dir.join(name), text).unwrap();
    }
}
