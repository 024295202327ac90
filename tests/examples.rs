//! `subhosts.example` and `contrib`: set up as their README says, then used through `control` under each shell, from
//! an empty environment.

mod common;

use common::{Run, Sandbox, Snapshot, assert_has, eventually, need, quote, sandbox, tools_dir};
use std::fs;
use std::path::{Path, PathBuf};

const NAMES: [&str; 6] = ["disk", "future", "machine", "plain", "router", "web"];
/// The script's own command line has the bracket.
const UID_OF_HTTPD: &str =
    "for p in /proc/[0-9]*; do ! grep -q '[h]ttpd' $p/cmdline || stat -c %u $p; done";
const SHELLS: [&str; 3] = ["dash", "bash", "busybox sh"];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn file(path: &str) -> String {
    let path = repository(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The indented blocks of the examples' README, in order, for a $SUBHOST elsewhere than /opt/subhost.
fn blocks(s: &Sandbox) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in file("subhosts.example/README.md").lines() {
        let last = blocks.last_mut().unwrap();
        match line.strip_prefix("    ") {
            Some(command) => *last += &format!("{command}\n"),
            None if last.is_empty() => {}
            None => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| !block.is_empty());
    let here = s.subhost.to_str().unwrap();
    let ours = |block: String| block.replace("/opt/subhost", here);
    blocks.into_iter().map(ours).collect()
}

/// What stands for debootstrap: copies a small tree, with the parts that the examples use.
fn stub_debootstrap(s: &Sandbox) {
    let tree = s.base.join("tree");
    fs::rename(s.layer("tree"), &tree).unwrap();
    fs::remove_dir(s.subhost.join("layers")).unwrap();
    s.host(
        r"cd tree
        echo 'www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin' >>etc/passwd
        echo 'www-data:x:33:' >>etc/group
        mkdir ../bin
        cat >../bin/debootstrap <<'END'
#!/bin/sh
set -eu
for dir; do :; done
mkdir -p $dir
cp -a $(dirname $0)/../tree/. $dir
case $* in *sysvinit-core*)
    cat >$dir/etc/inittab <<'TAB'
::sysinit:/bin/touch /run/booted
::once:/bin/sleep 1000
1:2345:respawn:/sbin/getty 38400 tty1
6:23:respawn:/sbin/getty 38400 tty6
::shutdown:/bin/touch /halted
TAB
    printf '#!/bin/sh\necho $* >/disabled\n' >$dir/usr/sbin/update-rc.d
    chmod 755 $dir/usr/sbin/update-rc.d
esac
END
        chmod 755 ../bin/debootstrap",
    );
}

/// A $SUBHOST with all examples, made by the README's own commands; the tools are where
/// `make install` puts them. Gives the README's last block, which uses them.
fn set_up(s: &Sandbox) -> String {
    stub_debootstrap(s);
    s.host(&format!("mount --bind {} /usr/local/sbin", tools_dir()));
    fs::remove_dir(&s.subhost).unwrap(); // "must not exist before"
    let (used, made): (Vec<String>, Vec<String>) = blocks(s)
        .into_iter()
        .partition(|block| block.contains("./control"));
    assert_eq!(used.len(), 1, "the block that uses control");
    let script = made.concat();
    assert_has(
        &script,
        &["cp -r", "chmod 700 .", "debootstrap", "mkfs.ext4"],
    );
    let script = script.replace("-s 2G ", "-s 24M ");
    let path = format!("{}:{}", s.base.join("bin").display(), common::HOST_PATH);
    let out = s
        .sh(&format!("set -eu\n{script}"))
        .env("PATH", &path)
        .cwd(&repository("."))
        .ok();
    assert!(out.stderr.is_empty(), "{out}");
    eventually("the image's loop device is gone", || {
        s.snapshot().loops().is_empty()
    });
    used.concat()
}

/// A shell by its path: with an empty environment nothing is found by name.
fn shell(name: &str) -> String {
    let (program, rest) = name.split_once(' ').unwrap_or((name, ""));
    let path = common::program(program).unwrap();
    format!("{} {rest}", path.display())
}

/// `./control ARGS` in $SUBHOST, under `shell`, without any environment.
fn control(s: &Sandbox, shell_name: &str, args: &str) -> Run {
    let shell = shell(shell_name);
    s.sh(&format!("exec env -i {shell} ./control {args}"))
        .cwd(&s.subhost)
}

/// The id of the mount on the live of `name`.
fn mount_id(s: &Sandbox, name: &str) -> String {
    s.host(&format!(
        "findmnt -n -o ID {}/{name}/live",
        s.subhost.display()
    ))
}

fn cables(name: &str) -> &'static [&'static str] {
    match name {
        "router" => &["router0", "router1"],
        "web" => &["web0"],
        "machine" => &["machine0"],
        _ => &[],
    }
}

