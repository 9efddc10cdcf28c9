//! UDP data streams: the handshake of both roles, one stream after the other.
//!
//! A client sends a word of four bytes to the server's port, and the server answers from a socket that from
//! then on hears and answers this client only. Nothing is repeated in the directions in which an iperf3
//! server would take the repetition for a datagram of the test.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::time::{timeout, timeout_at};

use super::connect::{labelled, lease_flow_label};
use super::limits;
use super::socket_options::{bind_device, mark_packets, set_buffers, set_pacing};
use crate::config::{ClientConfig, Direction, Flow, LocalConfig, TestConfig, UdpConfig};
use crate::error::RunError;
use crate::protocol::{ErrorCode, UDP_CONNECT, UDP_REPLY, is_udp_connect, is_udp_reply};
use crate::sys::{Socket, unmap};

/// A datagram of the handshake has four bytes; more is read to see that a longer one is no such datagram.
const WORD_ROOM: usize = 8;
/// Receive buffer of a stream whose user has not chosen one: some milliseconds of a fast link, so that a
/// short pause of the receiver costs nothing ...
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024 * 1024;
/// ... and of all streams of one direction together.
const ALL_RECEIVE_BUFFERS_BYTES: u32 = 64 * 1024 * 1024;
/// Bytes that a socket buffer needs besides one datagram, as iperf3 reckons.
const BUFFER_MARGIN_BYTES: u32 = 1024;
/// Most messages that are thrown away before a stream is used.
const FORGOTTEN_MAX: u32 = 100_000;

/// Opens UDP stream number `index` of a client.
pub(super) async fn connect_stream(
    config: &ClientConfig,
    test: &TestConfig,
    server: SocketAddr,
    (index, flow): (u16, Flow),
) -> Result<Socket, RunError> {
    let failed = |source| RunError::StreamConnect { address: server.to_string(), source };
    let socket = Socket::new_udp(&server).map_err(failed)?;
    bind_device(&socket, &config.local)?;
    if let Some(local) = config.stream_address(&server, index) {
        socket.bind(local).map_err(failed)?;
    }
    prepare(&socket, test, flow, &server)?;
    // As in iperf3 a flow label is no mistake in a test over IPv4, if that is a UDP test.
    if server.is_ipv6() {
        lease_flow_label(&socket, config, server)?;
    }
    socket.connect_udp(labelled(server, config)).map_err(failed)?;
    // With a port of its own choice the socket has heard everybody up to now.
    forget_received(&socket);
    let socket = UdpSocket::from_std(socket.into_udp()).map_err(failed)?;
    // Only a server that never reads from the stream can take a repetition.
    let may_repeat = test.direction == Direction::Reverse;
    match timeout(limits::UDP_REPLY, shake_hands(&socket, may_repeat)).await {
        Ok(Ok(())) => Ok(Socket::from_udp(socket.into_std().map_err(failed)?)),
        Ok(Err(source)) if source.kind() == io::ErrorKind::ConnectionRefused => {
            Err(RunError::UdpClosed { server })
        }
        Ok(Err(source)) => Err(failed(source)),
        Err(_) => Err(RunError::UdpSilent { server, after: limits::UDP_REPLY }),
    }
}

/// Sends the word and waits for the answer; whatever else comes is skipped.
async fn shake_hands(socket: &UdpSocket, may_repeat: bool) -> io::Result<()> {
    socket.send(&UDP_CONNECT).await?;
    let mut next = Instant::now() + limits::UDP_REPEAT;
    let mut word = [0; WORD_ROOM];
    loop {
        match timeout_at(next.into(), socket.recv(&mut word)).await {
            Ok(Ok(bytes)) if is_udp_reply(&word[..bytes]) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                next += limits::UDP_REPEAT;
                if may_repeat {
                    socket.send(&UDP_CONNECT).await?;
                }
            }
        }
    }
}

/// Where a server waits for the UDP streams of a test.
pub(super) struct UdpDoor<'a> {
    local: &'a LocalConfig,
    /// The address that the client has connected its control connection to, so that answers come from there.
    address: SocketAddr,
    /// The only address whose datagrams count, and the only one that is ever answered.
    client: IpAddr,
    /// Hears everybody. `None` when the last stream has come in.
    socket: Option<UdpSocket>,
}

