//! Listening sockets, and how one makes way for another.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{Backlog, MsgFlags, SockaddrStorage, bind, listen, recv, setsockopt, sockopt};
use socket2::SockRef;

use super::socket::{Transport, set_raw, stream_socket};

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ListenAddress {
    /// The address.
    pub local: SocketAddr,
    /// An IPv6 wildcard takes no IPv4 clients.
    pub only_v6: bool,
    /// The only network device whose connections are taken.
    pub device: Option<String>,
}

/// A listening socket in non-blocking mode.
///
/// # Errors
/// The system's, most likely EADDRINUSE, or ENODEV.
pub fn listen_on(transport: Transport, address: &ListenAddress) -> io::Result<TcpListener> {
    start_listening(transport, address, false)
}

/// Receives what is there without waiting; 0 means that the peer is done.
///
/// # Errors
/// The socket's; EAGAIN when nothing is there.
pub fn receive_now(connection: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(connection.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
}

/// A descriptor that is kept for the moment at which there are no others: given up, it makes room for one
/// connection after the other, which are closed at once instead of waiting for ever.
#[derive(Debug)]
pub struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    /// Takes one.
    ///
    /// # Errors
    /// The system's, most likely EMFILE.
    pub fn take() -> io::Result<Self> {
        File::open("/dev/null").map(|file| Self(Some(file)))
    }

    /// Accepts and closes what waits at a listener, at most `most` connections, and takes the descriptor back
    /// if nobody else was faster.
    pub fn turn_away(&mut self, listener: &impl AsFd, most: usize) {
        self.0 = None;
        let listener = SockRef::from(listener);
        for _ in 0..most {
            if listener.accept().is_err() {
                break;
            }
        }
        self.0 = File::open("/dev/null").ok();
    }
}

/// Whether an accept failed because this process, or this machine, has no descriptors left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// A second listener on the address of a first one. As long as it lives it gets all connections that come.
///
/// It is for what the first one cannot do: a listener for Multipath TCP takes plain TCP as well, but the
/// kernel gives its plain connections no zero-copy sends. So that is no listener to keep.
#[derive(Debug)]
pub struct Diversion {
    first: OwnedFd,
}

impl Diversion {
    /// Opens the second listener; it ends when it is closed, and then this must be dropped.
    ///
    /// # Errors
    /// The system's, for example EPROTONOSUPPORT where the kernel lacks the transport.
    pub fn open(
        first: &impl AsFd,
        transport: Transport,
        address: &ListenAddress,
    ) -> io::Result<(Self, TcpListener)> {
        let diversion = Self { first: first.as_fd().try_clone_to_owned()? };
        // Both are in one group by this, and without more the kernel would choose by chance.
        setsockopt(&diversion.first, sockopt::ReusePort, &true)?;
        let second = start_listening(transport, address, true)?;
        // The group's members are numbered as they came.
        let mut always_the_second = [libc::sock_filter {
            code: u16::try_from(libc::BPF_RET | libc::BPF_K).expect("an opcode has eight bits"),
            jt: 0,
            jf: 0,
            k: 1,
        }];
        let program = libc::sock_fprog { len: 1, filter: always_the_second.as_mut_ptr() };
        set_raw(&diversion.first, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)?;
        Ok((diversion, second))
    }
}

impl Drop for Diversion {
    fn drop(&mut self) {
        // It cannot fail for an open socket; and if it did, nobody else would join the group.
        let _ = setsockopt(&self.first, sockopt::ReusePort, &false);
    }
}

fn start_listening(transport: Transport, address: &ListenAddress, shared: bool) -> io::Result<TcpListener> {
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
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, poll};

    use super::super::Socket;
    use super::*;

    fn wildcard() -> ListenAddress {
        ListenAddress { local: "[::]:0".parse().unwrap(), only_v6: false, device: None }
    }

    /// The kernel may hand a connection over a moment after it has told the other end.
    fn accepts(listener: &TcpListener) -> bool {
        let mut events = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut events, 2000_u16).unwrap() == 1 && listener.accept().is_ok()
    }

    #[test]
    fn a_dual_stack_listener_shows_plain_ipv4() {
        let Ok(listener) = listen_on(Transport::Tcp, &wildcard()) else { return };
        let port = listener.local_addr().unwrap().port();
        let near = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(Socket::from_stream(near).peer_addr().unwrap().to_string(), format!("127.0.0.1:{port}"));
    }

    #[test]
    fn a_diversion_takes_every_connection_and_then_none() {
        let Ok(first) = listen_on(Transport::Tcp, &wildcard()) else { return };
        let local = first.local_addr().unwrap();
        let address = ListenAddress { local, ..wildcard() };
        for transport in [Transport::Tcp, Transport::Mptcp] {
            if transport.check().is_err() {
                continue;
            }
            let (diversion, second) = Diversion::open(&first, transport, &address).unwrap();
            let connections: Vec<TcpStream> =
                (0..16).map(|_| TcpStream::connect(("127.0.0.1", local.port())).unwrap()).collect();
            assert!(connections.iter().all(|_| accepts(&second)), "{transport:?}");
            assert_eq!(first.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "{transport:?}");
            drop((second, diversion));
            let connections: Vec<TcpStream> =
                (0..16).map(|_| TcpStream::connect(("127.0.0.1", local.port())).unwrap()).collect();
            assert!(connections.iter().all(|_| accepts(&first)), "{transport:?}");
        }
    }
}
