//! A netlink socket in one network namespace (`netlink(7)`): sends a request, then receives its answer. The
//! file `netlink` knows the meaning of the messages.
//!
//! Calls block. The kernel answers rtnetlink requests within send(2), so an asynchronous socket would gain
//! nothing.

use crate::base::error::{Errno, IntoErrno};
use crate::config::Mac;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket};
use nix::sys::time::TimeVal;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkMessage,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;

/// The timeout of an answer, in seconds. The kernel answers at once, unless another task holds the RTNL lock:
/// an RCU barrier or a driver can take it for seconds.
const TIMEOUT: i64 = 30;
/// The size of the receive buffer in bytes. A datagram of a dump has at most 32 KiB (NLMSG_GOODSIZE and
/// `max_recvmsg_len` of net/netlink/af_netlink.c), and a link with all its attributes is smaller.
const DATAGRAM: usize = 64 << 10;

/// A netlink socket in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
    /// The receive buffer, uninitialised: only the pages that datagrams fill are touched.
    buffer: RefCell<Vec<u8>>,
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The errno of socket(2) or setsockopt(2).
    pub fn open() -> Result<Self, Errno> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        setsockopt(&fd, ReceiveTimeout, &TimeVal::new(TIMEOUT, 0))?;
        Ok(Self {
            fd,
            sequence: Cell::new(0),
            buffer: RefCell::new(Vec::with_capacity(DATAGRAM)),
        })
    }

    /// Returns the interface index of the link `name`; none if there is no such link. It uses an ioctl
    /// (`netdevice(7)`), which takes a tenth of the time of a message.
    ///
    /// # Errors
    /// The errno of the ioctl.
    pub fn index(&self, name: &str) -> Result<Option<u32>, Errno> {
        match crate::sys::link_index(&self.fd, name) {
            Err(Errno::ENODEV) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Returns the MAC of the link `name`, by an ioctl; none if there is no such link.
    ///
    /// # Errors
    /// The errno of the ioctl.
    pub fn address(&self, name: &str) -> Result<Option<Mac>, Errno> {
        match crate::sys::link_address(&self.fd, name) {
            Err(Errno::ENODEV) => Ok(None),
            other => other.map(|address| Some(Mac(address))),
        }
    }

    /// Sends a request that changes something, and waits for the acknowledgement. `flags` are further NLM_F_*
    /// flags.
    ///
    /// # Errors
    /// The errno that the kernel answers; ETIMEDOUT.
    pub fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Errno> {
        self.request(message, NLM_F_ACK | flags, |_, _| ())
    }

    /// Requests one object. `take` gets type and payload of the answer.
    ///
    /// # Errors
    /// The errno that the kernel answers; ETIMEDOUT.
    pub fn get(
        &self,
        message: RouteNetlinkMessage,
        take: impl FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.request(message, 0, take)
    }

    /// Requests all objects of a kind. `take` gets type and payload of each.
    ///
    /// # Errors
    /// The errno that the kernel answers; ETIMEDOUT; EINTR if objects changed during the dump
    /// (NLM_F_DUMP_INTR), so that some may be missing or present twice.
    pub fn dump(
        &self,
        message: RouteNetlinkMessage,
        take: impl FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.request(message, NLM_F_DUMP, take)
    }

    fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        let number = self.sequence.get().wrapping_add(1);
        self.sequence.set(number);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = number;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        retry_on_signal(|| send(&self.fd, &bytes, SendFlags::empty()))?;
        let mut buffer = self.buffer.borrow_mut();
        let mut is_interrupted = false;
        loop {
            // MSG_TRUNC returns the true length of a datagram that exceeds the buffer.
            let length = retry_on_signal(|| {
                buffer.clear();
                let (_, length) = recv(&self.fd, spare_capacity(&mut buffer), RecvFlags::TRUNC)?;
                Ok(length)
            })
            .map_err(|errno| match errno {
                Errno::EAGAIN => Errno::ETIMEDOUT,
                other => other,
            })?;
            let mut rest = buffer.get(..length).ok_or(Errno::EMSGSIZE)?;
            while !rest.is_empty() {
                let answer = NetlinkBuffer::new_checked(rest).map_err(|_| Errno::EBADMSG)?;
                let size = (answer.length() as usize).next_multiple_of(4);
                // A late answer to a request that timed out has another number.
                if answer.sequence_number() == number {
                    is_interrupted |= answer.flags() & NLM_F_DUMP_INTR != 0;
                    let payload = answer.payload();
                    match answer.message_type() {
                        NLMSG_ERROR => return parse_status(payload),
                        NLMSG_DONE if is_interrupted => return Err(Errno::EINTR),
                        NLMSG_DONE => return parse_status(payload),
                        kind => take(kind, payload),
                    }
                    if flags == 0 && answer.flags() & NLM_F_MULTIPART == 0 {
                        return Ok(());
                    }
                }
                rest = rest.get(size..).unwrap_or_default();
            }
        }
    }
}

/// Parses the payload of NLMSG_ERROR or NLMSG_DONE, which begins with 0 or a negative errno.
fn parse_status(payload: &[u8]) -> Result<(), Errno> {
    let code = payload.first_chunk().ok_or(Errno::EBADMSG)?;
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.saturating_neg())),
    }
}

/// Repeats a call that a signal has interrupted.
fn retry_on_signal(mut call: impl FnMut() -> rustix::io::Result<usize>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(IntoErrno::into_errno),
        }
    }
}
