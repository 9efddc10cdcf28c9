//! UDP data streams: what both roles do with their sockets, and a client's side of the handshake.
//!
//! A client sends a word of four bytes to the server's port, and the server answers from a socket that from
//! then on hears and answers this client only (`udp_door.rs`). Nothing is repeated in the directions in which
//! an iperf3 server would take the repetition for a datagram of the test.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::time::{timeout, timeout_at};

use super::connect::{labelled, lease_flow_label};
use super::limits;
use super::socket_options::{bind_device, mark_packets, set_buffers, set_pacing};
use crate::config::{ClientConfig, Direction, Flow, TestConfig, UdpConfig};
use crate::error::RunError;
use crate::protocol::{ErrorCode, UDP_CONNECT, is_udp_reply};
use crate::sys::Socket;

/// A datagram of the handshake has four bytes; more is read to see that a longer one is no such datagram.
pub(super) const WORD_ROOM: usize = 8;
/// Receive buffer of a stream whose user has not chosen one: some milliseconds of a fast link, so that a
/// short pause of the receiver costs nothing ...
pub(super) const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024 * 1024;
/// ... and of all streams of one direction together.
const ALL_RECEIVE_BUFFERS_BYTES: u32 = 64 * 1024 * 1024;
/// Bytes that a socket buffer needs besides one datagram, as iperf3 reckons.
const BUFFER_MARGIN_BYTES: u32 = 1024;
/// Most messages that are thrown away before a stream is used.
pub(super) const FORGOTTEN_MAX: u32 = 100_000;

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

/// Throws away whatever a stream has received before the test began.
pub(super) fn forget_received(socket: &Socket) {
    socket.forget_received(FORGOTTEN_MAX);
}

/// Options of a data socket.
pub(super) fn prepare(
    socket: &Socket,
    test: &TestConfig,
    flow: Flow,
    peer: &SocketAddr,
) -> Result<(), RunError> {
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