fn indexes(s: &Sandbox, name: &str) -> Vec<String> {
    let index = |link: &&str| s.host(&format!("cat /sys/class/net/{link}/ifindex"));
    cables(name).iter().map(index).collect()
}

#[test]
fn settings() {
    sandbox(|s| {
        set_up(s);
        for name in NAMES {
            let out = s.tool(&format!("subhost-config --check {name}")).ok();
            assert!(out.stdout.is_empty(), "{out}");
            if name == "future" {
                assert_has(&out.stderr, &["LOWER=/", "/etc/shadow"]);
            } else {
                assert!(out.stderr.is_empty(), "{out}");
            }
        }
        // A script may source the file instead.
        for name in NAMES {
            let text = fs::read_to_string(s.subhost.join(name).join("config")).unwrap();
            let set = |line: &&str| line.starts_with(|c: char| c.is_ascii_uppercase());
            for line in text.lines().filter(set) {
                let (key, _) = line.split_once('=').unwrap();
                let ours = s.tool(&format!("subhost-config {name} {key}")).ok().stdout;
                for shell_name in SHELLS {
                    let shell = shell(shell_name);
                    let sourced = s
                        .sh(&format!(
                            "NAME={name} {shell} -uc '. ./{name}/config; echo \"${key}\"'"
                        ))
                        .cwd(&s.subhost)
                        .ok();
                    assert_eq!(sourced.stdout, ours, "{name} {key} {shell_name}");
                }
            }
        }
        let all = s.tool("subhost-config web").ok().stdout;
        assert_has(&all, &["ENV_LANG=", "C.UTF-8", "X_SITE=", "example"]);
        assert_eq!(s.tool("subhost-config web STOP_TIMEOUT").ok().text(), "10s");
        assert_eq!(
            s.tool("subhost-config plain STOP_TIMEOUT").ok().text(),
            "20s"
        );
    });
}

#[test]
fn plans() {
    sandbox(|s| {
        set_up(s);
        let before = s.snapshot();
        for name in NAMES {
            let mount = s.tool(&format!("subhost-mount -n {name}")).ok();
            let net = s.tool(&format!("subhost-net -n {name}")).ok();
            assert_has(&mount.stdout, &["set -e\n", &format!("/{name}/live")]);
            assert_has(&net.stdout, &["set -e\n", &format!("ip netns add {name}")]);
            for cable in cables(name) {
                assert_has(&net.stdout, &[&format!("ip link add {cable} ")]);
            }
            for script in [mount, net] {
                assert!(script.stderr.is_empty(), "{script}");
                for shell_name in SHELLS {
                    let shell = shell(shell_name);
                    s.sh(&format!("{shell} -n")).input(&script.stdout).silent();
                }
            }
        }
        s.assert_same_now(&before);
    });
}

