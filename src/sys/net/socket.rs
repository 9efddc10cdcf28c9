//! One socket, TCP or UDP, owned, with the options that a throughput test sets and reads.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt;
use nix::sys::socket::{GetSockOpt, MsgFlags, SetSockOpt, SockaddrStorage};
use nix::sys::socket::{bind, getsockopt, recv, send, setsockopt};

use super::raw::{get_raw, set_raw};
use super::tcp_info;
use crate::config::Protocol;
use crate::stats::TcpSample;

/// `SO_ZEROCOPY` of include/uapi/asm-generic/socket.h.
const SO_ZEROCOPY: libc::c_int = 60;
/// `SO_MAX_PACING_RATE` of include/uapi/asm-generic/socket.h.
const SO_MAX_PACING_RATE: libc::c_int = 47;
/// `MSG_ZEROCOPY` of include/linux/socket.h.
const MSG_ZEROCOPY: libc::c_int = 0x400_0000;

/// The transport protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// Multipath TCP.
    Mptcp,
    /// SCTP in one-to-one style.
    Sctp,
}

impl Transport {
    /// The transport of a test over `protocol`; `None` for UDP, which has no connections.
    #[must_use]
    pub fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Tcp => Some(Self::Tcp),
            Protocol::Mptcp => Some(Self::Mptcp),
            Protocol::Sctp(_) => Some(Self::Sctp),
            Protocol::Udp(_) => None,
        }
    }

    /// Checks that the running kernel has this transport.
    ///
    /// # Errors
    /// EPROTONOSUPPORT or ENOPROTOOPT where the kernel lacks it.
    pub fn check(self) -> io::Result<()> {
        // Of the two IP versions either will do.
        let any = |ip| stream_socket(self, &SocketAddr::new(ip, 0));
        any([0; 4].into()).or_else(|error| any([0; 16].into()).map_err(|_| error)).map(drop)
    }
}

/// A socket. Shared between its stream thread and the session, so TCP_INFO can be read after the thread has
/// ended. What only UDP sockets can do is in `datagram.rs`; options that are seldom set are in `options.rs`.
#[derive(Debug)]
pub struct Socket {
    pub(super) inner: socket2::Socket,
    /// See [`Socket::with_drops_before`].
    pub(super) drops_before: Option<u32>,
}

impl Socket {
    /// A new socket for connecting to `remote`, in non-blocking mode.
    ///
    /// # Errors
    /// The system's, most likely EMFILE, or EPROTONOSUPPORT where the kernel lacks the protocol.
    pub fn new_stream(transport: Transport, remote: &SocketAddr) -> io::Result<Self> {
        Ok(Self { inner: stream_socket(transport, remote)?, drops_before: None })
    }

    /// A new UDP socket for talking to `remote`, in non-blocking mode.
    ///
    /// # Errors
    /// The system's, most likely EMFILE.
    pub fn new_udp(remote: &SocketAddr) -> io::Result<Self> {
        let inner = socket2::Socket::new(
            socket2::Domain::for_address(*remote),
            socket2::Type::DGRAM.nonblocking().cloexec(),
            Some(socket2::Protocol::UDP),
        )?;
        Ok(Self { inner, drops_before: None })
    }

    /// Takes over a connected stream.
    #[must_use]
    pub fn from_stream(stream: TcpStream) -> Self {
        Self { inner: stream.into(), drops_before: None }
    }

