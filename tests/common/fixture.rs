//! A subhost on disk, ready to be mounted: overlay, rbind or image.

use super::{Sandbox, quote, tree};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directory of a subhost. Paths given to its methods are relative to it.
pub struct Subhost {
    /// `$SUBHOST/NAME`.
    pub dir: PathBuf,
    lines: String,
}

impl Sandbox {
    /// A subhost whose directory and config are there, and nothing else.
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

    /// An overlay of an empty `root` over the tree `layers/base`.
    pub fn overlay(&self, name: &str, config: &str) -> Subhost {
        self.layer("base");
        let mut subhost = self.bare(name, "");
        subhost.mkdir("root");
        subhost.lines = "LOWER=\"$SUBHOST/layers/base\"\n".to_owned();
        subhost.config(config);
        subhost
    }

    /// A tree of its own in `root`.
    pub fn rbind(&self, name: &str, config: &str) -> Subhost {
        let subhost = self.bare(name, config);
        tree::make(&subhost.path("root"));
        subhost
    }

    /// An image `NAME.img` with a tree of its own in it.
    pub fn image(&self, name: &str, fstype: &str, config: &str) -> Subhost {
        let subhost = self.bare(name, config);
        let from = self.layer("base");
        self.make_image(&subhost.path(&format!("{name}.img")), fstype, Some(&from));
        subhost
    }

    /// An image file with /root and /work in it; the tree `from` is copied into its /root.
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
            self.world().loops().is_empty()
        });
    }
}

impl Subhost {
    /// Writes the config anew; what makes the kind of root stays.
    pub fn config(&self, text: &str) {
        self.write("config", &format!("{}{text}", self.lines));
        self.chmod("config", 0o600);
    }

    /// The path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Is it there (a dangling symlink is)?
    pub fn exists(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// The text of a file.
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

    /// Writes a program for busybox sh.
    #[track_caller]
    pub fn script(&self, name: &str, text: &str) {
        self.write(name, &format!("#!/bin/sh\n{text}\n"));
        self.chmod(name, 0o755);
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// Sets the mode of something in it; `.` is the directory itself.
    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}