/// What is particular about each, while it runs.
fn look(s: &Sandbox, name: &str) {
    let dir = s.subhost.join(name);
    let live = dir.join("live");
    let fstype = s.host(&format!("findmnt -n -o FSTYPE {}", live.display()));
    assert_eq!(s.inside(name, "echo $LANG"), "C.UTF-8");
    match name {
        "future" => {
            assert_eq!(fstype, "overlay");
            s.inside(name, "echo changed >/etc/subhost-example");
            assert!(dir.join("root/etc/subhost-example").is_file());
            assert!(!Path::new("/etc/subhost-example").exists());
            assert_eq!(s.inside(name, "ls /sys/class/net"), "lo");
        }
        "plain" => {
            assert_eq!(fstype, "tmpfs", "an rbind of what is there");
            assert_eq!(s.inside(name, "hostname"), "plain.example.org");
            s.inside(name, "echo kept >/etc/kept; echo lost >/tmp/lost");
            assert!(dir.join("root/etc/kept").is_file());
            assert!(!dir.join("root/tmp/lost").exists());
            let out = s.enter(name, "echo no >/mnt/no").run();
            assert_ne!(out.code, 0, "BIND with :ro was written: {out}");
            assert_eq!(
                s.inside(name, "ls /mnt | wc -l"),
                s.host("ls /usr/share/doc | wc -l")
            );
            assert_has(&s.inside(name, "df -m /tmp"), &[" 64 "]);
        }
        "disk" => {
            assert_eq!(fstype, "ext4");
            assert_eq!(s.snapshot().loops().len(), 1);
            let mnt = dir.join("mnt").display().to_string();
            assert_has(
                &s.host(&format!("findmnt -n -o OPTIONS {mnt}")),
                &["noatime"],
            );
            s.inside(name, "echo kept >/etc/kept");
            assert!(dir.join("mnt/root/etc/kept").is_file());
        }
        "router" => look_at_router(s),
        "web" => {
            eventually("busybox httpd serves", || {
                let page = s.sh("busybox wget -q -O - http://192.0.2.80:8080/").run();
                page.stdout.contains("Served from inside the subhost.")
            });
            assert_eq!(s.inside(name, UID_OF_HTTPD), "33");
            let out = s.enter(name, "echo no >/srv/www/index.html").run();
            assert_ne!(out.code, 0, "BIND with :ro was written: {out}");
            assert_has(&s.inside(name, "df -m /tmp"), &[" 64 "]);
        }
        "machine" => {
            eventually("the tree's init is at work", || {
                !s.inside(name, "test -e /run/booted && pidof sleep || :")
                    .is_empty()
            });
            assert_eq!(s.inside(name, "readlink /proc/1/exe"), "/bin/busybox");
            assert_has(
                &s.inside(name, "tr '\\0' '\\n' </proc/1/environ"),
                &["container=subhost"],
            );
            assert_eq!(s.inside(name, "pidof getty || echo none"), "none");
            assert_eq!(s.inside(name, "cat /disabled"), "hwclock.sh disable");
            assert_has(
                &s.inside(name, "ip -4 address show eth0"),
                &["192.0.2.20/24"],
            );
            assert_has(&s.inside(name, "df -m /run"), &[" 100 "]);
        }
        other => panic!("no example {other}"),
    }
}

fn look_at_router(s: &Sandbox) {
    let ip = |script: &str| s.host(&format!("ip -n router {script}"));
    let eth = s.json("ip -n router -j address show eth0");
    assert_eq!(eth[0]["address"], "02:00:00:00:00:01");
    assert_has(
        &ip("address show eth0"),
        &["192.0.2.10/24", "2001:db8::10/64"],
    );
    assert_has(
        &ip("address show eth1"),
        &["198.51.100.1/24", "2001:db8:1::1/64"],
    );
    assert_has(&ip("link show eth1"), &["mtu 1400"]);
    assert_has(
        &ip("route"),
        &[
            "default via 192.0.2.1 dev eth0",
            "203.0.113.0/24 via 198.51.100.2 dev eth1",
        ],
    );
    assert_has(
        &ip("-6 route"),
        &[
            "default via 2001:db8::1 dev eth0",
            "2001:db8:2::/48 via 2001:db8:1::2 dev eth1",
        ],
    );
    for (link, bridge) in [("router0", "br0"), ("router1", "br1")] {
        assert_eq!(
            s.json(&format!("ip -j link show {link}"))[0]["master"],
            bridge
        );
    }
    // The hook has turned forwarding on: here, and nowhere else.
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let setting = format!("/proc/sys/net/{family}");
        assert_eq!(s.inside("router", &format!("cat {setting}")), "1");
        assert_eq!(s.host(&format!("cat {setting}")), "0");
    }
    assert_eq!(
        s.inside("router", "cat /etc/resolv.conf"),
        "search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53"
    );
    let own = s.subhost.join("layers/bookworm/etc/resolv.conf");
    assert_eq!(fs::read_to_string(own).unwrap(), "nameserver 203.0.113.1\n");
}