    /// Gives the stream away.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.inner.into()
    }

    /// Takes over a UDP socket.
    #[must_use]
    pub fn from_udp(socket: UdpSocket) -> Self {
        Self { inner: socket.into(), drops_before: None }
    }

    /// Gives the UDP socket away.
    #[must_use]
    pub fn into_udp(self) -> UdpSocket {
        self.inner.into()
    }

    /// Connects a UDP socket to one peer: it sends to and receives from nobody else.
    ///
    /// # Errors
    /// The system's, for example ENETUNREACH.
    pub fn connect_udp(&self, remote: SocketAddr) -> io::Result<()> {
        self.inner.connect(&remote.into())
    }

    /// Binds to a local address; port 0 leaves the port to the kernel.
    ///
    /// # Errors
    /// The system's, for example EADDRINUSE or EADDRNOTAVAIL.
    pub fn bind(&self, local: SocketAddr) -> io::Result<()> {
        setsockopt(&self.inner, sockopt::ReuseAddr, &true)?;
        Ok(bind(self.as_raw_fd(), &SockaddrStorage::from(local))?)
    }

    /// Binds to the address of `local`. The port is chosen when the socket connects, so that it can be one
    /// that leads somewhere else already.
    ///
    /// # Errors
    /// The system's, for example EADDRNOTAVAIL.
    pub fn bind_address(&self, mut local: SocketAddr) -> io::Result<()> {
        local.set_port(0);
        // A kernel that does not know it chooses the port now, among fewer.
        let _ = set_raw(&self.inner, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32);
        Ok(bind(self.as_raw_fd(), &SockaddrStorage::from(local))?)
    }

    /// The local address of the socket.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address(&self.inner.local_addr()?)
    }

    /// The peer's address; an IPv4 peer of a dual-stack socket is shown as plain IPv4.
    ///
    /// # Errors
    /// ENOTCONN when there is no peer any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address(&self.inner.peer_addr()?)
    }

    /// Whether the other end is on this machine, as far as the addresses tell: both are the same, or of the
    /// loopback.
    #[must_use]
    pub fn has_both_ends_here(&self) -> bool {
        let (Ok(local), Ok(peer)) = (self.local_addr(), self.peer_addr()) else { return false };
        local.ip() == peer.ip() || peer.ip().to_canonical().is_loopback()
    }

    /// Sets blocking mode with every send and receive limited to `wait`, so that no thread is out of reach.
    ///
    /// # Errors
    /// The system's.
    pub fn set_blocking(&self, wait: Duration) -> io::Result<()> {
        self.inner.set_nonblocking(false)?;
        self.inner.set_read_timeout(Some(wait))?;
        self.inner.set_write_timeout(Some(wait))
    }

    /// Switches Nagle's algorithm off.
    ///
    /// # Errors
    /// The system's.
    pub fn set_no_delay(&self) -> io::Result<()> {
        self.set(sockopt::TcpNoDelay, &true)
    }

    /// Sets the largest segment in bytes, which is only effective before the handshake.
    ///
    /// # Errors
    /// EINVAL for a size that the kernel refuses.
    pub fn set_mss(&self, bytes: u32) -> io::Result<()> {
        self.set(sockopt::TcpMaxSeg, &bytes)
    }

    /// Largest segment in bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn mss(&self) -> io::Result<u32> {
        self.get(sockopt::TcpMaxSeg)
    }

    /// Sets both socket buffers to `bytes` (the kernel doubles it for its own needs).
    ///
    /// # Errors
    /// The system's; a size above the system's limit is silently cut, so read the sizes back.
    pub fn set_buffers(&self, bytes: u32) -> io::Result<()> {
        let bytes = usize::try_from(bytes).expect("a u32 fits a usize on Linux");
        self.set(sockopt::RcvBuf, &bytes)?;
        self.set(sockopt::SndBuf, &bytes)
    }

    /// Size of the send buffer in bytes, as the kernel has it.
    ///
    /// # Errors
    /// The system's.
    pub fn send_buffer(&self) -> io::Result<u32> {
        self.get(sockopt::SndBuf).map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// Size of the receive buffer in bytes, as the kernel has it.
    ///
    /// # Errors
    /// The system's.
    pub fn receive_buffer(&self) -> io::Result<u32> {
        self.get(sockopt::RcvBuf).map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// Chooses the congestion control algorithm.
    ///
    /// # Errors
    /// ENOENT when the kernel does not have it, EPERM when it is not allowed to this user.
    pub fn set_congestion(&self, name: &str) -> io::Result<()> {
        self.set(sockopt::TcpCongestion, &name.into())
    }

    /// The congestion control algorithm in use.
    ///
    /// # Errors
    /// The system's.
    pub fn congestion(&self) -> io::Result<String> {
        let name = self.get(sockopt::TcpCongestion)?;
        Ok(name.to_string_lossy().trim_end_matches('\0').to_owned())
    }

    /// Has the kernel pace the sends at `bits_per_second`.
    ///
    /// # Errors
    /// The system's.
    pub fn set_max_pacing(&self, bits_per_second: u64) -> io::Result<()> {
        set_raw(&self.inner, libc::SOL_SOCKET, SO_MAX_PACING_RATE, &(bits_per_second / 8))
    }

    /// Allows MSG_ZEROCOPY sends.
    ///
    /// # Errors
    /// ENOPROTOOPT or EOPNOTSUPP where the kernel has none.
    pub fn enable_zerocopy(&self) -> io::Result<()> {
        set_raw::<libc::c_int>(&self.inner, libc::SOL_SOCKET, SO_ZEROCOPY, &1)
    }

    /// Has a sleeping receiver woken when `bytes` bytes have come, or the peer is done. The kernel cuts that
    /// to what the receive buffer can hold.
    ///
    /// # Errors
    /// The system's.
    pub fn set_receive_low_water(&self, bytes: u32) -> io::Result<()> {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        set_raw(&self.inner, libc::SOL_SOCKET, libc::SO_RCVLOWAT, &bytes)
    }

    /// Number of the processor that has handled the last packet that came; `None` before the first one.
    ///
    /// # Errors
    /// The system's.
    pub fn incoming_processor(&self) -> io::Result<Option<u32>> {
        // -1 before the first one.
        let cpu: libc::c_int = get_raw(self, libc::SOL_SOCKET, libc::SO_INCOMING_CPU)?;
        Ok(u32::try_from(cpu).ok())
    }

    /// Has a receive poll the network card for `micros` microseconds before it waits for an interrupt
    /// (`SO_BUSY_POLL`).
    ///
    /// # Errors
    /// EPERM of older kernels, for more than the socket has already (sysctl net.core.busy_read at first)
    /// without CAP_NET_ADMIN; ENOPROTOOPT where the kernel cannot do it.
    pub fn set_busy_poll(&self, micros: u32) -> io::Result<()> {
        let micros = libc::c_int::try_from(micros).map_err(|_| io::ErrorKind::InvalidInput)?;
        set_raw(&self.inner, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &micros)
    }

    /// Microseconds for which a receive polls the network card.
    ///
    /// # Errors
    /// As [`Self::set_busy_poll`].
    pub fn busy_poll(&self) -> io::Result<u32> {
        get_raw(self, libc::SOL_SOCKET, libc::SO_BUSY_POLL)
    }

    /// Whether the last packet that came was brought by a NAPI instance, a queue of a network card that can
    /// be polled.
    ///
    /// # Errors
    /// ENOPROTOOPT where the kernel does not know.
    pub fn has_napi(&self) -> io::Result<bool> {
        let id: u32 = get_raw(self, libc::SOL_SOCKET, libc::SO_INCOMING_NAPI_ID)?;
        Ok(id != 0)
    }

    /// TCP_INFO of the connection.
    ///
    /// # Errors
    /// The system's.
    pub fn tcp_info(&self) -> io::Result<TcpSample> {
        tcp_info::read(&self.inner)
    }

    /// Time since the host at the other end of a TCP connection has acknowledged anything.
    ///
    /// # Errors
    /// The system's.
    pub fn silence(&self) -> io::Result<Duration> {
        tcp_info::silence(&self.inner)
    }

    /// Bytes sent that the peer has not acknowledged yet (`SIOCOUTQ`).
    ///
    /// # Errors
    /// The system's.
    pub fn unacknowledged_bytes(&self) -> io::Result<u64> {
        let mut bytes: libc::c_int = 0;
        // SAFETY: SIOCOUTQ (which has TIOCOUTQ's number) writes one int, and `bytes` is one.
        let result = unsafe { libc::ioctl(self.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Whether nothing is left to receive, and nothing will come any more.
    #[must_use]
    pub fn is_read_out(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(self.as_raw_fd(), &mut [0], flags), Ok(0))
    }

    /// Ends one or both directions. Wakes a thread that waits in the kernel for this socket.
    pub fn shutdown(&self, how: Shutdown) {
        // ENOTCONN means the peer was faster; then there is nothing left to end.
        let _ = self.inner.shutdown(how);
    }

    /// Breaks the connection off. Bytes that are queued for the peer are dropped, which shutdown(2) does not
    /// do, and the socket is of no use any more.
    pub fn disconnect(&self) {
        // SAFETY: all its fields are integers, for which zero is a value; that of the family is AF_UNSPEC.
        let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
        let bytes = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).expect("a few bytes");
        // SAFETY: the address is one of as many bytes as is said, and is only read.
        let _ = unsafe { libc::connect(self.as_raw_fd(), &raw const nobody, bytes) };
    }

    /// Sends from `payload` and returns how many bytes the kernel took.
    ///
    /// # Errors
    /// The socket's; EAGAIN when the send timeout is over.
    pub fn send(&self, payload: &[u8]) -> io::Result<usize> {
        Ok(send(self.as_raw_fd(), payload, MsgFlags::MSG_NOSIGNAL)?)
    }

    /// Sends `payload` by reference: the memory must stay unchanged until the error queue releases it.
    ///
    /// # Errors
    /// The socket's; ENOBUFS when too many sends wait for their release.
    pub fn send_zerocopy(&self, payload: &[u8]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::from_bits_retain(MSG_ZEROCOPY);
        Ok(send(self.as_raw_fd(), payload, flags)?)
    }

    /// Receives into `buffer`; 0 means that the peer is done.
    ///
    /// # Errors
    /// The socket's; EAGAIN when the receive timeout is over.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.as_raw_fd(), buffer, MsgFlags::empty())?)
    }

    /// Receives the bytes that have come, without waiting; 0 means that the peer is done.
    ///
    /// # Errors
    /// The socket's; EAGAIN when nothing is there.
    pub fn receive_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
    }

    /// Receives up to `buffer.len()` bytes, which the kernel discards instead of copying them.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_discarding(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?)
    }

    /// Waits until the error queue has something or `timeout` is over.
    ///
    /// # Errors
    /// The system's.
    pub fn wait_for_error_queue(&self, timeout: Duration) -> io::Result<()> {
        let milliseconds = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        // No event is asked for: errors are always reported.
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        match poll(&mut fds, milliseconds) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn set<O: SetSockOpt>(&self, option: O, value: &O::Val) -> io::Result<()> {
        Ok(setsockopt(&self.inner, option, value)?)
    }

    pub(super) fn get<O: GetSockOpt>(&self, option: O) -> io::Result<O::Val> {
        Ok(getsockopt(&self.inner, option)?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

/// Shows an IPv4 address that came in through an IPv6 socket as what it is.
#[must_use]
pub fn unmap(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        // A link-local address is of no use without its scope.
        IpAddr::V6(_) => address,
    }
}

/// The address of an IP socket.
fn address(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().map(unmap).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// A new socket in non-blocking mode.
pub(super) fn stream_socket(transport: Transport, address: &SocketAddr) -> io::Result<socket2::Socket> {
    let protocol = match transport {
        Transport::Tcp => socket2::Protocol::TCP,
        Transport::Mptcp => socket2::Protocol::MPTCP,
        Transport::Sctp => socket2::Protocol::SCTP,
    };
    let kind = socket2::Type::STREAM.nonblocking().cloexec();
    socket2::Socket::new(socket2::Domain::for_address(*address), kind, Some(protocol))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    fn pair() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        (Socket::from_stream(near), Socket::from_stream(far))
    }

    #[test]
    fn options_take_effect() {
        let (near, _far) = pair();
        near.set_congestion("reno").unwrap();
        assert_eq!(near.congestion().unwrap(), "reno");
        assert!(near.set_congestion("nosuch").is_err());
        near.set_buffers(100_000).unwrap();
        assert!(near.send_buffer().unwrap() >= 100_000 && near.receive_buffer().unwrap() >= 100_000);
        near.set_max_pacing(8_000_000_000_000).unwrap();
    }

    #[test]
    fn a_socket_is_read_out_when_it_is_empty_and_ended() {
        let (near, far) = pair();
        assert!(!far.is_read_out());
        near.send(b"last").unwrap();
        far.shutdown(Shutdown::Read);
        assert!(!far.is_read_out());
        assert_eq!(far.receive(&mut [0; 16]).unwrap(), 4);
        assert!(far.is_read_out());
    }

    #[test]
    fn unacknowledged_bytes_go_to_zero_and_discarding_counts() {
        let (near, far) = pair();
        assert_eq!(near.send(&[1; 5000]).unwrap(), 5000);
        assert_eq!(far.receive_discarding(&mut [0; 2000]).unwrap(), 2000);
        let mut buffer = [0; 5000];
        assert_eq!(far.receive_now(&mut buffer).unwrap(), 3000);
        assert_eq!(buffer[..3000], [1; 3000]);
        // The acknowledgement may take a moment.
        let deadline = Instant::now() + Duration::from_secs(2);
        while near.unacknowledged_bytes().unwrap() > 0 {
            assert!(Instant::now() < deadline, "all bytes were read");
            std::thread::yield_now();
        }
        near.shutdown(Shutdown::Write);
        assert_eq!(far.receive(&mut buffer).unwrap(), 0);
    }
}
