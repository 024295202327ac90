//! The log of a subhost in the background: what RUN, or the console of an init, writes. Whatever the
//! inside writes, and however much, the log keeps its last part only, and no descriptor of the
//! host's file goes inside.

use crate::base::error::{Doing, Errno, Result};
use crate::kernel::proc;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// What is read at once, bytes; less than the least LOG_MAX.
const CHUNK: usize = 16384;

/// A file that is open for reading and appending, and how large it may become.
#[derive(Debug)]
pub struct Log {
    file: File,
    max: u64,
}

impl Log {
    /// `max` in bytes.
    pub fn new(file: OwnedFd, max: u64) -> Self {
        Self {
            file: File::from(file),
            max,
        }
    }

    /// Appends. What a full disk does not take is lost: it keeps nobody from running.
    pub fn append(&self, bytes: &[u8]) {
        // Asked each time: an administrator may have emptied it.
        let size = self.file.metadata().map_or(0, |meta| meta.len());
        if size.saturating_add(bytes.len() as u64) > self.max {
            let _ = self.shorten(size);
        }
        let _ = (&self.file).write_all(bytes);
    }

    /// Keeps the lines of the last half of what it may hold.
    fn shorten(&self, size: u64) -> std::io::Result<()> {
        let appending = |on| {
            let flag = if on { OFlag::O_APPEND } else { OFlag::empty() };
            fcntl(&self.file, FcntlArg::F_SETFL(flag))
        };
        // Whatever is written with it goes to the end (pwrite(2), bugs).
        appending(false)?;
        let kept = self.move_up(size, size.saturating_sub(self.max / 2));
        let cut = kept.and_then(|kept| self.file.set_len(kept));
        appending(true)?;
        cut
    }

    fn move_up(&self, size: u64, mut from: u64) -> std::io::Result<u64> {
        let mut buffer = [0; CHUNK];
        let mut to = 0;
        let mut looking = from > 0;
        while from < size {
            let count = self.file.read_at(&mut buffer, from)?;
            if count == 0 {
                break;
            }
            from += count as u64;
            let mut bytes = &buffer[..count];
            if looking && let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                bytes = &bytes[end + 1..];
            }
            looking = false;
            self.file.write_all_at(bytes, to)?;
            to += bytes.len() as u64;
        }
        Ok(to)
    }

    /// Appends what is there to be read; false at its end.
    pub fn take_from(&self, mut pipe: &File) -> bool {
        let mut buffer = [0; CHUNK];
        match pipe.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.append(&buffer[..count]);
                true
            }
            Err(e) => matches!(e.raw_os_error(), Some(nix::libc::EAGAIN | nix::libc::EINTR)),
        }
    }
}

/// Appends what an init writes to its console to `log` until the process of `init` has ended.
///
/// # Errors
/// The wait itself failed.
pub fn console(master: &OwnedFd, log: &Log, init: &OwnedFd) -> Result<()> {
    let mut buffer = [0; CHUNK];
    loop {
        let mut fds = [
            PollFd::new(init.as_fd(), PollFlags::POLLIN),
            PollFd::new(master.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other.doing(|| "wait for the console")?,
        };
        match rustix::io::read(master, &mut buffer) {
            Ok(count) if count > 0 => {
                log.append(&buffer[..count]);
                continue;
            }
            _ if proc::has_ended(init) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).doing(|| "read the console"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(max: u64) -> (Log, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("subhost-log-{}-{max}", std::process::id()));
        let open = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path);
        (Log::new(open.unwrap().into(), max), path)
    }

    #[test]
    fn keeps_its_last_lines() {
        let (log, path) = log(100_000);
        for number in 0..100_000 {
            log.append(format!("line {number}\n").as_bytes());
            let size = log.file.metadata().unwrap().len();
            assert!(size <= 100_000, "{size}");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let numbers: Vec<u32> = text
            .lines()
            .map(|line| line.strip_prefix("line ").unwrap().parse().unwrap())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert_eq!(numbers.last(), Some(&99_999));
        assert!(text.len() >= 50_000 - 20, "{}", text.len());
        // Emptied by hand, it goes on from the beginning.
        std::fs::write(&path, "").unwrap();
        log.append(b"more\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "more\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn one_line_without_end_is_cut() {
        let (log, path) = log(70_000);
        for _ in 0..50 {
            log.append(&[b'x'; CHUNK]);
            assert!(log.file.metadata().unwrap().len() <= 70_000);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
