//! Pipes to and from a child, served at the same time. Whoever fills one pipe before reading the others
//! can wait for ever for a child that waits for him.

use crate::base::error::{Doing, Errno, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// The most that is read or written at once, in bytes: the capacity of a pipe.
const AT_ONCE: usize = 64 << 10;

/// Writes `input` to `to`, until the reader closes the pipe, and then closes `to`. Meanwhile reads each of
/// `from` to its end. Returns what was read.
///
/// # Errors
/// The failed call.
pub fn exchange<W: Write + AsFd, A: Read + AsFd, B: Read + AsFd>(
    mut to: Option<W>,
    mut input: &[u8],
    mut from: (Option<A>, Option<B>),
) -> Result<[Vec<u8>; 2]> {
    let doing = || "exchange data with the command inside";
    let mut output = [Vec::new(), Vec::new()];
    let mut buffer = vec![0; AT_ONCE];
    let ours = [
        to.as_ref().map(AsFd::as_fd),
        from.0.as_ref().map(AsFd::as_fd),
        from.1.as_ref().map(AsFd::as_fd),
    ];
    for fd in ours.into_iter().flatten() {
        // This changes our end only: the end of the child is another open file description.
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(doing)?;
    }
    loop {
        if input.is_empty() {
            to = None;
        }
        let fds = [
            to.as_ref().map(AsFd::as_fd),
            from.0.as_ref().map(AsFd::as_fd),
            from.1.as_ref().map(AsFd::as_fd),
        ];
        if fds.iter().all(Option::is_none) {
            return Ok(output);
        }
        let [writable, first, second] = ready(fds).doing(doing)?;
        if let (true, Some(pipe)) = (writable, &mut to) {
            let some = input.len().min(AT_ONCE);
            match pipe.write(&input[..some]) {
                Ok(written) => input = &input[written..],
                // The child reads no more.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => to = None,
                Err(error) if is_temporary(&error) => {}
                Err(error) => return Err(error).doing(doing),
            }
        }
        if first {
            read(&mut from.0, &mut buffer, &mut output[0]).doing(doing)?;
        }
        if second {
            read(&mut from.1, &mut buffer, &mut output[1]).doing(doing)?;
        }
    }
}

/// Waits until the first descriptor can be written or one of the others can be read. Tells which.
fn ready(fds: [Option<BorrowedFd<'_>>; 3]) -> std::result::Result<[bool; 3], Errno> {
    let event = |index| match index {
        0 => PollFlags::POLLOUT,
        _ => PollFlags::POLLIN,
    };
    let open = fds.iter().enumerate();
    let open = open.filter_map(|(index, fd)| fd.map(|fd| (index, fd)));
    let (indices, mut polled): (Vec<usize>, Vec<PollFd>) = open
        .map(|(index, fd)| (index, PollFd::new(fd, event(index))))
        .unzip();
    let mut ready = [false; 3];
    match poll(&mut polled, PollTimeout::NONE) {
        Err(Errno::EINTR) => return Ok(ready),
        other => other?,
    };
    for (index, fd) in indices.into_iter().zip(polled) {
        ready[index] = fd.any().unwrap_or(false);
    }
    Ok(ready)
}

/// Reads once from `pipe` and closes it at its end.
fn read<R: Read>(
    pipe: &mut Option<R>,
    buffer: &mut [u8],
    output: &mut Vec<u8>,
) -> std::io::Result<()> {
    let Some(open) = pipe else { return Ok(()) };
    match open.read(buffer) {
        Ok(0) => *pipe = None,
        Ok(count) => output.extend_from_slice(&buffer[..count]),
        Err(error) if is_temporary(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn is_temporary(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn child(script: &str) -> std::process::Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn more_than_a_pipe_holds_passes_both_ways() {
        let mut child = child("tee /dev/stderr");
        let input: Vec<u8> = (0..1_000_000).map(|n| (n % 251) as u8).collect();
        let from = (child.stdout.take(), child.stderr.take());
        let output = exchange(child.stdin.take(), &input, from).unwrap();
        assert!(output[0] == input && output[1] == input);
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn unread_input_is_not_an_error() {
        let mut child = child("exec <&-; echo done");
        let from = (child.stdout.take(), child.stderr.take());
        let output = exchange(child.stdin.take(), &[0; 1_000_000], from).unwrap();
        assert_eq!(output, [b"done\n".to_vec(), Vec::new()]);
        child.wait().unwrap();
    }
}
