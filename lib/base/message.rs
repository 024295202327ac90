//! Events: what the library reports while it works. A sink that the front end gives receives them.
//!
//! The library never writes to a terminal. Without a sink, a program sees only the results of its calls,
//! as with the `log` crate.

use super::error::Error;
use super::name::Name;
use std::path::Path;
use std::sync::OnceLock;

/// The importance of an event, in descending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A failure besides the one that a call returns.
    Error,
    /// A warning: nothing has failed.
    Warning,
    /// A remark for a person at a terminal, such as who is PID 1.
    Notice,
    /// A step of the work.
    Step,
}

/// The content of an event.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// A failure, with the failures that followed it.
    Error(&'a Error),
    /// A warning: a sentence without a full stop.
    Warning(&'a str),
    /// A remark for a person at a terminal, printed without the name of the tool.
    Notice(&'a str),
    /// What a call waits for, of interest only while it does: for a person at a terminal.
    Waiting(&'a str),
    /// A step, as in `making the mount on /opt/subhost/web/live`.
    Step(&'a str),
}

/// One event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The subhost that the event is about; none if it is about no single one.
    pub subhost: Option<&'a Name>,
    /// The content.
    pub what: What<'a>,
}

type Sink = Box<dyn Fn(Event<'_>) + Send + Sync>;

/// The sink, and the least important level that it receives.
static SINK: OnceLock<(Level, Sink)> = OnceLock::new();

/// Installs `sink`, which receives all events up to `level` from any thread until the process ends.
/// Returns false, and changes nothing, if a sink is installed already.
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

/// Reports a failure that no result carries.
pub(crate) fn report(subhost: Option<&Name>, error: &Error) {
    let what = What::Error(error);
    send(Level::Error, |sink| sink(Event { subhost, what }));
}

/// Reports a warning.
pub(crate) fn warn(subhost: Option<&Name>, text: &str) {
    let what = What::Warning(text);
    send(Level::Warning, |sink| sink(Event { subhost, what }));
}

/// Reports a remark for a person at a terminal.
pub(crate) fn notice(subhost: &Name, text: &str) {
    let (subhost, what) = (Some(subhost), What::Notice(text));
    send(Level::Notice, |sink| sink(Event { subhost, what }));
}

/// Reports what a call waits for. `text` is called only if the sink receives notices.
pub(crate) fn waiting(subhost: &Name, text: impl FnOnce() -> String) {
    send(Level::Notice, |sink| {
        let text = text();
        let (subhost, what) = (Some(subhost), What::Waiting(&text));
        sink(Event { subhost, what });
    });
}

/// Reports a step. `text` is called only if the sink receives steps.
pub(crate) fn tell(subhost: Option<&Name>, text: impl FnOnce() -> String) {
    send(Level::Step, |sink| {
        let text = text();
        let what = What::Step(&text);
        sink(Event { subhost, what });
    });
}

/// The name of the tool, if it differs from `argv[0]`.
static CALLED: OnceLock<String> = OnceLock::new();

/// Returns the name of the tool, for messages and records.
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

/// Sets the name of the tool. The first call counts; returns the name that counts.
pub(crate) fn set_program(name: &str) -> &'static str {
    CALLED.get_or_init(|| name.to_owned())
}