/// Start, look, enter, restart, stop.
fn cycle(s: &Sandbox, shell_name: &str, name: &str, before: &Snapshot) {
    let control = |args: String| control(s, shell_name, &args);
    control(format!("status {name}")).fails(3, &[]);
    control(format!("start {name}")).silent();
    control(format!("start {name}")).silent();
    look(s, name);
    assert_has(
        &control(format!("list {name}")).ok().stdout,
        &[name, "running"],
    );
    assert_has(
        &control(format!("status {name}")).ok().stdout,
        &["running", name],
    );

    // Words and statuses go through as they are.
    let out = control(format!("{name}:printf '%s|' 'two  words' '$x' '*'")).ok();
    assert_eq!(out.stdout, "two  words|$x|*|", "{out}");
    control(format!("{name}: sh -c 'exit 7'")).fails(7, &[]);
    control(format!("enter {name} -- sh -c 'kill -9 $$'")).fails(137, &[]);
    control(format!("{name}:no-such-command")).fails(127, &["no-such-command"]);
    assert_eq!(
        control(format!("enter -q -j {name} -- cat"))
            .input("abc")
            .ok()
            .stdout,
        "abc"
    );
    let out = control(format!("enter {name}"))
        .input("echo $((40+2))\n")
        .ok();
    assert_eq!(out.text(), "42", "a shell reads its input: {out}");

    // Restarted from within its root: had that to be unmounted, it would be busy.
    let (pid, mount, links) = (s.pid(name), mount_id(s, name), indexes(s, name));
    s.sh(&format!(
        "exec env -i {} ../../control restart {name}",
        shell(shell_name)
    ))
    .cwd(&s.subhost.join(name).join("live"))
    .silent();
    assert_ne!(s.pid(name), pid);
    assert_eq!(mount_id(s, name), mount);
    assert_eq!(indexes(s, name), links);
    look(s, name);
    control(format!("stop --sync {name}")).silent();
    control(format!("stop {name}")).silent();
    s.assert_same_now(before);
    control(format!("status {name}")).fails(3, &[]);
    control(format!("enter -j {name} -- true")).fails(3, &["not running"]);
}

fn all_under(shell: &'static str) {
    if !need(&["dash", "bash", "busybox", "mkfs.ext4", "findmnt"]) {
        return;
    }
    sandbox(move |s| {
        set_up(s);
        s.host("ip address add 192.0.2.1/24 dev br0");
        let before = s.snapshot();
        for name in NAMES {
            cycle(s, shell, name, &before);
        }
        // machine's init has run its own way down, and was not killed.
        assert!(s.subhost.join("machine/root/halted").is_file());

        let out = control(s, shell, "list").ok();
        assert_eq!(out.stdout.lines().count(), NAMES.len() + 1, "{out}");
        assert_eq!(control(s, shell, "status").ok().stdout, out.stdout);
        assert_has(
            &control(s, shell, "help").ok().stdout,
            &["usage: control start"],
        );
        control(s, shell, "").fails(2, &["usage: control start"]);
        for wrong in [
            "nonsense",
            "start",
            "restart",
            "restart -k web",
            ":true",
            "web:",
            "-x",
        ] {
            control(s, shell, wrong).fails(2, &[]);
        }
        control(s, shell, "start nosuch").fails(4, &["nosuch"]);
        control(s, shell, "nosuch:true").fails(125, &["nosuch"]);
        s.assert_same_now(&before);
    });
}

#[test]
fn all_under_dash() {
    all_under("dash");
}

#[test]
fn all_under_bash() {
    all_under("bash");
}

#[test]
fn all_under_busybox() {
    all_under("busybox sh");
}

#[test]
fn commands_of_the_readme() {
    sandbox(|s| {
        let commands = set_up(s);
        let before = s.snapshot();
        let out = s
            .sh(&format!("set -eu\n{commands}"))
            .without("SUBHOST")
            .cwd(&s.subhost)
            .ok();
        let list = out.stdout.lines().find(|line| line.starts_with("future "));
        assert_has(list.unwrap_or_default(), &["running", "overlay"]);
        assert_has(&out.stdout, &["ps ax"]);
        s.assert_same(&before);
    });
}

