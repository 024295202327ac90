//! Names of subhosts, trees, images and layers: any name that Linux permits works or is refused in words.

use crate::common::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

#[test]
fn names_that_are_none_are_refused() {
    sandbox(|s| {
        let before = s.snapshot();
        let long = "n".repeat(65);
        for name in [
            "-w", ".w", "..", "a/b", "a b", "ü", "control", "defaults", "", &long,
        ] {
            let out = s.tool("subhost-mount --").arg(name).run();
            assert!([2, 4, 5].contains(&out.code), "{out}");
            assert!(!out.stderr.is_empty(), "{out}");
            s.tool("subhost-enter --")
                .args([name, "--", "true"])
                .fails(125, &[]);
        }
        s.assert_same_now(&before);
    });
}

/// Names with characters that are special to a shell, to mountinfo, to overlay options, in a table or on a terminal.
fn names() -> Vec<String> {
    let plain = [
        "a b",
        " a",
        "a\tb",
        "a\nb",
        "a\n",
        "a'b",
        "a\"b",
        "a\\b",
        "a\\",
        "a\\040b",
        "a,b",
        "a%sb",
        "a$b",
        "$(a)",
        "-x",
        "--",
        "#a",
        "a;b",
        "a=b",
        "*",
        "~",
        "a (deleted)",
        "\u{e9}\u{202e}",
        "\u{1b}[2J",
        "\u{7f}",
    ];
    let long = "l".repeat(255);
    plain
        .iter()
        .map(|name| (*name).to_owned())
        .chain([long])
        .collect()
}

/// Each path of the config and of the command line contains such a name.
#[test]
fn strange_names_are_names() {
    sandbox(|s| {
        s.layer("base");
        for name in names() {
            let top = s.base.join("top").join(&name);
            let subhost = top.join(&name);
            let w = subhost.join("w");
            for dir in [w.join(&name), top.join("data").join(&name)] {
                fs::create_dir_all(dir).unwrap();
            }
            fs::write(top.join("data").join(&name).join("file"), &name).unwrap();
            let layer = top.join("layer").join(&name);
            fs::create_dir_all(layer.parent().unwrap()).unwrap();
            Command::new("cp")
                .arg("-a")
                .arg(s.layer("base"))
                .arg(&layer)
                .status()
                .unwrap();
            let bind = format!(
                "{}:/mnt/{name}/{name}:ro",
                top.join("data").join(&name).display()
            );
            let one = |key: &str, value: &str| format!("{key}={}\n", quote(value));
            let config = [
                setting("LOWER", &[&layer]),
                one("UPPER", &name),
                one("WORK", &format!("work/{name}")),
                one("LIVE", &format!("live/{name}")),
                setting("BIND", &[bind]),
                setting("TMPFS", &[format!("/srv/{name}")]),
                setting("RUN", &["/bin/sleep", "1000"]),
                one("ENV_X", &name),
            ];
            for dir in ["work", "live"] {
                fs::create_dir(w.join(dir)).unwrap();
            }
            fs::write(w.join("config"), config.concat()).unwrap();
            let before = s.snapshot();
            let tool = |line: &str| {
                let (tool, rest) = line.split_once(' ').unwrap();
                s.tool(tool)
                    .without("SUBHOST")
                    .arg("-S")
                    .arg(&subhost)
                    .args(rest.split(' '))
            };
            tool("subhost-mount w").silent();
            tool("subhost-start w").silent();
            let inside = format!("/mnt/{name}/{name}");
            let cat = tool("subhost-enter w -- cat")
                .arg(format!("{inside}/file"))
                .ok();
            assert_eq!(cat.stdout, name, "{cat}");
            let said = tool("subhost-enter w -- printenv X").run();
            let pwd = tool("subhost-enter -w")
                .arg(&inside)
                .args(["w", "--", "cat", "file"])
                .ok();
            assert_eq!(pwd.stdout, name, "{pwd}");
            let info = tool("subhost-info w").ok();
            for out in [&info, &said] {
                assert_lacks(&out.stderr, &["\u{1b}", "\u{202e}", "panicked"]);
            }
            assert_lacks(&info.stdout, &["\u{1b}", "\u{202e}"]);
            tool("subhost-list -o state,root w").ok();
            tool("subhost-stop --sync w").silent();
            s.assert_same_now(&before);
            fs::remove_dir_all(&top).unwrap();
        }
    });
}

