//! UDP data streams: what both roles do with their sockets, and a client's side of the handshake.
//!
//! A client sends a word of four bytes to the server's port, and the server answers from a socket that from
//! then on hears and answers this client only (`udp_door.rs`). Nothing is repeated in the directions in which
//! an iperf3 server would take the repetition for a datagram of the test; a ringperf knows it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout, timeout_at};

use super::connect::{labelled, lease_flow_label};
use super::limits;
use super::router::Accepted;
use super::socket_options::{bind_device, mark_packets, set_buffers, set_pacing};
use super::way_out::bind_error;
use crate::config::{ClientConfig, Direction, Flow, TestConfig, UdpConfig};
use crate::error::RunError;
use crate::protocol::{ErrorCode, Extension, UDP_CONNECT, UDP_REPLY, is_udp_connect, is_udp_reply};
use crate::sys::{Socket, tells_of_the_way};

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
/// Attempts to answer a word; each takes an ICMP message off, and anybody can send those.
const ANSWER_ATTEMPTS: u32 = 8;
/// Most messages of a stream that are looked at for a repeated word at a time.
const WORDS_AGAIN_MAX: u32 = 64;

/// How often the word is said until there is an answer; `None` if it is said once.
pub(super) fn say_again(test: &TestConfig, extension: Extension) -> Option<Duration> {
    if extension.is_spoken() {
        return Some(limits::UDP_REPEAT_TO_RINGPERF);
    }
    // A server that never reads from the stream cannot count a repetition.
    (test.direction == Direction::Reverse).then_some(limits::UDP_REPEAT)
}

/// Opens UDP stream number `index` of a client, whose word is said every `again`. `started` is notified when
/// the server has said that it has all streams of the test.
pub(super) async fn connect_stream(
    config: &ClientConfig,
    test: &TestConfig,
    server: SocketAddr,
    (index, flow, again): (u16, Flow, Option<Duration>),
    started: &Notify,
) -> Result<Socket, RunError> {
    let failed = |source| RunError::StreamConnect { address: server.to_string(), source };
    let socket = Socket::new_udp(&server).map_err(failed)?;
    bind_device(&socket, &config.local)?;
    if let Some(local) = config.stream_address(&server, index) {
        socket.bind(local).map_err(|source| bind_error(ErrorCode::STREAM_CONNECT, local, source))?;
    }
    prepare(&socket, test, flow, &server)?;
    // As in iperf3 a flow label is no mistake in a test over IPv4, if that is a UDP test.
    if server.is_ipv6() {
        lease_flow_label(&socket, config, server)?;
    }
    socket.connect_udp(labelled(server, config)).map_err(failed)?;
    // With a port of its own choice the socket has heard everybody up to now.
    forget_received(&socket);
    // Unknown to an old kernel, which does not say it at the end either.
    let drops_before = socket.socket_drops().unwrap_or(0);
    let socket = UdpSocket::from_std(socket.into_udp()).map_err(failed)?;
    let handshake = Handshake {
        socket: &socket,
        again,
        datagram_bytes: (flow == Flow::Receive).then_some(test.block.bytes),
    };
    match timeout(limits::UDP_REPLY, handshake.shake(started)).await {
        Ok(Ok(())) => {
            let socket = Socket::from_udp(socket.into_std().map_err(failed)?);
            Ok(socket.with_drops_before(drops_before))
        }
        Ok(Err(source)) if source.kind() == io::ErrorKind::ConnectionRefused => {
            Err(RunError::UdpClosed { server })
        }
        Ok(Err(source)) => Err(failed(source)),
        Err(_) => Err(RunError::UdpSilent { server, after: limits::UDP_REPLY }),
    }
}

/// A client's side of the handshake of one stream.
struct Handshake<'a> {
    socket: &'a UdpSocket,
    /// How often the word may be said.
    again: Option<Duration>,
    /// What the server sends on this stream when the test runs.
    datagram_bytes: Option<u32>,
}

