//! Root file systems: rbind, overlay, image; each writable, read-only and volatile.

mod common;

use common::{Sandbox, Subhost, has, lacks, need, need_fs, quote, sandbox, setting, skip};
use nix::unistd::geteuid;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Mounts `w`, lets `check` look at `live`, unmounts it, and wants the world back.
#[track_caller]
fn mounted(s: &Sandbox, w: &Subhost, check: impl FnOnce()) {
    let before = s.world();
    let name = w.dir.file_name().unwrap().to_str().unwrap();
    s.tool(&format!("subhost-mount {name}")).silent();
    check();
    s.tool(&format!("subhost-mount -u {name}")).silent();
    s.same_but_state(&before);
    s.stop(name, &before);
}

fn findmnt(s: &Sandbox, column: &str, path: &Path) -> String {
    let path = quote(path.to_str().unwrap());
    s.host(&format!("findmnt -no {column} {path} | tail -n 1"))
}

fn loop_devices(s: &Sandbox) -> usize {
    s.world().loops().len()
}

#[test]
fn rbind_shows_the_tree_with_its_submounts() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        w.mkdir("root/data");
        s.host("mount -t tmpfs data opt/w/root/data; echo kept >opt/w/root/data/f");
        mounted(s, &w, || {
            assert_eq!(w.read("live/data/f"), "kept\n");
            w.write("live/etc/new", "x");
            assert_eq!(w.read("root/etc/new"), "x");
        });
        assert_eq!(
            w.read("root/data/f"),
            "kept\n",
            "the host's submount is gone"
        );
    });
}

#[test]
fn rbind_and_the_host_share_no_later_mount() {
    sandbox(|s| {
        let w = s.rbind("w", "");
        mounted(s, &w, || {
            s.host("mount -t tmpfs inner opt/w/live/mnt");
            assert_eq!(findmnt(s, "SOURCE", &w.path("root/mnt")), "");
            s.host("umount opt/w/live/mnt");
        });
    });
}

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

/// Mounts an overlay of layers with these names; each must be seen.
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
        // What the kernel cannot do is refused by name.
        let dirs: Vec<PathBuf> = names.iter().map(|name| s.layer(name)).collect();
        let w = s.bare("w", &setting("LOWER", &dirs));
        w.mkdir("root");
        s.tool("subhost-mount w").fails(1, &["6.5", "4095"]);
    });
}

#[test]
fn subhosts_may_lie_in_a_directory_of_any_name() {
    for config in ["LOWER=\"'$SUBHOST/layers/base'\"\n", ""] {
        sandbox(move |s| {
            let odd = s.base.join("a b,c:d\\e");
            let base = s.layer("base");
            fs::rename(&s.subhost, &odd).unwrap();
            let moved = Sandbox {
                base: s.base.clone(),
                subhost: odd,
            };
            let w = moved.bare("w", config);
            w.mkdir("root/etc");
            mounted(&moved, &w, || {
                w.write("live/etc/new", "x");
                assert_eq!(w.read("root/etc/new"), "x");
                assert_eq!(w.exists("live/bin/busybox"), !config.is_empty());
            });
            fs::rename(&moved.subhost, base.ancestors().nth(2).unwrap()).unwrap();
        });
    }
}

#[test]
fn paths_may_be_given() {
    sandbox(|s| {
        let elsewhere = s.base.join("else where");
        fs::create_dir_all(elsewhere.join("up")).unwrap();
        fs::create_dir_all(elsewhere.join("tmp")).unwrap();
        let w = s.overlay(
            "w",
            &format!(
                "UPPER='{0}/up'\nWORK='{0}/tmp'\nLIVE=here/it\\ is\n",
                elsewhere.display()
            ),
        );
        w.mkdir("here/it is");
        mounted(s, &w, || {
            w.write("here/it is/new", "x");
            assert_eq!(fs::read_to_string(elsewhere.join("up/new")).unwrap(), "x");
        });
    });
}

/// An image as the whole root, and as the upper layer of an overlay.
fn image_of(fstype: &'static str) {
    if !need_fs(fstype) || !need(&[&format!("mkfs.{fstype}")]) {
        return;
    }
    sandbox(move |s| {
        let w = s.image("w", fstype, "");
        mounted(s, &w, || {
            assert_eq!(findmnt(s, "FSTYPE", &w.path("mnt")), fstype);
            assert_eq!(loop_devices(s), 1);
            w.write("live/etc/new", "x");
            assert_eq!(w.read("mnt/root/etc/new"), "x");
        });
        assert_eq!(loop_devices(s), 0);
        mounted(s, &w, || assert_eq!(w.read("live/etc/new"), "x"));
        assert!(!w.exists("root/etc"), "written beside the image");

        let v = s.overlay("v", "");
        s.make_image(&v.path("v.img"), fstype, None);
        mounted(s, &v, || {
            assert_eq!(findmnt(s, "FSTYPE", &v.path("live")), "overlay");
            v.write("live/etc/new", "y");
            assert_eq!(v.read("mnt/root/etc/new"), "y");
            assert!(v.exists("live/bin/busybox"));
        });
        mounted(s, &v, || assert_eq!(v.read("live/etc/new"), "y"));
    });
}

