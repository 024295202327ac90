//! An ordinary user with subordinate ids and subhosts of his own. If root runs the tests, the user is made in a
//! sandbox. If an ordinary user runs them, it is that user.

use super::{HOST_PATH, Pty, Run, Sandbox, eventually, sandbox, skip, tree};
use nix::unistd::{getgid, getuid};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A user.
pub struct User {
    /// His home, 0700.
    pub home: PathBuf,
    /// `$SUBHOST`, in it.
    pub subhost: PathBuf,
    /// His id.
    pub uid: u32,
    /// Where his runtime directory is.
    pub runtime: PathBuf,
    /// We are root, and become him.
    becomes: bool,
}

/// Returns the first subordinate id of user `uid` in a sandbox.
pub fn first_subid(uid: u32) -> u32 {
    uid * 100_000
}

/// Runs `test` as an ordinary user, and asserts that nothing is left.
pub fn user(test: impl FnOnce(&User) + Send + 'static) {
    if getuid().is_root() {
        return sandbox(|s| {
            let user = s.user("ann", 1500);
            let before = s.snapshot();
            test(&user);
            user.is_gone();
            s.assert_same(&before);
        });
    }
    let Some(user) = ourselves() else {
        return;
    };
    let _clock = super::timed();
    test(&user);
    user.is_gone();
    let base = user.home.parent().unwrap();
    Run::host(
        Path::new("/"),
        "chmod -R u+rwX \"$1\" 2>/dev/null || :; rm -rf \"$1\"",
    )
    .arg("sh")
    .arg(base)
    .ok();
}

fn ourselves() -> Option<User> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let subids = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let uid = getuid();
    let name = Run::host(Path::new("/"), "id -un").run().text();
    let mut names = subids.lines().filter_map(|line| line.split(':').next());
    if !names.any(|user| user == name || user == uid.to_string()) {
        skip("this user has no line in /etc/subuid");
        return None;
    }
    if !super::need(&["newuidmap", "newgidmap", "busybox"]) {
        return None;
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let base = PathBuf::from(format!("/tmp/subhost-user.{}.{number}", std::process::id()));
    let make = |dir: &Path| fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
    let user = User {
        home: base.join("home"),
        subhost: base.join("home/subhosts"),
        uid: uid.as_raw(),
        runtime: base.join("run"),
        becomes: false,
    };
    for dir in [&base, &user.home, &user.subhost, &user.runtime] {
        make(dir);
    }
    Some(user)
}

impl Sandbox {
    /// Makes an ordinary user as useradd does, with 65536 subordinate ids.
    pub fn user(&self, name: &str, uid: u32) -> User {
        self.own_etc();
        fs::set_permissions(&self.base, fs::Permissions::from_mode(0o711)).unwrap();
        let home = self.base.join(name);
        let first = first_subid(uid);
        self.host(&format!(
            "echo {name}:x:{uid}:{uid}::{}:/bin/sh >>/etc/passwd; echo {name}:x:{uid}: >>/etc/group
             echo {name}:{first}:65536 >>/etc/subuid; echo {name}:{first}:65536 >>/etc/subgid
             mkdir -p {name} /run/user/{uid}; chmod 700 {name} /run/user/{uid}
             mkdir -m 700 {name}/subhosts; chown -R {uid}:{uid} {name} /run/user/{uid}",
            home.display()
        ));
        User {
            subhost: home.join("subhosts"),
            home,
            uid,
            runtime: PathBuf::from(format!("/run/user/{uid}")),
            becomes: true,
        }
    }

    /// Mounts an overlay on /etc, so that the sandbox can write it.
    fn own_etc(&self) {
        if !self.base.join("etc").exists() {
            self.host(
                "mkdir etc etc.work
                 mount -t overlay -o lowerdir=/etc,upperdir=$PWD/etc,workdir=$PWD/etc.work overlay /etc
                 : >/etc/subuid; : >/etc/subgid; chmod 644 /etc/sub?id",
            );
        }
    }
}