impl Handshake<'_> {
    /// Sends the word and waits for the answer, or for what a server only does that has heard the word: the
    /// answer may be lost. Whatever else comes is skipped.
    ///
    /// Anybody on the way can say that the port is closed, so the answer has a moment to come all the same.
    async fn shake(&self, started: &Notify) -> io::Result<()> {
        let mut unreachable = self.say().await?;
        let mut has_started = false;
        let pause = self.again.unwrap_or(limits::UDP_REPEAT);
        let mut next = Instant::now() + pause;
        loop {
            let heard = tokio::select! {
                biased;
                heard = timeout_at(next.into(), self.hear()) => heard,
                () = started.notified(), if !has_started => {
                    // An answer that is late would be taken for something else.
                    has_started = true;
                    next = Instant::now() + limits::LAST_WORDS;
                    continue;
                }
            };
            match heard {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    let error = only_of_the_way(error)?;
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
                    if self.again.is_some() {
                        unreachable = self.say().await?;
                    }
                }
            }
        }
    }

    /// Sends the word. What the system reports instead of sending it may be about something earlier.
    async fn say(&self) -> io::Result<Option<io::Error>> {
        let Err(error) = self.socket.send(&UDP_CONNECT).await else { return Ok(None) };
        let error = only_of_the_way(error)?;
        Ok(self.socket.send(&UDP_CONNECT).await.err().map(|_| error))
    }

    /// Takes the next datagram: whether it shows that the server has heard the word. The first of the test
    /// does, and stays where it is.
    async fn hear(&self) -> io::Result<bool> {
        let mut word = [0; WORD_ROOM];
        if let Some(datagram_bytes) = self.datagram_bytes {
            let mut datagram = vec![0; usize::try_from(datagram_bytes).expect("it fits a usize") + 1];
            let bytes = self.socket.peek(&mut datagram).await?;
            if u32::try_from(bytes) == Ok(datagram_bytes) {
                return Ok(true);
            }
        }
        let bytes = self.socket.recv(&mut word).await?;
        Ok(is_udp_reply(&word[..bytes]))
    }
}

/// Lets only an error pass that tells of the way to the peer.
fn only_of_the_way(error: io::Error) -> io::Result<io::Error> {
    if error.raw_os_error().is_some_and(tells_of_the_way) { Ok(error) } else { Err(error) }
}

/// Answers a word. What the system reports instead of sending may be about something earlier.
pub(super) fn answer(socket: &Socket) -> io::Result<()> {
    let mut answered = socket.send(&UDP_REPLY);
    for _ in 1..ANSWER_ATTEMPTS {
        match answered {
            Err(error) => answered = only_of_the_way(error).and_then(|_| socket.send(&UDP_REPLY)),
            Ok(_) => break,
        }
    }
    answered.map(drop)
}

/// Throws away whatever a stream has received before the test began.
pub(super) fn forget_received(socket: &Socket) {
    socket.forget_received(FORGOTTEN_MAX);
}

/// Answers words that come again on streams that are there already: the answer may have been lost. What else
/// comes there is thrown away, since nobody has a right to send yet.
pub(super) async fn answer_words_again(streams: &[Accepted]) -> Infallible {
    loop {
        sleep(limits::UDP_ANSWER_AGAIN).await;
        streams.iter().for_each(|stream| answer_again(&stream.socket));
    }
}

/// Answers each word that has come to a stream which was answered before.
fn answer_again(socket: &Socket) {
    let mut word = [0; WORD_ROOM];
    for _ in 0..WORDS_AGAIN_MAX {
        match socket.receive_now(&mut word) {
            Ok(bytes) if is_udp_connect(&word[..bytes]) => {
                // A client that hears nothing says it once more.
                let _ = answer(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // A pending error is about the answer that did not arrive.
            Ok(_) | Err(_) => {}
        }
    }
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
