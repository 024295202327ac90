//! What the library has to tell while it works: events, handed to the sink that the front end gives.
//!
//! The library never writes to a terminal. A program that gives no sink hears nothing but the results of
//! its calls, as with the `log` crate.

use super::error::Error;
use super::name::Name;
use std::path::Path;
use std::sync::OnceLock;

/// How much an event matters, from what is always told to what is told on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A failure beside the one that a call returns.
    Error,
    /// Something that the caller should know, though nothing has failed.
    Warning,
    /// What a person at a terminal wants to know, as who is PID 1.
    Notice,
    /// A step that is done.
    Step,
}

/// What has happened.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// A failure, with those that followed it.
    Error(&'a Error),
    /// A sentence without a full stop: a warning.
    Warning(&'a str),
    /// A sentence for a person at a terminal, told without the name of the tool.
    Notice(&'a str),
    /// What is done, as in `making the mount on /opt/subhost/web/live`.
    Step(&'a str),
}

/// Something that happened, and to which subhost.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The subhost; none if it concerns no particular one.
    pub subhost: Option<&'a Name>,
    /// What.
    pub what: What<'a>,
}

type Sink = Box<dyn Fn(Event<'_>) + Send + Sync>;

/// The sink, and the last level that it wants.
static SINK: OnceLock<(Level, Sink)> = OnceLock::new();

/// Has all events up to `level` handed to `sink`, from any thread, until the process ends. The first call
/// counts: false if there is a sink already.
pub fn listen(level: Level, sink: impl Fn(Event<'_>) + Send + Sync + 'static) -> bool {
    SINK.set((level, Box::new(sink))).is_ok()
}

fn send(level: Level, event: impl FnOnce(&Sink)) {
    if let Some((most, sink)) = SINK.get()
        && level <= *most
    {
        event(sink);
    }
}

/// Tells of a failure that no result carries.
pub(crate) fn report(subhost: Option<&Name>, error: &Error) {
    let what = What::Error(error);
    send(Level::Error, |sink| sink(Event { subhost, what }));
}

/// Tells of what the caller should know.
pub(crate) fn warn(subhost: Option<&Name>, text: &str) {
    let what = What::Warning(text);
    send(Level::Warning, |sink| sink(Event { subhost, what }));
}

/// Tells a person at a terminal.
pub(crate) fn notice(subhost: &Name, text: &str) {
    let (subhost, what) = (Some(subhost), What::Notice(text));
    send(Level::Notice, |sink| sink(Event { subhost, what }));
}

/// Tells what is done; `text` is made only where somebody wants to know.
pub(crate) fn tell(subhost: Option<&Name>, text: impl FnOnce() -> String) {
    send(Level::Step, |sink| {
        let text = text();
        let what = What::Step(&text);
        sink(Event { subhost, what });
    });
}

/// The tool's name where it is not what we were called by.
static CALLED: OnceLock<String> = OnceLock::new();

/// The name that we were called by: that of the tool, for messages and records.
pub fn program() -> String {
    if let Some(name) = CALLED.get() {
        return name.clone();
    }
    std::env::args_os()
        .next()
        .and_then(|path| {
            let name = Path::new(&path).file_name()?;
            Some(name.to_string_lossy().into_owned())
        })
        .unwrap_or_else(|| "subhost".into())
}

/// From now on we are called `name`; the first call counts. Gives the name that counts.
pub(crate) fn set_program(name: &str) -> &'static str {
    CALLED.get_or_init(|| name.to_owned())
}
