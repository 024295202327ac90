//! A netlink socket to one network namespace (`netlink(7)`): requests and their answers, one after the
//! other. What the messages mean is known to `netlink`.
//!
//! It blocks: the kernel answers in the call that asks, so there is nothing to do meanwhile.

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

/// The kernel answers at once, or after what holds its lock: an RCU barrier, a driver. Seconds.
const PATIENCE: i64 = 30;
/// The kernel puts no more than this into one datagram of a dump (NLMSG_GOODSIZE and
/// `max_recvmsg_len` of net/netlink/af_netlink.c: 32 KiB), and one link with all its attributes is
/// smaller.
const DATAGRAM: usize = 64 << 10;

/// A socket to the network namespace that it was opened in.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
    /// Where datagrams are put; only as much of it is touched as they need.
    room: RefCell<Vec<u8>>,
}

impl Socket {
    /// To the calling thread's namespace.
    ///
    /// # Errors
    /// The failed call.
    pub fn open() -> Result<Self, Errno> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        setsockopt(&fd, ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
        Ok(Self {
            fd,
            sequence: Cell::new(0),
            room: RefCell::new(Vec::with_capacity(DATAGRAM)),
        })
    }

    /// The number of the link `name`; none if there is none. Asked by ioctl, which any socket takes
    /// (`netdevice(7)`) and which costs a tenth of a message.
    ///
    /// # Errors
    /// The failed call.
    pub fn index(&self, name: &str) -> Result<Option<u32>, Errno> {
        match crate::sys::link_index(&self.fd, name) {
            Err(Errno::ENODEV) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The address of the link `name`, asked in the same way; none if there is no such link.
    ///
    /// # Errors
    /// The failed call.
    pub fn address(&self, name: &str) -> Result<Option<Mac>, Errno> {
        match crate::sys::link_address(&self.fd, name) {
            Err(Errno::ENODEV) => Ok(None),
            other => other.map(|address| Some(Mac(address))),
        }
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// What the kernel answered; ETIMEDOUT.
    pub fn order(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Errno> {
        self.ask(message, NLM_F_ACK | flags, |_, _| ())
    }

    /// Asks for one thing; `take` gets type and content of what the kernel tells.
    ///
    /// # Errors
    /// The same.
    pub fn get(
        &self,
        message: RouteNetlinkMessage,
        take: impl FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.ask(message, 0, take)
    }

    /// Asks for all there are. What changes meanwhile can be told twice or not at all: EINTR then.
    ///
    /// # Errors
    /// The same.
    pub fn dump(
        &self,
        message: RouteNetlinkMessage,
        take: impl FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.ask(message, NLM_F_DUMP, take)
    }

    fn ask(
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
        again(|| send(&self.fd, &bytes, SendFlags::empty()))?;
        let mut room = self.room.borrow_mut();
        let mut torn = false;
        loop {
            // Its true length, also if there is not that much room.
            let length = again(|| {
                room.clear();
                let (_, length) = recv(&self.fd, spare_capacity(&mut room), RecvFlags::TRUNC)?;
                Ok(length)
            })
            .map_err(|errno| match errno {
                Errno::EAGAIN => Errno::ETIMEDOUT,
                other => other,
            })?;
            let mut rest = room.get(..length).ok_or(Errno::EMSGSIZE)?;
            while !rest.is_empty() {
                let answer = NetlinkBuffer::new_checked(rest).map_err(|_| Errno::EBADMSG)?;
                let size = (answer.length() as usize).next_multiple_of(4);
                // Of a request that timed out.
                if answer.sequence_number() == number {
                    torn |= answer.flags() & NLM_F_DUMP_INTR != 0;
                    let payload = answer.payload();
                    match answer.message_type() {
                        NLMSG_ERROR => return result(payload),
                        NLMSG_DONE if torn => return Err(Errno::EINTR),
                        NLMSG_DONE => return result(payload),
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

/// What an error message or the end of a dump says: a negative errno or 0, and more behind it.
fn result(payload: &[u8]) -> Result<(), Errno> {
    let code = payload.first_chunk().ok_or(Errno::EBADMSG)?;
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.saturating_neg())),
    }
}

fn again(mut call: impl FnMut() -> rustix::io::Result<usize>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(IntoErrno::into_errno),
        }
    }
}
