//! UDP data streams: the options of their sockets in both roles, and a client's side of the handshake.
//!
//! A client sends a *connect* to the server's port, and the server *replies* from a socket that from then on
//! receives from this client only (`udp_demux.rs`). To an iperf3 the connect has four bytes, to a ringperf
//! also the cookie of the test. It is not repeated in the directions in which an iperf3 server would take the
//! repetition for a datagram of the test; a ringperf recognises it.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout, timeout_at};

use super::connect::{labelled, lease_flow_label};
use crate::config::{ClientConfig, Direction, Flow, LocalConfig, TestConfig, UdpConfig};
use crate::control::base::fixes::bind_error;
use crate::control::base::limits;
use crate::control::base::socket_options::{
    bind_device, mark_packets, set_buffers, set_busy_poll, set_pacing,
};
use crate::control::serve::router::Accepted;
use crate::error::{PeerError, RunError, SetupError};
use crate::protocol::{Cookie, ErrorCode, Extension, UDP_REPLY, UdpChallenge, UdpConnect, is_udp_reply};
use crate::sys::{Socket, is_path_error};

/// Bytes that are read of a datagram of the handshake: one more than the longest connect has, so that a
/// longer datagram is not taken for one.
pub(super) const CONNECT_BUFFER_BYTES: usize = UdpConnect::NAMED_BYTES + 1;
/// Bytes of the receive buffer of a stream whose user has not chosen a size: some milliseconds of a fast
/// link, so that a short pause of the receiver costs nothing.
pub(super) const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes of the receive buffers of all streams of one direction together, where the user has not chosen.
const ALL_RECEIVE_BUFFERS_BYTES: u32 = 64 * 1024 * 1024;
/// Bytes that a socket buffer needs besides one datagram, as iperf3 reckons.
const BUFFER_MARGIN_BYTES: u32 = 1024;
/// Most messages that are discarded before a stream is used.
pub(super) const DISCARDED_MAX: u32 = 100_000;
/// Attempts to reply to a connect. Each failed one takes one ICMP error off the socket, and anybody can send
/// those.
const ANSWER_ATTEMPTS: u32 = 8;
/// Most messages of a stream that are read at a time in search of a repeated connect.
const REPEATED_CONNECTS_MAX: u32 = 64;

/// The connect with which a client opens its streams, and how often it is repeated.
#[derive(Clone, Copy)]
pub(crate) struct ConnectPlan {
    connect: UdpConnect,
    /// Time between two connects until a reply comes; `None` if it is sent once.
    repeat: Option<Duration>,
}

impl ConnectPlan {
    /// The connect that a server expects that understands `extension`.
    pub(crate) fn to(test: &TestConfig, extension: Extension, cookie: &Cookie) -> Self {
        let repeat = match test.direction {
            _ if extension.is_spoken() => Some(limits::UDP_REPEAT_TO_RINGPERF),
            // A server that never reads from the stream cannot count a repetition.
            Direction::Reverse => Some(limits::UDP_REPEAT),
            Direction::Forward | Direction::Bidir => None,
        };
        Self { connect: UdpConnect::first(extension.names_tests_in_connects().then_some(*cookie)), repeat }
    }
}