impl<'a> UdpDoor<'a> {
    /// Opens the door; the client may be told to come.
    pub(super) fn open(
        address: SocketAddr,
        client: IpAddr,
        local: &'a LocalConfig,
    ) -> Result<Self, RunError> {
        Ok(Self { local, address, client, socket: Some(bind(address, local)?) })
    }

    /// Waits for the client's next word and answers it, from a socket for this stream alone. Behind the last
    /// stream the door is shut.
    ///
    /// # Panics
    /// When the door is shut.
    pub(super) async fn next(
        &mut self,
        test: &TestConfig,
        flow: Flow,
        last: bool,
    ) -> Result<Socket, RunError> {
        let failed = |source| RunError::System { what: "accepting a UDP stream", source };
        let socket = self.socket.as_ref().expect("nobody waits behind the last stream");
        let source = next_word(socket, self.client).await;
        socket.connect(source).await.map_err(failed)?;
        let next = if last { None } else { Some(bind(self.address, self.local)?) };
        let socket = std::mem::replace(&mut self.socket, next).expect("it was there a moment ago");
        let socket = Socket::from_udp(socket.into_std().map_err(failed)?);
        prepare(&socket, test, flow, &source)?;
        // What came before the socket had a peer may be anybody's.
        socket.forget_received(FORGOTTEN_MAX);
        // The kernel has room for four bytes; a lost answer is the client's to notice.
        socket.send(&UDP_REPLY).map_err(failed)?;
        Ok(socket)
    }
}

/// Where the client's next word comes from; whatever else comes is dropped.
async fn next_word(socket: &UdpSocket, client: IpAddr) -> SocketAddr {
    let mut word = [0; WORD_ROOM];
    loop {
        // An error tells of an earlier answer that did not arrive, if anything.
        if let Ok((bytes, source)) = socket.recv_from(&mut word).await
            && unmap(source).ip() == client
            && is_udp_connect(&word[..bytes])
        {
            return source;
        }
    }
}

/// Throws away whatever a stream has received before the test began.
pub(super) fn forget_received(socket: &Socket) {
    socket.forget_received(FORGOTTEN_MAX);
}

fn bind(address: SocketAddr, local: &LocalConfig) -> Result<UdpSocket, RunError> {
    let failed = |source| RunError::UdpListen { address: address.to_string(), source };
    let socket = Socket::new_udp(&address).map_err(failed)?;
    bind_device(&socket, local)?;
    socket.bind(address).map_err(failed)?;
    // Who floods the door should not keep the client out of it.
    socket.grow_receive_buffer(RECEIVE_BUFFER_BYTES);
    UdpSocket::from_std(socket.into_udp()).map_err(failed)
}

/// Options of a data socket.
fn prepare(socket: &Socket, test: &TestConfig, flow: Flow, peer: &SocketAddr) -> Result<(), RunError> {
    set_buffers(socket, &test.socket)?;
    set_pacing(socket, &test.socket)?;
    mark_packets(socket, &test.socket, peer)?;
    if test.socket.window_bytes.is_none() {
        let least = test.block.bytes + BUFFER_MARGIN_BYTES;
        let wanted = RECEIVE_BUFFER_BYTES.min(ALL_RECEIVE_BUFFERS_BYTES / test.parallel).max(least);
        socket.grow_send_buffer(least);
        socket.grow_receive_buffer(if flow == Flow::Receive { wanted } else { least });
    }
    let UdpConfig { dont_fragment, .. } = test.protocol.udp().unwrap_or_default();
    // As in iperf3 it is a matter of IPv4: routers never fragment IPv6.
    if dont_fragment && socket.local_addr().is_ok_and(|local| local.is_ipv4()) {
        socket.set_dont_fragment().map_err(|source| RunError::SocketOption {
            what: "setting the don't-fragment flag".to_owned(),
            code: ErrorCode::DONT_FRAGMENT,
            source,
        })?;
    }
    Ok(())
}