#[test]
fn restart_makes_anew_what_has_changed() {
    sandbox(|s| {
        set_up(s);
        let before = s.snapshot();
        let config = s.subhost.join("router/config");
        let text = fs::read_to_string(&config).unwrap();
        let restart = || control(s, "dash", "restart router").silent();
        control(s, "dash", "start router").silent();

        let index = indexes(s, "router");
        fs::write(&config, text.replace("BRIDGES=\"br0=", "BRIDGES=\"br1=")).unwrap();
        restart();
        assert_ne!(indexes(s, "router"), index);
        assert_eq!(s.json("ip -j link show router0")[0]["master"], "br1");

        let index = indexes(s, "router");
        let more = s.subhost.join("layers/more");
        fs::create_dir_all(more.join("srv")).unwrap();
        fs::write(more.join("srv/new"), "").unwrap();
        fs::write(
            &config,
            text.replace("layers/bookworm", "layers/bookworm $SUBHOST/layers/more"),
        )
        .unwrap();
        restart();
        assert_eq!(s.inside("router", "ls /srv"), "new");
        assert_ne!(indexes(s, "router"), index);
        assert_eq!(s.json("ip -j link show router0")[0]["master"], "br0");

        // RUN and the like are read at each boot: no reason to take anything down.
        let index = indexes(s, "router");
        fs::write(
            &config,
            fs::read_to_string(&config).unwrap() + "RUN='/bin/sleep 500'\n",
        )
        .unwrap();
        restart();
        assert_eq!(indexes(s, "router"), index);
        assert_eq!(s.inside("router", "pidof sleep"), "2");

        // A config that start would refuse costs nothing that runs.
        let pid = s.pid("router");
        let good = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{good}BRIGDES=br0\n")).unwrap();
        control(s, "dash", "restart router").fails(5, &["did you mean BRIDGES?"]);
        assert_eq!(s.pid("router"), pid);
        fs::write(&config, good).unwrap();

        // Of several each has its turn.
        control(s, "dash", "restart nosuch plain router").fails(4, &["nosuch"]);
        assert_eq!(s.state("plain"), "running");
        for name in ["plain", "router"] {
            s.tool(&format!("subhost-stop --sync {name}")).silent();
        }
        s.assert_same_now(&before);
    });
}

#[test]
fn control_finds_its_directory() {
    sandbox(|s| {
        set_up(s);
        s.host("ln -s opt/control elsewhere; mkdir other; cp opt/control other");
        let list = |line: &str, dir: &Path| {
            let out = s
                .sh(&format!("exec env -i {line} list -o name"))
                .cwd(dir)
                .ok();
            out.stdout.lines().count()
        };
        let sh = shell("dash");
        assert_eq!(list("./elsewhere", &s.base), NAMES.len());
        assert_eq!(list(&format!("{sh} opt/control"), &s.base), NAMES.len());
        assert_eq!(list(&format!("{sh} control"), &s.subhost), NAMES.len());
        assert_eq!(list("./control", &s.base.join("other")), 0);
        let subhost = format!("SUBHOST={} ./control", s.subhost.display());
        assert_eq!(list(&subhost, &s.base.join("other")), NAMES.len());
        // Without the tools it says so, and not with a status that a command inside may have.
        s.host("umount /usr/local/sbin");
        if common::program("subhost-enter").is_none() {
            control(s, "dash", "web:true").fails(125, &["control: cannot run subhost-enter"]);
            control(s, "dash", "start web").fails(1, &["control: cannot run subhost-start"]);
        }
    });
}

/// The init script with SUBHOST from /etc/default/subhosts, as at boot.
#[test]
fn init_script() {
    sandbox(|s| {
        set_up(s);
        s.host("mount -t tmpfs tmpfs /etc/default");
        let default = file("contrib/default/subhosts");
        assert_has(&default, &["#SUBHOST="]);
        fs::write(
            "/etc/default/subhosts",
            format!("{default}SUBHOST={}\n", s.subhost.display()),
        )
        .unwrap();
        let script = repository("contrib/init.d/subhosts");
        let script = quote(script.to_str().unwrap());
        let dash = shell("dash");
        let init = |verb: &str| s.sh(&format!("exec env -i {dash} {script} {verb}"));
        let before = s.snapshot();

        assert_has(
            &init("status").fails(3, &[]).stdout,
            &["NAME", "web", "stopped"],
        );
        init("start").ok();
        assert_eq!(s.state("web"), "running");
        assert_eq!(
            s.tool("subhost-list -o state")
                .ok()
                .stdout
                .matches("running")
                .count(),
            1
        );
        assert_has(&init("status").ok().stdout, &["web", "running"]);
        let pid = s.pid("web");
        init("start").ok();
        assert_eq!(s.pid("web"), pid, "starting what runs does nothing");

        // Also what was started by hand is stopped, and not started again.
        s.tool("subhost-start plain").silent();
        init("restart").ok();
        assert_ne!(s.pid("web"), pid);
        assert_eq!(s.state("plain"), "stopped");
        init("stop").ok();
        init("stop").ok();
        init("status").fails(3, &[]);
        init("try-restart").ok();
        assert_eq!(s.state("web"), "stopped");
        init("nonsense").fails(2, &["Usage:"]);
        s.assert_same(&before);

        // One that is broken keeps no other from starting, and is heard of.
        fs::write(s.subhost.join("future/config"), "NO_SUCH=1\n").unwrap();
        init("start").fails(1, &["future", "NO_SUCH"]);
        assert_eq!(s.state("web"), "running");
        init("stop").run();
        s.assert_same(&before);
    });
}