impl User {
    /// Returns one of our tools, run by the user: as [`Sandbox::tool`].
    pub fn tool(&self, line: &str) -> Run {
        self.runs(Run::tool(&self.subhost, line))
    }

    /// Returns a script of the user, with our tools in PATH.
    pub fn sh(&self, script: &str) -> Run {
        let path = format!("{}:{HOST_PATH}", super::tools_dir());
        let run = Run::sh(script).env("PATH", &path);
        self.runs(run.env("SUBHOST", self.subhost.to_str().unwrap()))
    }

    /// One of our tools on a terminal.
    pub fn pty(&self, line: &str) -> Pty {
        Pty::start(self.tool(line))
    }

    /// Returns `subhost-enter NAME -- sh -c SCRIPT`.
    pub fn enter(&self, name: &str, script: &str) -> Run {
        self.tool(&format!("subhost-enter {name} -- sh -c"))
            .arg(script)
    }

    /// Runs it, asserts that it succeeds, and returns its output, trimmed.
    #[track_caller]
    pub fn inside(&self, name: &str, script: &str) -> String {
        self.enter(name, script).ok().text()
    }

    /// Returns the state of a subhost, as `subhost-list` prints it.
    #[track_caller]
    pub fn state(&self, name: &str) -> String {
        let list = self.tool(&format!("subhost-list -o state {name}"));
        list.ok().text()
    }

    fn runs(&self, run: Run) -> Run {
        let run = run.env("HOME", self.home.to_str().unwrap());
        match self.becomes {
            true => run.by_user(self.uid),
            false => run.env("XDG_RUNTIME_DIR", self.runtime.to_str().unwrap()),
        }
    }

    /// An overlay of an empty `root` over a small tree.
    pub fn overlay(&self, name: &str, config: &str) -> PathBuf {
        let layer = self.subhost.join("layers/base");
        if !layer.exists() {
            tree::make(&layer);
        }
        self.bare(name, &format!("LOWER=\"$SUBHOST/layers/base\"\n{config}"))
    }

    /// Makes a subhost with a tree of its own in `root`.
    pub fn rbind(&self, name: &str, config: &str) -> PathBuf {
        tree::make(&self.subhost.join(name).join("root"));
        self.bare(name, config)
    }

    /// A subhost with a config and `root`.
    pub fn bare(&self, name: &str, config: &str) -> PathBuf {
        let dir = self.subhost.join(name);
        fs::create_dir_all(dir.join("root")).unwrap();
        fs::write(dir.join("config"), config).unwrap();
        for (file, mode) in [("", 0o700), ("config", 0o600)] {
            fs::set_permissions(dir.join(file), fs::Permissions::from_mode(mode)).unwrap();
        }
        self.own();
        dir
    }

    /// Gives all files in $SUBHOST to the user.
    pub fn own(&self) {
        if self.becomes {
            let (uid, dir) = (self.uid, self.subhost.display());
            Run::host(Path::new("/"), &format!("chown -Rh {uid}:{uid} {dir}")).ok();
        }
    }

    /// Owner and group of a file as the host has them.
    pub fn owner(&self, file: &Path) -> (u32, u32) {
        let meta = fs::symlink_metadata(file).unwrap();
        (meta.uid(), meta.gid())
    }

    /// His group.
    pub fn gid(&self) -> u32 {
        match self.becomes {
            true => self.uid,
            false => getgid().as_raw(),
        }
    }

    /// Returns the pid of the process that holds the user's namespaces, if there is one.
    pub fn holder(&self) -> Option<i32> {
        let record = fs::read_to_string(self.runtime.join("subhost/world")).ok()?;
        let record: serde_json::Value = serde_json::from_str(&record).ok()?;
        record["holder"]["pid"].as_i64().map(|pid| pid as i32)
    }

    /// Waits until the user's namespaces have ended and left nothing.
    pub fn is_gone(&self) {
        eventually("the user's world is gone", || {
            !self.runtime.join("subhost").exists()
        });
    }
}
