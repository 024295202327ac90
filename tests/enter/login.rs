//! Users, environment and shell are those of a login inside.

use crate::common::*;

#[test]
fn users_are_those_of_the_inside() {
    in_each_state(|s| {
        let user = |user: &str, script: &str| {
            s.tool(&format!("subhost-enter -u {user} w -- sh -c"))
                .arg(script)
        };
        let id = user("web", "id; echo $HOME $USER").ok().text();
        assert_has(
            &id,
            &[
                "uid=1000(web) gid=1000(web)",
                "2000(extra)",
                "/home/web web",
            ],
        );
        assert_eq!(user("1234", "id -u").ok().text(), "1234");
        assert_eq!(user("1000", "id -un").ok().text(), "web");
        user("nosuchuser", "true").fails(125, &["nosuchuser"]);
        for odd in ["12x", "-1", "99999999999", "+1000", "0x10"] {
            s.tool("subhost-enter w")
                .arg(format!("--user={odd}"))
                .args(["--", "true"])
                .fails(125, &[]);
        }
    });
}

#[test]
fn a_user_of_the_host_is_none_of_the_inside() {
    started("", |s, _| {
        // `daemon` is in the passwd of each host and not in that of the tree.
        s.tool("subhost-enter -u daemon w -- true")
            .fails(125, &["daemon"]);
    });
}

#[test]
fn the_environment_is_that_of_a_login() {
    in_each_state(|s| {
        let env = s
            .sh("SECRET=x LD_PRELOAD=/no/such.so TMPDIR=/x subhost-enter w -- env 2>/dev/null")
            .ok()
            .stdout;
        let lines: Vec<&str> = env.lines().collect();
        for line in ["HOME=/root", "USER=root"] {
            assert!(lines.contains(&line), "no {line} in\n{env}");
        }
        let path = lines.iter().find(|l| l.starts_with("PATH=")).unwrap();
        assert_has(path, &["/bin", "/usr/sbin"]);
        assert_lacks(path, &["target"]);
        assert_lacks(&env, &["SECRET", "LD_PRELOAD", "TMPDIR", "SUBHOST="]);
    });
}

#[test]
fn a_login_shell_is_the_users_own() {
    started("", |s, _| {
        let out = s
            .tool("subhost-enter w")
            .input("echo $0 $PWD; echo $((40+2))\nexit 3\n")
            .fails(3, &[]);
        assert_has(&out.stdout, &["sh", "/root", "42"]);
        let out = s.tool("subhost-enter -u web w").input("id -un; pwd\n").ok();
        assert_eq!(out.text(), "web\n/home/web");
    });
}
