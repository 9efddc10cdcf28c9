//! Listening sockets.

use std::io;
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};

use nix::net::if_::if_nametoindex;
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{
    Backlog, MsgFlags, SockaddrStorage, bind, getsockopt, listen, recv, setsockopt, sockopt,
};
use socket2::SockRef;

use super::socket::{Transport, stream_socket};

/// The address and the device to listen on.
#[derive(Clone, Debug)]
pub struct ListenAddress {
    /// The address.
    pub local: SocketAddr,
    /// Whether an IPv6 wildcard takes no IPv4 clients.
    pub only_v6: bool,
    /// The only network device whose connections are taken; `None` for all.
    pub device: Option<String>,
}

/// A listening socket in non-blocking mode.
///
/// # Errors
/// The system's, most likely EADDRINUSE, or ENODEV.
pub fn listen_on(transport: Transport, address: &ListenAddress) -> io::Result<TcpListener> {
    start_listening(transport, address, false)
}

/// Has the connections that come from now on begin with buffers of this size, as
/// [`Socket::set_buffers`](super::Socket::set_buffers): the scale of a window is chosen when the first packet
/// comes, by the buffer that the listening socket has at that moment. Returns the size of the smaller one, as
/// the kernel has it.
///
/// # Errors
/// The system's.
pub fn set_window(listener: &impl AsFd, bytes: u32) -> io::Result<u32> {
    let bytes = usize::try_from(bytes).expect("a u32 fits a usize on Linux");
    setsockopt(listener, sockopt::RcvBuf, &bytes)?;
    setsockopt(listener, sockopt::SndBuf, &bytes)?;
    let actual = getsockopt(listener, sockopt::RcvBuf)?.min(getsockopt(listener, sockopt::SndBuf)?);
    Ok(u32::try_from(actual).unwrap_or(u32::MAX))
}

/// Whether the device that a listener on this address is bound to is gone and there is another one of its
/// name.
pub fn has_lost_device(listener: &impl AsFd, address: &ListenAddress) -> bool {
    let Some(name) = &address.device else { return false };
    // The socket goes by the number that the device had, and the kernel tells the name of that one.
    let is_there =
        SockRef::from(listener).device().is_ok_and(|bound| bound.as_deref() == Some(name.as_bytes()));
    !is_there && if_nametoindex(name.as_str()).is_ok()
}

/// Receives what is there without waiting; 0 means that the peer is done.
///
/// # Errors
/// The socket's; EAGAIN when nothing is there.
pub fn receive_now(connection: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(connection.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
}

/// A descriptor that is kept in reserve. When the process has no others, it is given up to accept connections
/// one after the other and to close them at once, which would wait for ever otherwise.
#[derive(Debug)]
pub struct SpareDescriptor(Option<EventFd>);

impl SpareDescriptor {
    /// Takes a descriptor in reserve.
    ///
    /// # Errors
    /// The system's, most likely EMFILE.
    pub fn take() -> io::Result<Self> {
        Ok(Self(Some(EventFd::new()?)))
    }

    /// Accepts and closes the connections that wait at a listener, at most `most` of them, and takes the
    /// descriptor back if nobody else was faster. Returns the addresses that they came from.
    pub fn turn_away(&mut self, listener: &impl AsFd, most: usize) -> Vec<SocketAddr> {
        self.0 = None;
        let listener = SockRef::from(listener);
        let accepted = iter::from_fn(|| listener.accept().ok()).take(most);
        let turned_away = accepted.filter_map(|(_, peer)| peer.as_socket()).collect();
        self.0 = EventFd::new().ok();
        turned_away
    }
}

/// Whether an accept failed because this process, or this machine, has no descriptors left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Listens; `shared` joins those who listen on the address already.
pub(super) fn start_listening(
    transport: Transport,
    address: &ListenAddress,
    shared: bool,
) -> io::Result<TcpListener> {
    let ListenAddress { local, only_v6, device } = address;
    let socket = stream_socket(transport, local)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if shared {
        setsockopt(&socket, sockopt::ReusePort, &true)?;
    }
    if local.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, only_v6)?;
    }
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(*local))?;
    listen(&socket, Backlog::MAXALLOWABLE)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::sys::net::Socket;

    fn wildcard() -> ListenAddress {
        ListenAddress { local: "[::]:0".parse().unwrap(), only_v6: false, device: None }
    }

    #[test]
    fn a_dual_stack_listener_shows_plain_ipv4() {
        let Ok(listener) = listen_on(Transport::Tcp, &wildcard()) else { return };
        let port = listener.local_addr().unwrap().port();
        let near = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(Socket::from_stream(near).peer_addr().unwrap().to_string(), format!("127.0.0.1:{port}"));
    }
}
