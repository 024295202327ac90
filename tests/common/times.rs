//! How long each test takes, for the ten slowest that `make check` prints.
//!
//! libtest has this with a nightly compiler only (`--report-time`).

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Instant;

/// A clock that runs until it is dropped.
pub struct Clock(Instant);

/// Adds the time until the returned clock is dropped to that of the test on this thread.
///
/// The file that `SUBHOST_TIMES` names gets a line `SECONDS PROGRAM TEST`. A test with several sandboxes has as
/// many lines; `contrib/slowest.sh` adds them up.
#[must_use]
pub fn timed() -> Clock {
    Clock(Instant::now())
}

impl Drop for Clock {
    fn drop(&mut self) {
        let Some(file) = std::env::var_os("SUBHOST_TIMES") else {
            return;
        };
        // libtest names the thread after the test. The threads that a test makes have no name.
        let thread = std::thread::current();
        let Some(test) = thread.name() else {
            return;
        };
        let line = format!(
            "{:.3} {} {test}\n",
            self.0.elapsed().as_secs_f64(),
            program()
        );
        // One write(2) a line: tests end at the same time. A file that cannot be written fails no test.
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(file) {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// The name of the test program without cargo's hash.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (name, _) = name.rsplit_once('-').unwrap_or((&name, ""));
    name.to_owned()
}
