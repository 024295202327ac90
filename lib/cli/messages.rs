//! What the tools write: data on standard output, and what they have to say on standard error, which is
//! also where the library's events go.

use crate::base::error::{Error, Exit, Result};
use crate::base::message::{self, Event, Level, What, program};
use crate::base::name::Name;
use std::io::Write;

/// Has the library's events written to standard error.
pub(super) fn listen(level: Level) {
    message::listen(level, |Event { subhost, what }| match what {
        What::Error(error) => report(subhost, error),
        What::Warning(text) => say(subhost, &format!("warning: {text}")),
        What::Notice(text) => {
            let name = subhost.map_or_else(program, ToString::to_string);
            let _ = writeln!(std::io::stderr(), "{name}: {text}");
        }
        What::Step(text) => say(subhost, text),
    });
}

fn say(name: Option<&Name>, text: &str) {
    let mut line = format!("{}: ", program());
    if let Some(name) = name {
        line += &format!("{name}: ");
    }
    // A closed standard error is nothing to fail for.
    let _ = writeln!(std::io::stderr(), "{line}{text}");
}

/// Writes a failure and those that followed it.
pub(super) fn report(name: Option<&Name>, error: &Error) {
    say(name, &error.to_string());
    for more in &error.also {
        report(name, more);
    }
}

/// Prints data. A reader that has gone away (`| head`) is no failure.
///
/// # Errors
/// Standard output cannot be written, as when a disk is full.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Exit::Failed,
            format!("cannot write to standard output: {e}"),
        )),
        _ => Ok(()),
    }
}
