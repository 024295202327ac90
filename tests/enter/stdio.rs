//! Standard input, output and error, and that no other descriptor comes along.

use crate::common::*;

#[test]
fn input_is_passed_on() {
    in_each_state(|s| {
        let out = s
            .tool("subhost-enter w -- tr a-c A-C")
            .input("abc and more\n")
            .ok();
        assert_eq!(out.stdout, "ABC And more\n");
        let out = s
            .sh("printf abc | subhost-enter w -- tr a-c A-C | cat")
            .ok();
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("ABC", ""));
    });
}

#[test]
fn much_data_goes_through_unchanged() {
    started("", |s, _| {
        let out = s
            .sh("head -c 5000000 /dev/urandom >/run/data
                 subhost-enter w -- cat </run/data | cmp - /run/data && echo same; rm /run/data")
            .ok();
        assert_eq!(out.text(), "same", "{out}");
    });
}

#[test]
fn a_scripts_remaining_input_is_not_eaten() {
    in_each_state(|s| {
        let out = s
            .sh("printf '1\\n2\\n3\\n' | while read n; do subhost-enter w -- true; echo got $n; done")
            .ok();
        assert_eq!(out.stdout, "got 1\ngot 2\ngot 3\n", "{out}");
        let out = s
            .sh("printf 'one\\ntwo\\n' | { subhost-enter w -- sh -c 'read x; echo $x'; cat; }")
            .ok();
        assert_eq!(out.stdout, "one\ntwo\n", "{out}");
    });
}

#[test]
fn output_and_errors_stay_apart() {
    in_each_state(|s| {
        let out = s.enter("w", "echo out; echo err >&2").ok();
        assert_eq!(
            (out.stdout.as_str(), out.stderr.as_str()),
            ("out\n", "err\n")
        );
    });
}

#[test]
fn closed_descriptors_do_no_harm() {
    in_each_state(|s| {
        s.sh("subhost-enter w -- true <&- >&- 2>&-").ok();
        let out = s.sh("subhost-enter w -- echo hi <&-").ok();
        assert_eq!(out.text(), "hi");
    });
}

#[test]
fn a_reader_that_leaves_ends_the_writer() {
    started("", |s, _| {
        let out = s
            .sh("subhost-enter w -- yes | head -n 2; echo done")
            .limit(20)
            .ok();
        assert_eq!(out.stdout, "y\ny\ndone\n");
    });
}

#[test]
fn no_descriptor_comes_along() {
    in_each_state(|s| {
        let out = s
            .sh("exec 7</etc/passwd 8>/dev/null 9</; subhost-enter w -- ls /proc/self/fd </dev/null")
            .ok();
        assert_eq!(out.stdout, "0\n1\n2\n3\n", "3 is what ls itself opens");
        // PID 1 has no descriptor of the host either. It may close one of its own meanwhile.
        let out = s.inside("w", "ls -l /proc/1/fd 2>/dev/null || :");
        assert_lacks(&out, &["passwd", s.base.to_str().unwrap()]);
    });
}
