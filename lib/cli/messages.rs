//! The output of the tools: data on standard output; messages, and the events of the library, on standard
//! error.

use crate::base::error::{Error, Exit, Result};
use crate::base::message::{self, Event, Level, What, program};
use crate::base::name::Name;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Writes the library's events, from `level` on, to standard error.
pub(super) fn listen(level: Level) {
    message::listen(level, |Event { subhost, what }| match what {
        What::Error(error) => report(subhost, error),
        What::Warning(text) => say(subhost, &format!("warning: {text}")),
        What::Notice(text) => {
            let name = subhost.map_or_else(program, ToString::to_string);
            let _ = writeln!(std::io::stderr(), "{name}: {text}");
        }
        What::Waiting(text) if std::io::stderr().is_terminal() => say(subhost, text),
        What::Waiting(_) => {}
        What::Step(text) => say(subhost, text),
    });
}

fn say(name: Option<&Name>, text: &str) {
    let mut line = format!("{}: ", program());
    if let Some(name) = name {
        line += &format!("{name}: ");
    }
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}{text}");
}

/// Writes a failure, and the failures in its `also`, to standard error.
pub(super) fn report(name: Option<&Name>, error: &Error) {
    say(name, &error.to_string());
    for more in &error.also {
        report(name, more);
    }
}

/// Formats a value as JSON, with a final newline.
///
/// # Errors
/// The value holds a path that is not UTF-8.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|e| Error::new(Exit::Failed, format!("cannot encode JSON: {e}")))
}

/// Formats a line `KEY: VALUE` with aligned values.
pub(super) fn field_line(key: &str, value: &str) -> String {
    format!("{:<14} {value}\n", format!("{key}:"))
}

/// Prints data on standard output. A reader that has closed its end of the pipe, as head(1), is no failure.
///
/// # Errors
/// Standard output cannot be written to, as with a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    printed_data(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Judges the result of a write to standard output, as [`print`] does.
///
/// # Errors
/// The write failed, and not because a reader has closed its end of the pipe.
pub(super) fn printed_data(written: std::io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Exit::Failed,
            format!("cannot write to standard output: {e}"),
        )),
        _ => Ok(()),
    }
}
