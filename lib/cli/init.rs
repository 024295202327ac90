//! `subhost-init`: which part of a subhost's inside, or of a user's world, a process of ours plays.

use crate::init;
use crate::kernel::signals::default_signals;
use crate::sys;
use std::os::fd::OwnedFd;

/// `subhost-init N`: N is the socket to the tool that boots. `subhost-init --userns N`: the same by way
/// of a user namespace. `subhost-init --console N MAX`: logs an init's console, MAX bytes of it.
/// `subhost-init --hold N`: holds an ordinary user's world. `subhost-init --helper N PROGRAM`: runs
/// the helper of a network of his.
pub fn main() -> u8 {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let adopted = |number: &str| number.parse().ok().and_then(|fd| sys::adopt(fd).ok());
    if let ["--hold", number] = words[..]
        && let Some(socket) = adopted(number)
    {
        return world(socket);
    }
    if let ["--helper", number, program, ..] = words[..]
        && let Some(socket) = adopted(number)
    {
        return init::helper(&socket, program, &words[3..]);
    }
    let (socket, log_max) = match words[..] {
        [number] | ["--userns", number] => (adopted(number), None),
        ["--console", number, max] => (adopted(number), max.parse().ok()),
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

/// Holds a user's world. Not hidden as PID 1 is: the user's tools have to get at it.
fn world(socket: OwnedFd) -> u8 {
    let _ = sys::cloexec_from(3);
    let _ = rustix::thread::set_name(c"subhost-userns");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = default_signals();
    crate::rootless::hold(socket)
}
