//! `subhost-config`: one setting, all settings, `--check`.

use crate::common::*;

#[test]
fn one_setting_is_its_bare_value() {
    sandbox(|s| {
        s.bare(
            "w",
            "HOSTNAME=\"$NAME.example.org\"\nRUN='/bin/sh -c \"echo it\"'\n",
        );
        assert_eq!(
            s.tool("subhost-config w HOSTNAME").ok().stdout,
            "w.example.org\n"
        );
        assert_eq!(
            s.tool("subhost-config w RUN").ok().stdout,
            "/bin/sh -c \"echo it\"\n"
        );
        assert_eq!(s.tool("subhost-config w RAM_SIZE").ok().stdout, "50M\n");
        assert_eq!(s.tool("subhost-config w LOWER").ok().stdout, "\n");
        let out = s.tool("subhost-config w NO_SUCH").run();
        assert!([2, 5].contains(&out.code), "{out}");
    });
}

#[test]
fn all_settings_can_be_evaluated() {
    sandbox(|s| {
        let odd = "it's $HOME `x` \"q\" \\ ü * ~";
        let value = quote(odd);
        s.bare(
            "w",
            &format!("X_ODD={value}\nBRIDGES='br0 br1'\nENV_LANG=C\n"),
        );
        let out = s
            .sh("set -eu; eval \"$(subhost-config w)\"; printf '%s|%s|%s|%s|%s' \"$X_ODD\" \"$BRIDGES\" $NET $LIVE $ENV_LANG")
            .ok();
        assert_has(&out.stdout, &[&format!("{odd}|br0 br1|private|")]);
        assert_has(&out.stdout, &["live|C"]);
        let all = s.tool("subhost-config w").ok().stdout;
        assert_has(&all, &["STOP_TIMEOUT=", "NET=", "HOSTNAME="]);
    });
}

#[test]
fn check_warns_of_what_works_and_should_be_known() {
    sandbox(|s| {
        let w = s.overlay("w", "");
        s.tool("subhost-config --check w").silent();
        w.config("LOWER=/\n");
        let out = s.tool("subhost-config --check w").ok();
        assert_eq!(out.stdout, "");
        assert_has(&out.stderr, &["w", "LOWER"]);
        w.config("LOWWER=/\n");
        let out = s
            .tool("subhost-config --check w")
            .fails(5, &["LOWWER", "LOWER"]);
        assert_eq!(out.stdout, "");
    });
}
