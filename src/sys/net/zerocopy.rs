//! Completions of MSG_ZEROCOPY sends, which arrive on the socket's error queue.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::ControlMessageOwned::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg};

use super::Socket;

/// `SO_EE_ORIGIN_ZEROCOPY` of include/uapi/linux/errqueue.h.
const ORIGIN_ZEROCOPY: u8 = 5;
/// `SO_EE_CODE_ZEROCOPY_COPIED` of include/uapi/linux/errqueue.h.
const CODE_COPIED: u8 = 1;

/// One or several MSG_ZEROCOPY sends whose memory the kernel has let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Number of the first of them, counted from 0 per socket, wrapping at 2^32.
    pub first: u32,
    /// Number of the last of them.
    pub last: u32,
    /// Whether the kernel copied them after all.
    pub copied: bool,
}

/// The error queue of a socket with SO_ZEROCOPY.
#[derive(Debug)]
pub struct ErrorQueue<'a> {
    socket: &'a Socket,
    control: Vec<u8>,
}

impl<'a> ErrorQueue<'a> {
    /// The queue of `socket`.
    #[must_use]
    pub fn new(socket: &'a Socket) -> Self {
        Self { socket, control: nix::cmsg_space!([u8; 64], [u8; 64]) }
    }

    /// Takes the next completion without waiting; `None` when there is none now.
    ///
    /// # Errors
    /// The socket's own pending error, if it has one.
    pub fn next_release(&mut self) -> io::Result<Option<Release>> {
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let fd = self.socket.as_raw_fd();
        loop {
            let message = match recvmsg::<SockaddrStorage>(fd, &mut [], Some(&mut self.control), flags) {
                Ok(message) => message,
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for control in message.cmsgs()? {
                let (Ipv4RecvErr(error, _) | Ipv6RecvErr(error, _)) = control else { continue };
                if error.ee_origin == ORIGIN_ZEROCOPY {
                    let copied = error.ee_code & CODE_COPIED != 0;
                    return Ok(Some(Release { first: error.ee_info, last: error.ee_data, copied }));
                }
            }
        }
    }
}