#[test]
fn image_ext4() {
    image_of("ext4");
}

#[test]
fn image_xfs() {
    image_of("xfs");
}

#[test]
fn image_btrfs() {
    image_of("btrfs");
}

#[test]
fn image_with_a_name_type_and_options() {
    sandbox(|s| {
        let w = s.image(
            "w",
            "ext4",
            "IMAGE=disk.img\nIMAGE_FSTYPE=ext4\nIMAGE_OPTIONS=noatime,nodelalloc\n",
        );
        fs::rename(w.path("w.img"), w.path("disk.img")).unwrap();
        mounted(s, &w, || {
            has(
                &findmnt(s, "OPTIONS", &w.path("mnt")),
                &["noatime", "nodelalloc"],
            );
        });
    });
}

/// `table` for sfdisk; the file system goes 10 MiB into the file, where partition `number` starts.
fn partitioned(table: &'static str, number: u8) {
    if !need(&["sfdisk"]) {
        return;
    }
    sandbox(move |s| {
        let w = s.image("w", "ext4", &format!("IMAGE_PARTITION={number}\n"));
        s.host(&format!(
            "cd opt/w; mv w.img part; truncate -s 40M w.img; printf '{table}' | sfdisk -q w.img
             dd if=part of=w.img bs=1M seek=10 conv=notrunc status=none; rm part"
        ));
        mounted(s, &w, || {
            assert!(w.exists("live/bin/busybox"));
            w.write("live/etc/new", "x");
        });
        s.host("sfdisk -V -q opt/w/w.img");
        mounted(s, &w, || assert_eq!(w.read("live/etc/new"), "x"));
        w.config("IMAGE_PARTITION=9\n");
        let before = s.world();
        s.tool("subhost-mount w").fails(1, &["w.img", "partition"]);
        s.same(&before);
    });
}

#[test]
fn image_with_gpt() {
    partitioned(
        "label: gpt\\nstart=2048,size=2048\\nstart=20480,size=57344\\n",
        2,
    );
}

#[test]
fn image_with_mbr() {
    partitioned(
        "label: dos\\nstart=2048,size=2048\\nstart=20480,size=57344\\n",
        2,
    );
}

#[test]
fn image_with_a_logical_partition() {
    partitioned(
        "label: dos\\nw.img1 : start=18432,size=63000,type=5\\nw.img5 : start=20480,size=57344\\n",
        5,
    );
}

/// A file with a file system as a layer, below a writable root.
fn layer_file(fstype: &'static str, make: &'static str) {
    let maker = make.split(' ').next().unwrap();
    if !need_fs(fstype) || !need(&[maker]) {
        return;
    }
    sandbox(move |s| {
        let base = s.layer("base");
        let file = s.subhost.join(format!("layers/base.{fstype}"));
        let make = make.replace("FROM", base.to_str().unwrap());
        s.host(&format!(
            "{} >/dev/null 2>&1",
            make.replace("TO", file.to_str().unwrap())
        ));
        let was = fs::read(&file).unwrap();
        let w = s.bare("w", &setting("LOWER", std::slice::from_ref(&file)));
        w.mkdir("root");
        mounted(s, &w, || {
            assert_eq!(findmnt(s, "FSTYPE", &w.path("live")), "overlay");
            assert!(w.exists("live/bin/busybox"));
            assert_eq!(loop_devices(s), 1);
            w.write("live/etc/new", "x");
            assert_eq!(w.read("root/etc/new"), "x");
        });
        assert_eq!(loop_devices(s), 0);
        assert!(was == fs::read(&file).unwrap(), "the layer was written to");

        // Between layers that are directories, and shared by two subhosts at once.
        let top = s.subhost.join("layers/top");
        fs::create_dir_all(&top).unwrap();
        fs::write(top.join("which"), "top").unwrap();
        let v = s.bare("v", &setting("LOWER", &[top, file]));
        v.mkdir("root");
        mounted(s, &w, || {
            mounted(s, &v, || {
                assert_eq!(v.read("live/which"), "top");
                assert!(v.exists("live/bin/busybox"));
            });
        });
    });
}

#[test]
fn layer_squashfs() {
    layer_file("squashfs", "mksquashfs FROM TO -noappend -quiet");
}

#[test]
fn layer_erofs() {
    layer_file("erofs", "mkfs.erofs TO FROM");
}

#[test]
fn layer_ext4_is_mounted_read_only() {
    layer_file("ext4", "mkfs.ext4 -q -d FROM TO 24M");
}

const KINDS: [&str; 3] = ["rbind", "overlay", "image"];

fn of_kind(s: &Sandbox, kind: &str, config: &str) -> Subhost {
    match kind {
        "rbind" => s.rbind("w", config),
        "overlay" => s.overlay("w", config),
        "image" => s.image("w", "ext4", config),
        other => panic!("no kind {other}"),
    }
}

