//! Packets between the tools and subhost-init: one JSON text each on a socket pair, which may carry
//! descriptors.

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

/// Makes a socket pair: our end, and the end that the process `to`, which is started next, inherits.
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

/// The most descriptors that a packet carries.
const MAX_FDS: usize = 8;

/// The size of the largest packet in bytes. The spec may be larger and is passed as a memfd.
const MAX: usize = 16 << 10;

/// Sends a message with descriptors.
///
/// # Errors
/// The peer is gone.
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

/// The result of receiving from a socket.
#[derive(Debug)]
pub enum Received<T> {
    /// A message, with its descriptors.
    Message(T, Vec<OwnedFd>),
    /// A message of another version, which this version does not know.
    Unknown,
    /// The end: the peer has closed its socket.
    End,
}

/// Receives a message with its descriptors; none at the end.
///
/// # Errors
/// The message is of another version, or is not of this protocol.
pub fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> Result<Option<(T, Vec<OwnedFd>)>> {
    match receive_any(socket)? {
        Received::Message(message, fds) => Ok(Some((message, fds))),
        Received::End => Ok(None),
        Received::Unknown => {
            let what = "the tools and subhost-init are of different versions";
            Err(Error::new(Exit::Failed, what).hint("install them together"))
        }
    }
}

/// Receives a message with its descriptors, a message of another version, or the end.
///
/// # Errors
/// The packet is not of this protocol.
pub fn receive_any<T: DeserializeOwned>(socket: &OwnedFd) -> Result<Received<T>> {
    let mut buffer = vec![0; MAX];
    let mut space = cmsg_space!([RawFd; MAX_FDS]);
    let (count, fds) = loop {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)
        {
            // The peer has closed its end before it read our packet. The kernel reports this once, before
            // what the peer sent.
            Err(Errno::EINTR | Errno::ECONNRESET) => continue,
            other => other.doing(|| "receive from the other side of a boot")?,
        };
        let mut fds = Vec::new();
        for control in message.cmsgs().doing(|| "receive descriptors")? {
            if let ControlMessageOwned::ScmRights(received) = control {
                fds.extend(received.into_iter().map(crate::sys::adopt_received));
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
