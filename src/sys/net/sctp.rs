//! Options that only SCTP sockets have.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::raw::set_raw;
use super::socket::Socket;

/// `SCTP_SOCKOPT_BINDX_ADD` of include/uapi/linux/sctp.h.
const SCTP_SOCKOPT_BINDX_ADD: libc::c_int = 100;

impl Socket {
    /// Switches Nagle's algorithm off.
    ///
    /// # Errors
    /// The system's.
    pub fn set_sctp_no_delay(&self) -> io::Result<()> {
        set_raw::<libc::c_int>(&self.inner, libc::IPPROTO_SCTP, libc::SCTP_NODELAY, &1)
    }

    /// Sets the largest piece of a message in bytes.
    ///
    /// # Errors
    /// EINVAL for a size that the kernel refuses.
    pub fn set_sctp_segment(&self, bytes: u32) -> io::Result<()> {
        set_raw(&self.inner, libc::IPPROTO_SCTP, libc::SCTP_MAXSEG, &bytes)
    }

    /// Sets the number of outgoing streams that the association asks for in its handshake.
    ///
    /// # Errors
    /// The system's.
    pub fn set_sctp_streams(&self, streams: u16) -> io::Result<()> {
        let ask = libc::sctp_initmsg {
            sinit_num_ostreams: streams,
            sinit_max_instreams: 0,
            sinit_max_attempts: 0,
            sinit_max_init_timeo: 0,
        };
        set_raw(&self.inner, libc::IPPROTO_SCTP, libc::SCTP_INITMSG, &ask)
    }

    /// Lets the kernel cut messages that are larger than a packet.
    ///
    /// # Errors
    /// The system's.
    pub fn allow_sctp_fragments(&self) -> io::Result<()> {
        set_raw::<libc::c_int>(&self.inner, libc::IPPROTO_SCTP, libc::SCTP_DISABLE_FRAGMENTS, &0)
    }

    /// Adds a local address to those of the association; its port is that of the socket.
    ///
    /// # Errors
    /// EADDRNOTAVAIL for an address that this machine does not have.
    pub fn add_sctp_address(&self, address: IpAddr) -> io::Result<()> {
        let port = self.local_addr()?.port();
        let address = SockaddrStorage::from(SocketAddr::new(address, port));
        // SAFETY: the kernel reads `len` bytes, which is the size of the socket address behind the pointer.
        let result = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                libc::IPPROTO_SCTP,
                SCTP_SOCKOPT_BINDX_ADD,
                address.as_ptr().cast(),
                address.len(),
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