#[test]
fn a_read_only_root_cannot_be_written() {
    for kind in KINDS {
        sandbox(move |s| {
            let w = of_kind(s, kind, "READ_ONLY=yes\n");
            w.mkdir("root");
            fs::write(w.path("root/mark"), "x").unwrap();
            mounted(s, &w, || {
                let refused = fs::write(w.path("live/etc/new"), "x").unwrap_err();
                assert_eq!(
                    refused.kind(),
                    std::io::ErrorKind::ReadOnlyFilesystem,
                    "{kind}"
                );
                assert!(w.exists("live/bin/busybox"), "{kind}");
                assert_eq!(w.exists("live/mark"), kind != "image", "{kind}");
            });
            // The tree itself stays as writable as it was.
            fs::write(w.path("root/mark"), "y").unwrap();
        });
    }
}

#[test]
fn a_read_only_rbind_covers_its_submounts() {
    sandbox(|s| {
        let w = s.rbind("w", "READ_ONLY=yes\n");
        w.mkdir("root/data");
        s.host("mount -t tmpfs data opt/w/root/data");
        mounted(s, &w, || {
            fs::write(w.path("live/data/new"), "x").unwrap_err();
            fs::write(w.path("root/data/new"), "x").unwrap();
        });
    });
}

#[test]
fn a_volatile_root_forgets_at_stop() {
    for kind in KINDS {
        sandbox(move |s| {
            let w = of_kind(s, kind, "VOLATILE=yes\n");
            w.mkdir("root");
            mounted(s, &w, || {
                w.write("live/etc/new", "x");
                w.write("live/etc/hostname", "changed\n");
                assert!(w.exists("live/bin/busybox"), "{kind}");
            });
            assert!(!w.exists("root/etc/new"), "{kind}");
            mounted(s, &w, || {
                assert!(!w.exists("live/etc/new"), "{kind}");
                assert_eq!(w.read("live/etc/hostname"), "tree\n", "{kind}");
            });
        });
    }
}

#[test]
fn a_volatile_root_remembers_while_it_hibernates() {
    sandbox(|s| {
        s.overlay("w", "VOLATILE=yes\n");
        let before = s.world();
        s.tool("subhost-mount w").silent();
        s.tool("subhost-net w").silent();
        s.inside("w", "echo x >/etc/new");
        assert_eq!(s.inside("w", "cat /etc/new"), "x");
        s.stop("w", &before);
    });
}

#[test]
fn twice_is_silent() {
    sandbox(|s| {
        s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-mount -u w").silent();
        s.tool("subhost-mount w").silent();
        let once = s.world();
        s.tool("subhost-mount w").silent();
        s.tool_s("subhost-mount w").silent();
        s.same_now(&once);
        s.tool("subhost-mount -u w").silent();
        s.tool("subhost-mount -u w").silent();
        s.same_but_state(&before);
        s.stop("w", &before);
    });
}

#[test]
fn several_names_are_each_done() {
    sandbox(|s| {
        let (a, b) = (s.overlay("a", ""), s.rbind("b", ""));
        let before = s.world();
        s.tool("subhost-mount a nosuch b").fails(4, &["nosuch"]);
        assert!(a.exists("live/bin/sh") && b.exists("live/bin/sh"));
        s.tool("subhost-mount -u a b").silent();
        s.same_but_state(&before);
        s.tool("subhost-stop a b").silent();
        s.same(&before);
    });
}

#[test]
fn missing_mount_points_are_made_and_closed_to_others() {
    sandbox(|s| {
        for w in [
            s.overlay("o", ""),
            s.rbind("r", ""),
            s.image("i", "ext4", ""),
        ] {
            mounted(s, &w, || assert!(w.exists("live/bin/busybox")));
            let mode = fs::metadata(w.path("live")).unwrap().mode();
            assert_eq!(mode & 0o022, 0, "others can write: {mode:o}");
        }
    });
}

#[test]
fn a_running_root_is_not_unmounted() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        let before = s.world();
        s.tool("subhost-start w").silent();
        s.tool("subhost-mount -u w")
            .fails(75, &["w", "subhost-stop"]);
        assert!(w.exists("live/bin/busybox"));
        assert_eq!(s.state("w"), "running");
        s.stop("w", &before);
    });
}

#[test]
fn a_mount_taken_away_by_hand_is_put_back() {
    sandbox(|s| {
        let w = s.overlay("w", "VOLATILE=yes\n");
        let before = s.world();
        s.tool("subhost-mount w").silent();
        s.host("umount opt/w/live");
        assert_eq!(s.state("w"), "broken");
        s.tool("subhost-mount w").silent();
        assert!(w.exists("live/bin/busybox"));
        assert_eq!(s.state("w"), "hibernating");
        s.host("umount opt/w/live");
        s.stop("w", &before);
    });
}

/// A directory on the host's disk, which the tmpfs of a sandbox is not. Removed from outside, where no
/// mount of the sandbox can be reached.
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
        let before = s.world();
        let out = s.enter(
            "w",
            &format!("cat /etc/os-release; cat {}", secret.display()),
        );
        let out = out.run();
        has(&out.stdout, &["ID="]);
        lacks(&out.stdout, &["hidden"]);
        assert_ne!(out.code, 0, "{out}");
        s.same(&before);
    });
}
