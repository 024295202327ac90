//! Packets between processes of ours: one JSON text each on a socket pair, with descriptors beside it.

use crate::base::error::{Doing, Errno, Error, Exit, Result};
use crate::base::protocol;
use nix::cmsg_space;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A socket to a process of ours that is about to be started, and the end that it inherits.
///
/// # Errors
/// The failed call.
pub fn sockets(to: &str) -> Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .doing(|| format!("open a socket to {to}"))?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).doing(|| "hand on a socket")?;
    Ok((ours, theirs))
}

/// At most this many descriptors come with a packet.
const MAX_FDS: usize = 8;

/// Bytes of the largest packet; the spec itself, which may be larger, comes as a memfd.
const MAX: usize = 16 << 10;

/// Sends one message with descriptors.
///
/// # Errors
/// The other end is gone.
pub fn send<T: Serialize>(socket: &OwnedFd, message: &T, fds: &[RawFd]) -> Result<()> {
    let text = protocol::to_text(message)?;
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&text)],
        control,
        flags,
        None,
    )
    .map(drop)
    .doing(|| "send to the other side of a boot")
}

/// What comes next on a socket.
#[derive(Debug)]
pub enum Received<T> {
    /// A message, with its descriptors.
    Message(T, Vec<OwnedFd>),
    /// One of another version that this one does not know.
    Unknown,
    /// The other end is closed.
    End,
}

/// Receives one message with its descriptors; none at the end.
///
/// # Errors
/// It is not what was expected.
pub fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> Result<Option<(T, Vec<OwnedFd>)>> {
    match next(socket)? {
        Received::Message(message, fds) => Ok(Some((message, fds))),
        Received::End => Ok(None),
        Received::Unknown => {
            let what = "the tools and subhost-init are of different versions";
            Err(Error::new(Exit::Failed, what).hint("install them together"))
        }
    }
}

/// Receives one message with its descriptors, or says why there is none.
///
/// # Errors
/// It is no message of ours.
pub fn next<T: DeserializeOwned>(socket: &OwnedFd) -> Result<Received<T>> {
    let mut buffer = vec![0; MAX];
    let mut space = cmsg_space!([RawFd; MAX_FDS]);
    let (count, fds) = loop {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)
        {
            // The other end is gone with a packet of ours unread, which is told once: what it sent is still there.
            Err(Errno::EINTR | Errno::ECONNRESET) => continue,
            other => other.doing(|| "receive from the other side of a boot")?,
        };
        let mut fds = Vec::new();
        for control in message.cmsgs().doing(|| "receive descriptors")? {
            if let ControlMessageOwned::ScmRights(received) = control {
                fds.extend(received.into_iter().map(crate::sys::received));
            }
        }
        break (message.bytes, fds);
    };
    if count == 0 {
        return Ok(Received::End);
    }
    Ok(match protocol::from_text(&buffer[..count])? {
        Some(message) => Received::Message(message, fds),
        None => Received::Unknown,
    })
}