#[test]
fn images_of_strange_names() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        fs::rename(w.path("w.img"), s.base.join("kept.img")).unwrap();
        for name in names() {
            let image = w.path(&name);
            Command::new("cp")
                .arg("--sparse=always")
                .arg(s.base.join("kept.img"))
                .arg(&image)
                .status()
                .unwrap();
            w.config(&format!("IMAGE={}\n", quote(&name)));
            let before = s.start("w");
            s.tool("subhost-start w").silent();
            assert_eq!(s.inside("w", "hostname"), "w");
            s.tool("subhost-stop --sync w").silent();
            s.assert_same_now(&before);
            fs::remove_file(image).unwrap();
        }
    });
}

/// Paths up to and beyond PATH_MAX.
#[test]
fn long_paths_work_or_are_refused() {
    sandbox(|s| {
        let layer = s.layer("base");
        for (length, works) in [(1000, true), (2000, true), (3900, false), (4060, false)] {
            let mut dir = s.base.join("deep");
            while dir.as_os_str().len() < length {
                let left = length - dir.as_os_str().len();
                dir.push("d".repeat((left - 1).clamp(1, 200)));
            }
            fs::create_dir_all(dir.join("w/root")).unwrap();
            fs::write(dir.join("w/config"), setting("LOWER", &[&layer])).unwrap();
            let before = s.snapshot();
            let tool = |tool: &str| {
                s.tool(tool)
                    .without("SUBHOST")
                    .arg("-S")
                    .arg(&dir)
                    .arg("w")
                    .limit(10)
            };
            let start = tool("subhost-start").run();
            assert!([0, 1, 4, 5].contains(&start.code), "{start}");
            assert!(!works || start.code == 0, "{start}");
            assert!(start.code == 0 || !start.stderr.is_empty(), "{start}");
            assert_lacks(&start.stderr, &["panicked"]);
            let stop = tool("subhost-stop").arg("--sync").run();
            assert!([0, 4].contains(&stop.code), "{stop}");
            s.assert_same_now(&before);
            // The same lengths for a mount point inside.
            let w = s.bare(&format!("w{length}"), "");
            w.mkdir("root");
            let target = format!("/{}", "t".repeat(200) + "/").repeat(length / 202);
            w.config(&(setting("LOWER", &[&layer]) + &setting("TMPFS", &[target])));
            let before = s.snapshot();
            let name = w.dir.file_name().unwrap().to_str().unwrap();
            let start = s.tool(&format!("subhost-start {name}")).limit(10).run();
            assert!([0, 1].contains(&start.code), "{start}");
            s.tool(&format!("subhost-stop --sync {name}")).ok();
            s.assert_same_now(&before);
        }
    });
}

#[test]
fn names_and_trees_that_are_none_are_refused_in_words() {
    sandbox(|s| {
        let before = s.snapshot();
        let long = vec![b'n'; 4096];
        let names: &[&[u8]] = &[
            b"",
            b".",
            b"..",
            b"../w",
            b"/",
            b"w/",
            b"w/..",
            b"-x",
            b"w\n",
            b"\nw",
            b"w w",
            b"w\xff",
            b"\xc3\xa9",
            b"\x1b[2J",
            b"control",
            b"defaults",
            b".in-use",
            b".netns",
            &long,
        ];
        for name in names.iter().map(|name| OsStr::from_bytes(name)) {
            for tool in [
                "mount", "mount -u", "net", "start", "stop", "list", "info", "config",
            ] {
                let out = s
                    .tool(&format!("subhost-{tool} --"))
                    .arg(name)
                    .limit(10)
                    .run();
                assert_eq!(out.code, 2, "{out}");
                assert!(!out.stderr.is_empty(), "{out}");
                assert_lacks(&out.stderr, &["panicked", "\u{1b}"]);
            }
            let out = s
                .tool("subhost-enter --")
                .arg(name)
                .args(["true"])
                .limit(10)
                .run();
            assert_eq!(out.code, 125, "{out}");
        }
        let trees: &[&[u8]] = &[
            b"/no/such",
            b"\n",
            b"/\xff",
            b"-x",
            b"/dev/null",
            b"/proc/1/fd/0",
            &long,
        ];
        for tree in trees.iter().map(|tree| OsStr::from_bytes(tree)) {
            for tool in ["mount", "start", "stop", "info"] {
                let out = s
                    .tool(&format!("subhost-{tool} w -S"))
                    .arg(tree)
                    .limit(10)
                    .run();
                assert!([1, 2, 4].contains(&out.code), "{out}");
                assert_lacks(&out.stderr, &["panicked"]);
                let env = s
                    .sh("SUBHOST=$1 exec subhost-$2 w")
                    .arg("-")
                    .arg(tree)
                    .arg(tool)
                    .limit(10)
                    .run();
                assert!([1, 2, 4].contains(&env.code), "{env}");
                assert!(!env.stderr.is_empty(), "{env}");
            }
        }
        s.assert_same_now(&before);
    });
}
