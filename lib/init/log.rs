//! The log of a subhost in the background: the output of RUN, or of the console of an init. The log keeps
//! the last part of the output, of bounded size, and no descriptor of its file is passed inside.

use crate::base::error::{Doing, Errno, Result};
use crate::kernel::proc;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// The size of a read in bytes; it is less than the least LOG_MAX.
const CHUNK: usize = 16384;

/// A file open for reading and appending, with its largest size.
#[derive(Debug)]
pub struct Log {
    file: File,
    max: u64,
}

impl Log {
    /// Makes a log of at most `max` bytes.
    pub fn new(file: OwnedFd, max: u64) -> Self {
        Self {
            file: File::from(file),
            max,
        }
    }

    /// Appends to the log. What a full disk does not take is lost: the command must not wait for it.
    pub fn append(&self, bytes: &[u8]) {
        // PresenceQuery each time, because the administrator may have emptied the file.
        let size = self.file.metadata().map_or(0, |meta| meta.len());
        if size.saturating_add(bytes.len() as u64) > self.max {
            let _ = self.shorten(size);
        }
        let _ = (&self.file).write_all(bytes);
    }

    /// Removes all but the last lines, which fill half of the largest size.
    fn shorten(&self, size: u64) -> std::io::Result<()> {
        let set_append = |flag| fcntl(&self.file, FcntlArg::F_SETFL(flag));
        // With O_APPEND, pwrite(2) appends whatever its offset is (pwrite(2), BUGS).
        set_append(OFlag::empty())?;
        let size = self.move_to_front(size, size.saturating_sub(self.max / 2));
        let cut = size.and_then(|size| self.file.set_len(size));
        set_append(OFlag::O_APPEND)?;
        cut
    }

    /// Moves the lines after the offset `from` to the beginning of the file. Returns their size.
    fn move_to_front(&self, size: u64, mut from: u64) -> std::io::Result<u64> {
        let mut buffer = [0; CHUNK];
        let mut to = 0;
        let mut in_first_line = from > 0;
        while from < size {
            let count = self.file.read_at(&mut buffer, from)?;
            if count == 0 {
                break;
            }
            from += count as u64;
            let mut bytes = &buffer[..count];
            if in_first_line && let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                bytes = &bytes[end + 1..];
            }
            in_first_line = false;
            self.file.write_all_at(bytes, to)?;
            to += bytes.len() as u64;
        }
        Ok(to)
    }

    /// Appends what can be read from a pipe now. Returns false at its end.
    pub fn append_from(&self, mut pipe: &File) -> bool {
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

/// Appends what an init writes to its console until the process of the pidfd `init` has ended.
///
/// # Errors
/// The failed call.
pub fn log_console(master: &OwnedFd, log: &Log, init: &OwnedFd) -> Result<()> {
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
    fn the_last_lines_are_kept() {
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
        // After the file was emptied, the log begins anew.
        std::fs::write(&path, "").unwrap();
        log.append(b"more\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "more\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (log, path) = log(70_000);
        for _ in 0..50 {
            log.append(&[b'x'; CHUNK]);
            assert!(log.file.metadata().unwrap().len() <= 70_000);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
