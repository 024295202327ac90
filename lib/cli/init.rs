//! The program subhost-init(8): the PID 1 of a subhost, and other processes that the tools start.

use crate::init;
use crate::kernel::signals::default_signals;
use crate::sys;
use std::os::fd::OwnedFd;

/// Runs subhost-init and returns its exit status. N is the descriptor of the socket to the tool that starts
/// it:
///
/// - `subhost-init N` is PID 1 of a subhost.
/// - `subhost-init --userns N` is PID 1 of a subhost with a user namespace.
/// - `subhost-init --console N MAX` logs the console of an INIT, its last MAX bytes.
/// - `subhost-init --hold N` holds the namespace of an ordinary user.
/// - `subhost-init --helper N PROGRAM [ARGUMENT...]` runs the helper of NET=user.
pub fn main() -> u8 {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let adopt = |number: &str| number.parse().ok().and_then(|fd| sys::adopt(fd).ok());
    if let ["--hold", number] = words[..]
        && let Some(socket) = adopt(number)
    {
        return hold_namespace(socket);
    }
    if let ["--helper", number, program, ..] = words[..]
        && let Some(socket) = adopt(number)
    {
        return init::helper(&socket, program, &words[3..]);
    }
    let (socket, log_max) = match words[..] {
        [number] | ["--userns", number] => (adopt(number), None),
        ["--console", number, max] => (adopt(number), max.parse().ok()),
        _ => (None, None),
    };
    let Some(socket) = socket else {
        eprintln!("subhost-init: PID 1 of a subhost; subhost-start and subhost-enter run it");
        return 2;
    };
    init::begin();
    match log_max {
        Some(max) => init::log_console(&socket, max),
        None if words.len() == 2 => init::pid_1(&socket, init::Entry::Userns),
        None => init::pid_1(&socket, init::Entry::Direct),
    }
}

/// Holds the namespace of an ordinary user. Unlike PID 1 the process stays dumpable (`PR_SET_DUMPABLE`),
/// because the user's tools join its namespaces.
fn hold_namespace(socket: OwnedFd) -> u8 {
    let _ = sys::cloexec_from(3);
    let _ = rustix::thread::set_name(c"subhost-userns");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = default_signals();
    crate::rootless::hold(socket)
}
