//! The versioned messages between the tools and the processes of `subhost-init`. Nothing here sends them.

use super::error::{Error, Exit};
use nix::errno::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the messages. 0.1.0 used version 1, whose packets had no version.
pub const PROTOCOL: u32 = 2;

/// A message to a process of `subhost-init`: PID 1, one that will be PID 1, or a helper process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// Asks a process to become PID 1 in a user namespace. The packet carries the spec, the user namespace
    /// and, if there is one to join, the network namespace, which `Go` does not carry then.
    EnterUserns,
    /// Says that the process is recorded and may begin. The packet carries the descriptors that it needs.
    Go,
    /// Says that the network is complete. Before this, nothing of the tree runs.
    Proceed,
    /// Delivers a signal to the command of PID 1, as a terminal would.
    Signal(i32),
}

/// A message from a process of `subhost-init` to the tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// The packet carries master and slave of the terminal inside.
    Terminal,
    /// PID 1 in a user namespace exists. The sender, which made it, exits now.
    Spawned {
        /// The pid of PID 1 on the host.
        pid: i32,
        /// The mounts of the host whose ids could not be mapped.
        unmapped: Vec<String>,
    },
    /// The boot is complete.
    Up,
    /// The boot failed, or PID 1 ends.
    Failed {
        /// The exit status, see [`Error`].
        exit: u8,
        /// The sentence, see [`Error`].
        what: String,
        /// The errno, see [`Error`].
        errno: Option<i32>,
        /// The hint, see [`Error`].
        hint: Option<String>,
    },
    /// The process is of an earlier version and does not know the message.
    Unknown,
}

impl FromInit {
    /// Makes a message of a failure.
    pub fn failed(error: Error) -> Self {
        FromInit::Failed {
            exit: error.exit as u8,
            // The text must fit into a packet, whatever the command was.
            what: error.what.chars().take(2000).collect(),
            errno: error.errno.map(|errno| errno as i32),
            hint: error.hint,
        }
    }

    /// Returns the failure that the message reports; none if it reports none.
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

/// Returns the failure that a PID 1 does not know a message.
fn unknown() -> Error {
    Error::new(
        Exit::Failed,
        "its PID 1 is of an earlier version, which cannot do that",
    )
    .hint("restart it")
}

/// A message with its version.
#[derive(Serialize, Deserialize)]
struct Packet<T> {
    version: u32,
    message: T,
}

/// Serializes a message into the text of a packet.
///
/// # Errors
/// Serialization failed, which no message of this file causes.
pub fn to_text<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let packet = Packet {
        version: PROTOCOL,
        message,
    };
    serde_json::to_vec(&packet)
        .map_err(|e| Error::new(Exit::Failed, format!("cannot encode a message: {e}")))
}

/// Parses the message in a packet; none if it is of another version and this version does not know it.
///
/// # Errors
/// The text is not a packet of this protocol.
pub fn from_text<T: DeserializeOwned>(text: &[u8]) -> Result<Option<T>, Error> {
    let failed = |e| Error::new(Exit::Failed, format!("cannot decode a message: {e}"));
    let wrong = match serde_json::from_slice::<Packet<T>>(text) {
        Ok(packet) => return Ok(Some(packet.message)),
        Err(e) => e,
    };
    match serde_json::from_slice::<Packet<serde::de::IgnoredAny>>(text) {
        Ok(packet) if packet.version != PROTOCOL => Ok(None),
        // A packet of 0.1.0 was the message alone.
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
    fn messages_survive_serialization() {
        for message in [ToInit::EnterUserns, ToInit::Go, ToInit::Signal(15)] {
            let text = to_text(&message).unwrap();
            assert_eq!(from_text(&text).unwrap(), Some(message));
        }
        let error = Error::sys("run /x", Errno::ENOENT).exit(Exit::NotFound);
        let text = to_text(&FromInit::failed(error)).unwrap();
        let failure = from_text::<FromInit>(&text).unwrap().unwrap();
        let failure = failure.error().unwrap();
        assert_eq!(
            (failure.exit, failure.errno),
            (Exit::NotFound, Some(Errno::ENOENT))
        );
    }

    #[test]
    fn messages_of_other_versions_are_not_errors() {
        let later = br#"{"version": 99, "message": {"Dance": 3}}"#;
        assert_eq!(from_text::<ToInit>(later).unwrap(), None);
        // Packets of 0.1.0.
        assert_eq!(from_text::<ToInit>(b"null").unwrap(), None);
        assert_eq!(from_text::<FromInit>(br#"{"Failed": {}}"#).unwrap(), None);
        // A later version can still send a message that this version knows.
        let known = br#"{"version": 99, "message": "Go", "more": 1}"#;
        assert_eq!(from_text(known).unwrap(), Some(ToInit::Go));
        let ours = br#"{"version": 2, "message": {"Dance": 3}}"#;
        assert!(from_text::<ToInit>(ours).is_err());
        assert!(from_text::<ToInit>(b"{").is_err());
        assert_eq!(unknown().exit, Exit::Failed);
    }
}
