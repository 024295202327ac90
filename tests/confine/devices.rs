//! DEVICES: the nodes of /dev.

use crate::common::*;

/// DEVICES adds a device of the host; `full` is a harmless one.
#[test]
fn devices_by_name() {
    sandbox(|s| {
        s.host("mount -t tmpfs none /dev/net; mknod -m 0622 /dev/net/test c 1 7; ln -s test /dev/net/link
                mknod -m 0600 /dev/net/disk b 240 1; touch /dev/net/file");
        let w = s.overlay(
            "w",
            "DEVICES='/dev/net/test /dev/net/link:r /dev/net/disk:rm'\n",
        );
        s.tool("subhost-start w").silent();
        let inside = |script: &str| s.tool("subhost-enter w -- sh -c").arg(script).run();
        assert_eq!(
            inside("cd /dev/net; stat -c '%n %F %t:%T %a %u' *").text(),
            "disk block special file f0:1 400 0\n\
             link character special file 1:7 400 0\n\
             test character special file 1:7 622 0"
        );
        assert_has(&inside("echo x > /dev/net/test").stderr, &["No space left"]);
        assert_eq!(inside("mknod /dev/mine c 1 7").code, 1);
        s.tool("subhost-stop --sync w").silent();
        let before = s.snapshot();
        let many = "/dev/fuse ".repeat(1001);
        for (devices, code, says) in [
            (
                "/dev/net/none",
                1,
                "give DEVICES=/dev/net/none: No such file",
            ),
            ("/dev/net/file", 1, "DEVICES: /dev/net/file is not a device"),
            ("/etc/passwd", 5, "is no path below /dev"),
            ("/dev/tty", 5, "is in every subhost"),
            (many.as_str(), 5, "1001 devices, at most 1000 are possible"),
        ] {
            w.config(&format!("DEVICES='{devices}'\n"));
            s.tool("subhost-start w").fails(code, &[says]);
            s.assert_same(&before);
        }
    });
}
