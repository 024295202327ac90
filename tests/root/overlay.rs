//! An overlay of layers as the root: LOWER, UPPER, WORK.

use crate::common::*;
use crate::{findmnt, mounted};
use nix::unistd::geteuid;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

#[test]
fn overlay_writes_to_root_and_never_to_the_layer() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        mounted(s, &w, || {
            assert_eq!(findmnt(s, "FSTYPE", &w.path("live")), "overlay");
            w.write("live/etc/new", "x");
            w.write("live/etc/hostname", "changed\n");
            fs::remove_file(w.path("live/etc/hosts")).unwrap();
        });
        assert_eq!(w.read("root/etc/new"), "x");
        let layer = s.layer("base");
        assert!(!layer.join("etc/new").exists());
        assert!(layer.join("etc/hosts").exists());
        mounted(s, &w, || {
            assert_eq!(w.read("live/etc/hostname"), "changed\n");
            assert!(!w.exists("live/etc/hosts"));
        });
    });
}

#[test]
fn the_topmost_of_many_layers_wins() {
    sandbox(|s| {
        let layers = ["top", "middle", "bottom"].map(|name| {
            let dir = s.subhost.join("layers").join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("which"), name).unwrap();
            fs::write(dir.join(format!("only-{name}")), name).unwrap();
            dir
        });
        let w = s.bare("w", &setting("LOWER", &layers));
        w.mkdir("root");
        mounted(s, &w, || {
            assert_eq!(w.read("live/which"), "top");
            for name in ["top", "middle", "bottom"] {
                assert_eq!(w.read(&format!("live/only-{name}")), name);
            }
        });
    });
}

/// Mounts an overlay of layers with these names, and asserts that each layer is seen.
fn layers_named(s: &Sandbox, names: &[String]) {
    let dirs: Vec<PathBuf> = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let dir = s.subhost.join("layers").join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("layer{i}")), name).unwrap();
            dir
        })
        .collect();
    let w = s.bare("w", &setting("LOWER", &dirs));
    w.mkdir("root");
    mounted(s, &w, || {
        for (i, name) in names.iter().enumerate() {
            assert_eq!(&w.read(&format!("live/layer{i}")), name);
        }
        w.write("live/new", "x");
        assert_eq!(w.read("root/new"), "x");
    });
}

#[test]
fn layers_may_have_any_name() {
    sandbox(|s| {
        let names = [
            "a b", "c,d", "e:f", r"g\h", r"i\,j\:k", "it's", "\"q\"", "$HOME", "ü", "-n", "x=y",
            "#z", "*",
        ];
        layers_named(s, &names.map(str::to_owned));
    });
}

#[test]
fn one_layer_may_have_any_name() {
    for name in ["a b", "c,d", "e:f", r"g\h", "tab\there"] {
        sandbox(move |s| layers_named(s, &[name.to_owned()]));
    }
}

#[test]
fn options_may_be_longer_than_a_page() {
    sandbox(|s| {
        let names: Vec<String> = (0..60)
            .map(|i| format!("{i:02}{}", "long".repeat(25)))
            .collect();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release
            .split(['.', '-'])
            .map(|n| n.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version >= (6, 5) {
            return layers_named(s, &names);
        }
        // More than the kernel can do is refused.
        let dirs: Vec<PathBuf> = names.iter().map(|name| s.layer(name)).collect();
        let w = s.bare("w", &setting("LOWER", &dirs));
        w.mkdir("root");
        s.tool("subhost-mount w").fails(1, &["6.5", "4095"]);
    });
}

/// A directory on the host's disk: the sandbox itself is on a tmpfs. It is removed from outside the sandbox, where no
/// mount of the sandbox is below it.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Self {
        let dir = PathBuf::from(format!("/var/tmp/subhost-test.{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn the_host_as_the_layer_hides_the_subhosts() {
    if !geteuid().is_root() {
        return skip("must be root");
    }
    let disk = Disk::new();
    let subhost = disk.0.clone();
    sandbox(move |s| {
        let kind = s.host(&format!("stat -f -c %T {}", subhost.display()));
        if !["ext2/ext3", "xfs", "btrfs"].contains(&kind.as_str()) {
            return skip(&format!("an overlay cannot write to {kind}"));
        }
        let secret = subhost.join("other/secret");
        fs::create_dir(secret.parent().unwrap()).unwrap();
        fs::write(&secret, "hidden").unwrap();
        let s = Sandbox {
            base: s.base.clone(),
            subhost,
        };
        let w = s.bare("w", "LOWER=/\n");
        w.mkdir("root");
        let before = s.snapshot();
        let out = s.enter(
            "w",
            &format!("cat /etc/os-release; cat {}", secret.display()),
        );
        let out = out.run();
        assert_has(&out.stdout, &["ID="]);
        assert_lacks(&out.stdout, &["hidden"]);
        assert_ne!(out.code, 0, "{out}");
        s.assert_same(&before);
    });
}

/// The overlay's index named the old topmost layer, and the mount with a new one failed.
#[test]
fn layers_may_change() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        s.host("mkdir -p opt/layers/top/etc; echo top >opt/layers/top/etc/top");
        let before = s.snapshot();
        s.enter("w", "echo kept >/etc/kept").ok();
        w.config("LOWER=\"$SUBHOST/layers/top $SUBHOST/layers/base\"\n");
        assert_eq!(s.inside("w", "cat /etc/kept /etc/top"), "kept\ntop");
        s.assert_same(&before);
    });
}

#[test]
fn an_upper_in_use_by_another_subhost_is_refused() {
    sandbox(|s| {
        let v = s.overlay("v", "");
        let upper = v.path("root");
        let start = s.snapshot();
        s.tool("subhost-mount v").silent();
        let config = format!(
            "LOWER=\"$SUBHOST/layers/base\"\nUPPER={}\nWORK={}\n",
            upper.display(),
            v.path("work2").display()
        );
        v.mkdir("work2");
        let w = s.bare("w", &config);
        assert_refused(s, 1, &[upper.to_str().unwrap(), "v"]);
        // The same by another path to the directory.
        s.host("mkdir -m 700 other; mount --bind opt/v other");
        w.config(&config.replace(
            upper.to_str().unwrap(),
            s.base.join("other/root").to_str().unwrap(),
        ));
        assert_refused(s, 1, &["v"]);
        s.host("umount other");
        s.tool("subhost-stop --sync v").silent();
        s.assert_same_now(&start);
    });
}

#[test]
fn an_upper_in_use_by_an_overlay_made_by_hand_is_refused() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        w.mkdir("work2");
        s.host(
            "mkdir m; mount -t overlay mine m \
             -o lowerdir=opt/layers/base,upperdir=$PWD/opt/w/root,workdir=$PWD/opt/w/work2",
        );
        assert_refused(s, 1, &[w.path("root").to_str().unwrap(), "m"]);
        assert!(s.base.join("m/bin/sh").exists());
    });
}