/// Opens UDP stream number `index`, from 0, of a client. `started` is notified when the server has said that
/// it has all streams of the test.
pub(crate) async fn connect_stream(
    config: &ClientConfig,
    test: &TestConfig,
    server: SocketAddr,
    (index, flow, plan): (u16, Flow, ConnectPlan),
    started: &Notify,
) -> Result<Socket, RunError> {
    let failed = |source| PeerError::StreamConnect { address: server.to_string(), source };
    let socket = Socket::new_udp(&server).map_err(failed)?;
    bind_device(&socket, &config.local)?;
    if let Some(local) = config.stream_address(&server, index) {
        socket.bind(local).map_err(|source| bind_error(ErrorCode::STREAM_CONNECT, local, source))?;
    }
    prepare(&socket, (test, &config.local), flow, &server)?;
    // As in iperf3 a flow label is no mistake in a test over IPv4, if that is a UDP test.
    if server.is_ipv6() {
        lease_flow_label(&socket, config, server)?;
    }
    socket.connect_udp(labelled(server, config)).map_err(failed)?;
    // With a port of the system's choice the socket has received from everybody up to now.
    discard_received(&socket);
    // An old kernel does not tell it, neither here nor at the end.
    let drops_before = socket.socket_drops().unwrap_or(0);
    let socket = UdpSocket::from_std(socket.into_udp()).map_err(failed)?;
    let handshake = Handshake {
        socket: &socket,
        connect: Cell::new(plan.connect),
        repeat: plan.repeat,
        datagram_bytes: (flow == Flow::Receive).then_some(test.block.bytes),
    };
    match timeout(limits::UDP_REPLY, handshake.run(started)).await {
        Ok(Ok(())) => {
            let socket = Socket::from_udp(socket.into_std().map_err(failed)?);
            Ok(socket.with_drops_before(drops_before))
        }
        Ok(Err(source)) if source.kind() == io::ErrorKind::ConnectionRefused => {
            Err(PeerError::UdpClosed { server }.into())
        }
        Ok(Err(source)) => Err(failed(source).into()),
        Err(_) => Err(PeerError::UdpSilent { server, after: limits::UDP_REPLY }.into()),
    }
}

/// A client's side of the handshake of one stream.
struct Handshake<'a> {
    socket: &'a UdpSocket,
    connect: Cell<UdpConnect>,
    /// Time between two connects; `None` if it is sent once.
    repeat: Option<Duration>,
    /// Bytes of the datagrams that the server sends on this stream when the test runs; `None` if it sends
    /// none.
    datagram_bytes: Option<u32>,
}

/// A datagram that has come to a client that waits for the reply.
enum HandshakeReply {
    /// The reply, or a datagram of the test: the server has received the connect.
    Answer,
    /// The server has received the connect, and wants proof that this address is the client's.
    Challenge(UdpChallenge),
    /// Any other datagram.
    Noise,
}

impl Handshake<'_> {
    /// Sends the connect and waits for the reply, or for another sign that the server has received the
    /// connect, since the reply may be lost. Other datagrams are skipped.
    ///
    /// Anybody on the path can say that the port is closed, so the reply has a moment to come all the same.
    async fn run(&self, started: &Notify) -> io::Result<()> {
        let mut unreachable = self.send_connect().await?;
        let mut has_started = false;
        let pause = self.repeat.unwrap_or(limits::UDP_REPEAT);
        let mut next = Instant::now() + pause;
        loop {
            let reply = tokio::select! {
                biased;
                reply = timeout_at(next.into(), self.receive_reply()) => reply,
                () = started.notified(), if !has_started => {
                    // A reply that comes later would be taken for a datagram of the test.
                    has_started = true;
                    next = Instant::now() + limits::FAILURE_REASON;
                    continue;
                }
            };
            match reply {
                Ok(Ok(HandshakeReply::Answer)) => return Ok(()),
                Ok(Ok(HandshakeReply::Challenge(challenge))) => {
                    if self.adopts(challenge) {
                        unreachable = self.send_connect().await?;
                    }
                }
                Ok(Ok(HandshakeReply::Noise)) => {}
                Ok(Err(error)) => {
                    let error = pass_path_error(error)?;
                    if unreachable.is_none() && !has_started {
                        unreachable = Some(error);
                        next = Instant::now() + limits::UDP_REFUSED;
                    }
                }
                Err(_) if has_started => return Ok(()),
                Err(_) => {
                    if let Some(error) = unreachable {
                        return Err(error);
                    }
                    next += pause;
                    if self.repeat.is_some() {
                        unreachable = self.send_connect().await?;
                    }
                }
            }
        }
    }

    /// Sends the connect. The error of a first attempt may be about an earlier datagram, so there is a second
    /// one; only if both fail is the first error returned.
    async fn send_connect(&self) -> io::Result<Option<io::Error>> {
        let connect = self.connect.get().encode();
        let Err(error) = self.socket.send(&connect).await else { return Ok(None) };
        let error = pass_path_error(error)?;
        Ok(self.socket.send(&connect).await.err().map(|_| error))
    }

    /// Has the connect echo a challenge from now on, and says whether it is another challenge than before. An
    /// echo that was lost is sent again in its time, so that a server cannot make this client send more
    /// datagrams than it sends itself.
    fn adopts(&self, challenge: UdpChallenge) -> bool {
        match self.connect.get() {
            UdpConnect::Named { cookie, echo } if echo != challenge => {
                self.connect.set(UdpConnect::Named { cookie, echo: challenge });
                true
            }
            _ => false,
        }
    }

    /// Receives the next datagram. The first one of the test is left in the socket; it shows as well that the
    /// server has received the connect.
    async fn receive_reply(&self) -> io::Result<HandshakeReply> {
        let mut buffer = [0; CONNECT_BUFFER_BYTES];
        if let Some(datagram_bytes) = self.datagram_bytes {
            let mut datagram = vec![0; usize::try_from(datagram_bytes).expect("it fits a usize") + 1];
            let bytes = self.socket.peek(&mut datagram).await?;
            if u32::try_from(bytes) == Ok(datagram_bytes) {
                return Ok(HandshakeReply::Answer);
            }
        }
        let bytes = self.socket.recv(&mut buffer).await?;
        Ok(match UdpChallenge::decode(&buffer[..bytes]) {
            Some(challenge) => HandshakeReply::Challenge(challenge),
            None if is_udp_reply(&buffer[..bytes]) => HandshakeReply::Answer,
            None => HandshakeReply::Noise,
        })
    }
}

