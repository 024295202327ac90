//! Packets between processes of ours: one JSON text each on a socket pair, with descriptors beside it.

use crate::base::error::{Doing, Errno, Error, Exit, Result};
use nix::cmsg_space;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
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

/// Sends one packet with descriptors.
///
/// # Errors
/// The other end is gone.
pub fn send<T: Serialize>(socket: &OwnedFd, packet: &T, fds: &[RawFd]) -> Result<()> {
    let text = serde_json::to_vec(packet)
        .map_err(|e| Error::new(Exit::Failed, format!("cannot put a packet into words: {e}")))?;
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

/// Receives one packet with its descriptors; none at the end.
///
/// # Errors
/// The packet is not what was expected.
pub fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> Result<Option<(T, Vec<OwnedFd>)>> {
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
        return Ok(None);
    }
    serde_json::from_slice(&buffer[..count])
        .map(|packet| Some((packet, fds)))
        .map_err(|e| Error::new(Exit::Failed, format!("cannot read a packet: {e}")))
}

/// At most this many descriptors come with a packet.
const MAX_FDS: usize = 8;

/// Bytes of the largest packet; the spec itself, which may be larger, comes as a memfd.
const MAX: usize = 16 << 10;

/// The first packet to PID 1, sent when it has been recorded.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Go;
