//! Permissions: what the examples of `contrib` for sudo and doas give to the group `subhost`, and nothing else.

mod common;

use common::*;
use std::path::Path;

/// A host with alice, who is in the group subhost, and bob, who is not; the tools where they are
/// installed, and subhosts where they are by default.
fn host(s: &Sandbox) {
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
    s.host(&format!(
        "cp /etc/passwd passwd; cp /etc/group group
         echo 'alice:*:54321:54321::/:/bin/sh' >>passwd
         echo 'bob:*:54322:54322::/:/bin/sh' >>passwd
         printf 'alice:x:54321:\nbob:x:54322:\nsubhost:x:54320:alice\n' >>group
         chmod 644 passwd group
         mount --bind passwd /etc/passwd
         mount --bind group /etc/group
         mount -t tmpfs -o mode=755 tmpfs /etc/sudoers.d
         install -m 440 '{0}/sudoers.d/subhost' /etc/sudoers.d/subhost
         install -m 400 '{0}/doas/subhost.conf' doas.conf
         test -e /etc/doas.conf || : >/etc/doas.conf
         mount --bind doas.conf /etc/doas.conf
         mount --bind '{1}' /usr/local/sbin
         mount -t tmpfs -o mode=755 tmpfs /opt
         mkdir -m 700 /opt/subhost
         mount --bind opt /opt/subhost",
        contrib.display(),
        tools_dir()
    ));
}

fn by(s: &Sandbox, user: &str, command: &str) -> Run {
    s.sh(&format!(
        "exec env -i PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
         setpriv --reuid {user} --regid {user} --init-groups {command}"
    ))
}

fn refused(line: &str, out: &Output) {
    assert!(
        out.code != 0 && out.stdout.is_empty(),
        "{line}: {}",
        out.stdout
    );
}

#[test]
fn the_group_subhost_by_sudo() {
    sandbox(|s| {
        s.overlay("web", "");
        s.overlay("db", "");
        host(s);
        let sudo = |user: &str, line: &str| by(s, user, &format!("sudo -n {line}"));
        let before = s.snapshot();
        sudo("alice", "subhost-start web db").ok();
        assert_has(
            &sudo("alice", "subhost-list").ok().stdout,
            &["web", "running"],
        );
        assert_has(
            &sudo("alice", "subhost-list -o name,state web").ok().stdout,
            &["web"],
        );
        assert_has(&sudo("alice", "subhost-info web").ok().stdout, &["running"]);
        let id = sudo("alice", "subhost-enter -u 33 web -- id -u")
            .ok()
            .stdout;
        assert_eq!(id, "33\n");
        // What our words are inside is the inside's to know.
        let echoed = sudo("alice", "subhost-enter -j web -- echo --set BIND=/")
            .ok()
            .stdout;
        assert_eq!(echoed, "--set BIND=/\n");
        for line in [
            "subhost-start --set BIND=/:/host web",
            "subhost-start -S /tmp web",
            "subhost-start web --set BIND=/:/host",
            "SUBHOST=/tmp subhost-start web",
            "-E subhost-start web",
            "subhost-enter --set BIND=/:/host web",
            "subhost-enter -S/tmp web -- id",
            "subhost-enter web --set BIND=/:/host -- id",
            "subhost-list -S /tmp",
            "subhost-stop --all",
            "subhost-stop --kill-holders web",
            "subhost-mount web",
            "subhost-init 3",
            "sh -c id",
        ] {
            // sudo knows nobody's password here: refused, or asked for one.
            let out = sudo("alice", line).env("SUBHOST", "/tmp").run();
            refused(line, &out);
            assert_has(&out.stderr, &["sudo:"]);
        }
        // Words that only look like the pattern.
        for args in [
            &["subhost-enter", "web -- x", "--set", "BIND=/:/host"][..],
            &["subhost-enter", "web", "-- x", "--set", "BIND=/:/host"],
            &["subhost-start", "web db", "--set"],
        ] {
            let out = by(s, "alice", "sudo -n \"$@\"").arg("sh").args(args).run();
            refused(args[1], &out);
        }
        for line in [
            "subhost-list",
            "subhost-enter web -- id",
            "subhost-stop web",
        ] {
            refused(line, &sudo("bob", line).run());
        }
        sudo("alice", "subhost-stop web db").ok();
        s.host("rm -r /run/sudo"); // Its own.
        s.assert_same(&before);
    });
}

#[test]
fn the_group_subhost_by_doas() {
    sandbox(|s| {
        s.overlay("web", "");
        s.overlay("db", "");
        host(s);
        let doas = |user: &str, line: &str| by(s, user, &format!("doas -n {line}"));
        let before = s.snapshot();
        doas("alice", "/usr/local/sbin/subhost-start web").ok();
        assert_has(
            &doas("alice", "/usr/local/sbin/subhost-list").ok().stdout,
            &["running"],
        );
        for line in [
            "/usr/local/sbin/subhost-start db",
            "/usr/local/sbin/subhost-start --set BIND=/:/host web",
            "/usr/local/sbin/subhost-list -S /tmp",
        ] {
            assert_has(
                &doas("alice", line).fails(1, &["doas:"]).stderr,
                &["not permitted"],
            );
        }
        doas("bob", "/usr/local/sbin/subhost-stop web").fails(1, &["doas:"]);
        doas("alice", "/usr/local/sbin/subhost-stop web").ok();
        s.assert_same(&before);
    });
}
