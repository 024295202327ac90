//! Filters of system calls in the form of the OCI runtime specification (`linux.seccomp`), with the
//! extensions of Docker and Podman: rules for certain capabilities, architectures or kernels.
//!
//! As in runc, unknown names of calls are skipped, and several comparisons of one argument in a rule are
//! alternatives. Of several matching rules the strictest decides.

use super::profile::{Action, Compare, Condition, Profile, Rule};
use rustix::thread::CapabilitySet;
use serde::Deserialize;
use std::str::FromStr;
use syscalls::Sysno;

/// A result whose error is the reason why a file is refused.
type Checked<T> = Result<T, String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u16>,
    // Podman also writes the errno by name.
    #[serde(default, rename = "defaultErrno")]
    _default_errno: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Option<Vec<Calls>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    // The filter blocks the entries of other architectures in any case.
    #[serde(default, rename = "subArchitectures")]
    _sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Calls {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default, rename = "errno")]
    _errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<When>,
    #[serde(default)]
    excludes: Option<When>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct When {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// The checked rules of a file. Which of them apply depends on the capabilities of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    default: Action,
    rules: Vec<(Needs, Rule)>,
}

/// The capabilities that a process must have, all of them, and must not have, any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Needs {
    with: u64,
    without: u64,
}

#[cfg(target_arch = "x86_64")]
const ARCH: (&str, &str) = ("SCMP_ARCH_X86_64", "amd64");
#[cfg(target_arch = "aarch64")]
const ARCH: (&str, &str) = ("SCMP_ARCH_AARCH64", "arm64");

impl Rules {
    /// Parses a file. `kernel` is the release of the running kernel.
    ///
    /// # Errors
    /// The file is invalid, or needs something that is not supported.
    pub fn parse(text: &[u8], kernel: &str) -> Checked<Self> {
        let file: File = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let known = file
            .architectures
            .iter()
            .chain(file.arch_map.iter().map(|map| &map.architecture));
        let mut known = known.peekable();
        if known.peek().is_some() && !known.any(|arch| arch == ARCH.0) {
            return Err(format!("is not for this architecture, {}", ARCH.0));
        }
        if let Some(flag) = file.flags.first() {
            return Err(format!("flags are not supported: {flag}"));
        }
        let mut rules = Vec::new();
        for calls in file.syscalls.unwrap_or_default() {
            let Some(needs) = parse_needs(&calls, kernel)? else {
                continue;
            };
            let action = parse_action(&calls.action, calls.errno_ret.or(file.default_errno_ret))?;
            let alternatives = alternatives(calls.args.as_deref().unwrap_or_default())?;
            for name in calls.name.iter().chain(&calls.names) {
                let Some(call) = number(name) else { continue };
                let alternatives = alternatives.iter().map(|conditions| Rule {
                    call,
                    action,
                    conditions: conditions.clone(),
                });
                rules.extend(alternatives.map(|rule| (needs, rule)));
            }
        }
        Ok(Self {
            default: parse_action(&file.default_action, file.default_errno_ret)?,
            rules,
        })
    }

    /// Returns the rules that apply to a process with these capabilities.
    pub fn profile(&self, caps: CapabilitySet) -> Profile {
        let caps = caps.bits();
        let apply = |needs: &Needs| needs.with & !caps == 0 && needs.without & caps == 0;
        let rules = self.rules.iter().filter(|(needs, _)| apply(needs));
        Profile {
            default: self.default,
            rules: rules.map(|(_, rule)| rule.clone()).collect(),
        }
    }
}

/// Returns the number of a call on this architecture; none if it has no such call.
fn number(name: &str) -> Option<u32> {
    // Files use the usual name, which is another on this architecture.
    let name = match name {
        "newfstatat" if cfg!(target_arch = "aarch64") => "fstatat",
        other => other,
    };
    let call = Sysno::from_str(name).ok()?;
    Some(call.id().cast_unsigned())
}

fn parse_action(name: &str, errno: Option<u16>) -> Checked<Action> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        // runc uses EPERM as the default.
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(1)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_NOTIFY" | "SCMP_ACT_TRACE" => {
            return Err(format!("{name} is not supported: nobody would answer"));
        }
        other => return Err(format!("there is no action '{other}'")),
    })
}