/// The jobs in contrib/cron.d: the time, the user and the command.
fn jobs() -> Vec<String> {
    let text = file("contrib/cron.d/subhosts");
    let time = |word: &&str| word.chars().all(|c| "0123456789*/,-".contains(c));
    let mut jobs = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        let mut words = line.split_whitespace();
        if words.by_ref().take(5).filter(time).count() < 5 {
            continue;
        }
        assert_eq!(words.next(), Some("root"), "{line}");
        let (_, command) = line.split_once("root").unwrap();
        assert!(
            !command.replace(r"\%", "").contains('%'),
            "a % is a line end: {line}"
        );
        jobs.push(command.trim().replace(r"\%", "%"));
    }
    jobs
}

#[test]
fn cron_lines() {
    let jobs = jobs();
    assert_eq!(jobs.len(), 6, "{jobs:#?}");
    sandbox(move |s| {
        set_up(s);
        for job in &jobs {
            for shell_name in SHELLS {
                let shell = shell(shell_name);
                s.sh(&format!("{shell} -n -c {}", quote(job))).silent();
            }
        }
        // As cron runs them, with another $SUBHOST.
        let path = file("contrib/cron.d/subhosts");
        let path = path.lines().find_map(|line| line.strip_prefix("PATH="));
        let job = |part: &str| {
            let job = jobs.iter().find(|job| job.contains(part)).unwrap();
            s.sh(&job.replace("/opt/subhost", s.subhost.to_str().unwrap()))
                .env("PATH", path.unwrap())
        };
        let before = s.snapshot();
        job("-j web -- /usr/local/bin/nightly").fails(3, &["not running"]);
        job("subhost-info web").fails(3, &[]);
        job("control restart web").silent();
        s.host("cp -a opt/plain opt/dns; printf 'HOSTNAME=dns\\n' >opt/dns/config");
        job("subhost-start dns").silent();
        job("subhost-start dns").silent();
        let list = s.tool("subhost-list").ok().stdout;
        assert_has(&job("subhost-list").ok().stdout, &["NAME", "dns", "web"]);
        assert_has(&list, &["running"]);
        let nightly = || {
            let script = "#!/bin/sh\necho nightly >/root/done\n";
            let bin = s.subhost.join("web/root/usr/local/bin");
            s.tool("subhost-stop --sync web").silent();
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("nightly"), script).unwrap();
            s.host("chmod 755 opt/web/root/usr/local/bin/nightly");
            s.tool("subhost-start web").silent();
            job("subhost-info web").silent();
            job("-j web -- /usr/local/bin/nightly").silent();
        };
        nightly();
        assert!(s.subhost.join("web/root/root/done").is_file());
        for name in ["dns", "web"] {
            s.tool(&format!("subhost-stop --sync {name}")).silent();
        }
        s.assert_same_now(&before);
    });
}

#[test]
fn units() {
    let Some(analyze) = common::program("systemd-analyze") else {
        return; // sysvinit hosts have none.
    };
    sandbox(move |s| {
        s.host(&format!("mount --bind {} /usr/local/sbin", tools_dir()));
        s.host(&format!(
            "cp {0}/subhosts.target {0}/subhost@.service .; cp subhost@.service subhost@web.service",
            quote(repository("contrib/systemd").to_str().unwrap())
        ));
        let verify = format!(
            "{} --man=no verify ./subhosts.target ./subhost@web.service",
            analyze.display()
        );
        let out = s.sh(&verify).cwd(&s.base).ok();
        assert!(out.stderr.is_empty(), "{out}");
    });
}
