//! Subhosts on disk, ready to be mounted, and what most tests do with one: start it, look, stop it.

use super::{Sandbox, assert_has, assert_lacks, quote, sandbox, tree};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The kinds of root, as [`Sandbox::of_kind`] takes them.
pub const KINDS: [&str; 3] = ["rbind", "overlay", "image"];

/// Runs `test` in a sandbox with the overlay `w` of this config started. Then the subhost is stopped, and the host
/// must be as it was before the start.
pub fn started(config: &str, test: impl FnOnce(&Sandbox, &Subhost) + Send + 'static) {
    let config = config.to_owned();
    sandbox(move |s| {
        let w = s.overlay("w", &config);
        let before = s.start("w");
        test(s, &w);
        s.stop("w", &before);
    });
}

/// Runs `test` three times, with the overlay `w` stopped, hibernating and running: to those inside there is no
/// difference.
pub fn in_each_state(test: fn(&Sandbox)) {
    for up in ["", "subhost-mount w; subhost-net w", "subhost-start w"] {
        sandbox(move |s| {
            s.overlay("w", "");
            let before = s.snapshot();
            s.sh(up).silent();
            test(s);
            s.stop("w", &before);
        });
    }
}

/// Asserts that each command that mounts the root of `w` fails with exit status `code` and `parts` on standard
/// error, and that the host is as before.
#[track_caller]
pub fn assert_refused(s: &Sandbox, code: i32, parts: &[&str]) {
    refused_by(s, ["subhost-mount", "subhost-start"], code, parts);
}

/// Asserts the same of each command that makes the network of `w`.
#[track_caller]
pub fn assert_network_refused(s: &Sandbox, code: i32, parts: &[&str]) {
    refused_by(s, ["subhost-net", "subhost-start"], code, parts);
}

#[track_caller]
fn refused_by(s: &Sandbox, tools: [&str; 2], code: i32, parts: &[&str]) {
    let before = s.snapshot();
    for tool in tools {
        let out = s.tool(&format!("{tool} w")).fails(code, parts);
        assert_has(&out.stderr, &[&format!("{tool}: w: ")]);
        assert_lacks(&out.stderr, &["panicked", "os error"]);
        s.assert_same(&before);
    }
    s.tool("subhost-enter w -- true").fails(125, parts);
    s.assert_same(&before);
}

/// Sets the mode of a file or directory.
#[track_caller]
pub fn set_mode(path: impl AsRef<Path>, mode: u32) {
    let path = path.as_ref();
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Writes an executable script for sh.
#[track_caller]
pub fn write_script(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    fs::write(path, format!("#!/bin/sh\n{text}\n"))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    set_mode(path, 0o755);
}

/// The directory of a subhost. Paths given to its methods are relative to it.
pub struct Subhost {
    /// `$SUBHOST/NAME`.
    pub dir: PathBuf,
    lines: String,
}

impl Sandbox {
    /// Makes a subhost with a directory and a config, and nothing else.
    pub fn bare(&self, name: &str, config: &str) -> Subhost {
        let dir = self.subhost.join(name);
        fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        let subhost = Subhost {
            dir,
            lines: String::new(),
        };
        subhost.config(config);
        subhost
    }

    /// Makes a subhost whose root is an overlay of an empty `root` over the tree `layers/base`.
    pub fn overlay(&self, name: &str, config: &str) -> Subhost {
        self.layer("base");
        let mut subhost = self.bare(name, "");
        subhost.mkdir("root");
        subhost.lines = "LOWER=\"$SUBHOST/layers/base\"\n".to_owned();
        subhost.config(config);
        subhost
    }

    /// Makes a subhost with a tree of its own in `root`.
    pub fn rbind(&self, name: &str, config: &str) -> Subhost {
        let subhost = self.bare(name, config);
        tree::make(&subhost.path("root"));
        subhost
    }

    /// Makes a subhost with an image `NAME.img` that has a tree in it.
    pub fn image(&self, name: &str, fstype: &str, config: &str) -> Subhost {
        let subhost = self.bare(name, config);
        let from = self.layer("base");
        self.make_image(&subhost.path(&format!("{name}.img")), fstype, Some(&from));
        subhost
    }

    /// Makes a subhost with a root of one of the [`KINDS`]. The image is an ext4.
    pub fn of_kind(&self, name: &str, kind: &str, config: &str) -> Subhost {
        match kind {
            "rbind" => self.rbind(name, config),
            "overlay" => self.overlay(name, config),
            "image" => self.image(name, "ext4", config),
            other => panic!("no kind {other}"),
        }
    }

    /// Makes an overlay with a cable to the bridge `br0`, which it makes if there is none.
    pub fn cabled(&self, name: &str, config: &str) -> Subhost {
        if !self.test("ip link show dev br0") {
            self.bridge("br0");
        }
        self.overlay(name, &format!("BRIDGES=br0\n{config}"))
    }

    /// Makes an overlay that boots busybox init with this inittab.
    pub fn with_init(&self, name: &str, config: &str, inittab: &str) -> Subhost {
        let subhost = self.overlay(name, &format!("INIT=/sbin/init\n{config}"));
        subhost.write("root/etc/inittab", inittab);
        subhost
    }

    /// Makes an image file with /root and /work in it, and copies the tree `from` into its /root.
    pub fn make_image(&self, file: &Path, fstype: &str, from: Option<&Path>) {
        let (size, mkfs) = match fstype {
            "ext4" => ("24M", "mkfs.ext4 -q"),
            "xfs" => ("320M", "mkfs.xfs -q"),
            "btrfs" => ("128M", "mkfs.btrfs -q"),
            other => panic!("no image of {other}"),
        };
        let copy = from.map_or(String::new(), |from| {
            format!("cp -a {}/. image/root", quote(from.to_str().unwrap()))
        });
        let file = quote(file.to_str().unwrap());
        self.host(&format!(
            "truncate -s {size} {file}; {mkfs} {file}; mkdir -p image; mount -o loop {file} image
             mkdir image/root image/work; {copy}
             umount image; rmdir image"
        ));
        super::eventually("the image's loop device is gone", || {
            self.snapshot().loops().is_empty()
        });
    }
}

impl Subhost {
    /// Writes the config again. The lines that make the kind of root stay.
    pub fn config(&self, text: &str) {
        self.write("config", &format!("{}{text}", self.lines));
        self.chmod("config", 0o600);
    }

    /// Returns the path of a file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns whether the file exists. A dangling symlink does.
    pub fn exists(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// Returns the text of a file.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Writes a file, making its directories.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Writes an executable script for sh, making its directories.
    #[track_caller]
    pub fn script(&self, name: &str, text: &str) {
        self.write(name, "");
        write_script(self.path(name), text);
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// Sets the mode of a file in it; `.` is the directory itself.
    pub fn chmod(&self, name: &str, mode: u32) {
        set_mode(self.path(name), mode);
    }
}