/// The error itself if it only tells of the path to the peer.
fn pass_path_error(error: io::Error) -> io::Result<io::Error> {
    if error.raw_os_error().is_some_and(is_path_error) { Ok(error) } else { Err(error) }
}

/// Replies to a connect. An error that only tells of the path to the peer may be about an earlier datagram,
/// so there are several attempts.
pub(crate) fn answer(socket: &Socket) -> io::Result<()> {
    let mut answered = socket.send(&UDP_REPLY);
    for _ in 1..ANSWER_ATTEMPTS {
        match answered {
            Err(error) => answered = pass_path_error(error).and_then(|_| socket.send(&UDP_REPLY)),
            Ok(_) => break,
        }
    }
    answered.map(drop)
}

/// Discards all datagrams that a stream has received before the test begins.
pub(crate) fn discard_received(socket: &Socket) {
    socket.discard_received(DISCARDED_MAX);
}

/// Replies to connects that come again on streams that are open already, since the reply may have been lost.
/// Other datagrams are discarded, since nobody has a right to send yet. With a `cookie` the connects must
/// have it.
pub(crate) async fn answer_repeated_connects(streams: &[Accepted], cookie: Option<&Cookie>) -> Infallible {
    loop {
        sleep(limits::UDP_ANSWER_AGAIN).await;
        streams.iter().for_each(|stream| answer_repeats(&stream.socket, cookie));
    }
}

/// Replies to each connect of the test that has come to a stream that is open already.
fn answer_repeats(socket: &Socket, cookie: Option<&Cookie>) {
    let mut buffer = [0; CONNECT_BUFFER_BYTES];
    for _ in 0..REPEATED_CONNECTS_MAX {
        match socket.receive_now(&mut buffer) {
            Ok(bytes)
                if UdpConnect::decode(&buffer[..bytes]).is_some_and(|connect| connect.is_of(cookie)) =>
            {
                // A client that gets no reply sends its connect once more.
                let _ = answer(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // A pending error is about the reply that did not arrive.
            Ok(_) | Err(_) => {}
        }
    }
}

/// Sets the options of a data socket.
pub(crate) fn prepare(
    socket: &Socket,
    (test, local): (&TestConfig, &LocalConfig),
    flow: Flow,
    peer: &SocketAddr,
) -> Result<(), SetupError> {
    set_busy_poll(socket, local)?;
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
        socket.set_dont_fragment().map_err(|source| SetupError::SocketOption {
            what: "setting the don't-fragment flag".to_owned(),
            code: ErrorCode::DONT_FRAGMENT,
            source,
        })?;
    }
    Ok(())
}
