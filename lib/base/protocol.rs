//! What the tools and the processes of `subhost-init` say to each other, with a version.

use super::error::{Error, Exit};
use nix::errno::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the messages. 0.1.0 spoke 1, which had none in its packets.
pub const PROTOCOL: u32 = 2;

/// To a process of ours: on its way to be PID 1, being that, or beside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// To one that is to become PID 1 in a user namespace, before it is: beside it the spec, the user namespace,
    /// and the network namespace if there is one to join, which does not come with `Go` then.
    EnterUserns,
    /// It has been recorded, and may begin: beside it what it needs for that.
    Go,
    /// All of its network is there. Before this nothing of the tree's runs.
    Proceed,
    /// A signal for what it runs, as a terminal would send it.
    Signal(i32),
}

/// From such a process to the tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// Beside it master and slave of the terminal inside.
    Terminal,
    /// PID 1 in a user namespace has been made, by one that ends now.
    Spawned {
        /// Its pid on the host.
        pid: i32,
        /// What of the host's could not be given other ids.
        unmapped: Vec<String>,
    },
    /// Up: what was to run runs.
    Up,
    /// Not up, or it ends.
    Failed {
        /// As in [`Error`].
        exit: u8,
        /// As in [`Error`].
        what: String,
        /// As in [`Error`].
        errno: Option<i32>,
        /// As in [`Error`].
        hint: Option<String>,
    },
    /// It does not know what it was told: it is of an earlier version.
    Unknown,
}

impl FromInit {
    /// A failure as a message.
    pub fn failed(error: Error) -> Self {
        FromInit::Failed {
            exit: error.exit as u8,
            // It must fit into a packet, whatever the command was.
            what: error.what.chars().take(2000).collect(),
            errno: error.errno.map(|errno| errno as i32),
            hint: error.hint,
        }
    }

    /// The failure in a message; none if it is none.
    pub fn error(self) -> Option<Error> {
        let (exit, what, errno, hint) = match self {
            FromInit::Failed {
                exit,
                what,
                errno,
                hint,
            } => (exit, what, errno, hint),
            FromInit::Unknown => return Some(unknown()),
            _ => return None,
        };
        let known = [
            Exit::Invalid,
            Exit::TimedOut,
            Exit::Own,
            Exit::CannotRun,
            Exit::NotFound,
        ];
        let exit = known.into_iter().find(|known| *known as u8 == exit);
        Some(Error {
            exit: exit.unwrap_or(Exit::Failed),
            what,
            errno: errno.map(Errno::from_raw),
            hint,
            also: Vec::new(),
        })
    }
}

/// The failure where a PID 1 does not know what it was told.
pub fn unknown() -> Error {
    Error::new(
        Exit::Failed,
        "its PID 1 is of an earlier version, which cannot do that",
    )
    .hint("restart it")
}

/// A message on its way.
#[derive(Serialize, Deserialize)]
struct Packet<T> {
    version: u32,
    message: T,
}

/// A message as the text of a packet.
///
/// # Errors
/// None with our messages.
pub fn to_text<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let packet = Packet {
        version: PROTOCOL,
        message,
    };
    serde_json::to_vec(&packet)
        .map_err(|e| Error::new(Exit::Failed, format!("cannot put a packet into words: {e}")))
}

/// The message in a packet; none if it is of another version and not known to this.
///
/// # Errors
/// It is no packet of ours.
pub fn from_text<T: DeserializeOwned>(text: &[u8]) -> Result<Option<T>, Error> {
    let failed = |e| Error::new(Exit::Failed, format!("cannot read a packet: {e}"));
    let wrong = match serde_json::from_slice::<Packet<T>>(text) {
        Ok(packet) => return Ok(Some(packet.message)),
        Err(e) => e,
    };
    match serde_json::from_slice::<Packet<serde::de::IgnoredAny>>(text) {
        Ok(packet) if packet.version != PROTOCOL => Ok(None),
        // What 0.1.0 said was the message alone.
        _ if serde_json::from_slice::<serde_json::Value>(text)
            .is_ok_and(|it| it["version"].is_null()) =>
        {
            Ok(None)
        }
        _ => Err(failed(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_they_went() {
        for message in [ToInit::EnterUserns, ToInit::Go, ToInit::Signal(15)] {
            let text = to_text(&message).unwrap();
            assert_eq!(from_text(&text).unwrap(), Some(message));
        }
        let error = Error::sys("run /x", Errno::ENOENT).exit(Exit::NotFound);
        let text = to_text(&FromInit::failed(error)).unwrap();
        let told = from_text::<FromInit>(&text).unwrap().unwrap();
        let told = told.error().unwrap();
        assert_eq!(
            (told.exit, told.errno),
            (Exit::NotFound, Some(Errno::ENOENT))
        );
    }

    #[test]
    fn what_another_version_says_is_told_apart_from_rubbish() {
        let later = br#"{"version": 99, "message": {"Dance": 3}}"#;
        assert_eq!(from_text::<ToInit>(later).unwrap(), None);
        // 0.1.0's.
        assert_eq!(from_text::<ToInit>(b"null").unwrap(), None);
        assert_eq!(from_text::<FromInit>(br#"{"Failed": {}}"#).unwrap(), None);
        // A version that knows more can still be understood where it says what this one knows.
        let known = br#"{"version": 99, "message": "Go", "more": 1}"#;
        assert_eq!(from_text(known).unwrap(), Some(ToInit::Go));
        let ours = br#"{"version": 2, "message": {"Dance": 3}}"#;
        assert!(from_text::<ToInit>(ours).is_err());
        assert!(from_text::<ToInit>(b"{").is_err());
        assert_eq!(unknown().exit, Exit::Failed);
    }
}