/// Returns the capabilities that the rules of `calls` need; none if they are not for this kernel or
/// architecture.
fn parse_needs(calls: &Calls, kernel: &str) -> Checked<Option<Needs>> {
    let mut needs = Needs::default();
    let caps = |names: &[String]| {
        let mut bits = names.iter().map(|name| super::caps::bit(name));
        bits.try_fold(0, |all, bit| bit.map(|bit| all | bit))
    };
    let is_for_us = |when: &When| when.arches.iter().any(|arch| arch == ARCH.1);
    if let Some(includes) = &calls.includes {
        needs.with = caps(&includes.caps)?;
        let old = match &includes.min_kernel {
            Some(min) => parse_version(kernel)? < parse_version(min)?,
            None => false,
        };
        if old || !includes.arches.is_empty() && !is_for_us(includes) {
            return Ok(None);
        }
    }
    if let Some(excludes) = &calls.excludes {
        needs.without = caps(&excludes.caps)?;
        let new = match &excludes.min_kernel {
            Some(min) => parse_version(kernel)? >= parse_version(min)?,
            None => false,
        };
        if new || is_for_us(excludes) {
            return Ok(None);
        }
    }
    Ok(Some(needs))
}

/// Parses a release of the kernel, as in `6.1.0-9-amd64`, into major and minor version.
fn parse_version(text: &str) -> Checked<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    let mut next = || parts.next().and_then(|part| part.parse().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => Err(format!("'{text}' is no version of a kernel")),
    }
}

/// Returns the alternatives of a rule: each is a set of conditions that must all hold.
fn alternatives(args: &[Argument]) -> Checked<Vec<Vec<Condition>>> {
    let conditions = args.iter().map(parse_condition);
    let conditions = conditions.collect::<Checked<Vec<_>>>()?;
    let mut indices: Vec<u8> = args.iter().map(|arg| arg.index).collect();
    indices.sort_unstable();
    indices.dedup();
    Ok(match indices.len() == args.len() {
        true => vec![conditions],
        false => conditions.into_iter().map(|one| vec![one]).collect(),
    })
}

fn parse_condition(arg: &Argument) -> Checked<Condition> {
    let (compare, value) = match arg.op.as_str() {
        "SCMP_CMP_NE" => (Compare::NotEqual, arg.value),
        "SCMP_CMP_LT" => (Compare::Less, arg.value),
        "SCMP_CMP_LE" => (Compare::LessOrEqual, arg.value),
        "SCMP_CMP_EQ" => (Compare::Equal, arg.value),
        "SCMP_CMP_GE" => (Compare::GreaterOrEqual, arg.value),
        "SCMP_CMP_GT" => (Compare::Greater, arg.value),
        "SCMP_CMP_MASKED_EQ" => (Compare::Masked(arg.value), arg.value_two),
        other => return Err(format!("there is no comparison '{other}'")),
    };
    if arg.index > 5 {
        return Err(format!("there is no argument {}", arg.index));
    }
    Ok(Condition {
        argument: arg.index,
        compare,
        value,
        wide: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Checked<Rules> {
        Rules::parse(text.as_bytes(), "6.1.0-9-amd64")
    }

    #[test]
    fn rules_of_docker_are_parsed() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
            {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "7.0"}},
            {"names": ["write"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390"]}},
            {"names": ["socket"], "action": "SCMP_ACT_LOG", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}
            ]}"#;
        let rules = rules(text).unwrap();
        let calls = |caps| {
            let profile = rules.profile(caps);
            assert_eq!(profile.default, Action::Errno(38));
            let calls = profile.rules.iter();
            calls
                .map(|rule| (rule.call.cast_signed(), rule.action))
                .collect::<Vec<_>>()
        };
        let (allow, log) = (Action::Allow, Action::Log);
        let socket = (Sysno::socket.id(), log);
        let (read, ptrace) = ((Sysno::read.id(), allow), (Sysno::ptrace.id(), allow));
        let clone3 = (Sysno::clone3.id(), Action::Errno(38));
        assert_eq!(
            calls(CapabilitySet::empty()),
            [read, clone3, ptrace, socket, socket]
        );
        let mount = (Sysno::mount.id(), allow);
        assert_eq!(
            calls(CapabilitySet::SYS_ADMIN),
            [read, mount, ptrace, socket, socket]
        );
    }

    #[test]
    fn invalid_files_are_refused() {
        for (text, why) in [
            (
                r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
                "is not supported: nobody",
            ),
            (r#"{"defaultAction": "ALLOW"}"#, "no action 'ALLOW'"),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "x": 1}"#,
                "unknown field `x`",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390"]}"#,
                "not for this",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}"#,
                "FLAG_LOG",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action":
                "SCMP_ACT_TRACE"}]}"#,
                "TRACE is not supported",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action":
                "SCMP_ACT_KILL", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
                "argument 6",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action":
                "SCMP_ACT_KILL", "args": [{"index": 0, "value": 0, "op": "EQ"}]}]}"#,
                "comparison 'EQ'",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action":
                "SCMP_ACT_KILL", "includes": {"caps": ["CAP_FLY"]}}]}"#,
                "no capability 'CAP_FLY'",
            ),
            ("", "EOF"),
        ] {
            let error = rules(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
