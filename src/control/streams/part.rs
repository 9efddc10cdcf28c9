//! The connection on which two ringperfs exchange their parts, see `protocol/extension/`.
//!
//! It is made when all messages of iperf3's protocol have passed, and when it fails, the peer's part is
//! missing and nothing else. Its segments are small in both directions, since there are paths that drop large
//! ones silently, and the messages of an iperf3 fit into small ones.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::connect_from;
use crate::config::LocalConfig;
use crate::control::base::limits;
use crate::control::base::socket_options::bind_device;
use crate::control::serve::router::IncomingStreams;
use crate::error::SetupError;
use crate::protocol::Cookie;
use crate::sys::{Socket, Transport, error_message};

/// Payload of the largest segment: what every path carries (RFC 9293, 3.7.1).
const SEGMENT_BYTES: u32 = 536;

/// Why the peer's part is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartLost {
    #[error("nothing came within {} seconds", limits::PART.as_secs())]
    Late,
    #[error("it was announced with {0} bytes, and {most} are allowed", most = limits::PART_BYTES)]
    TooLong(u32),
    #[error("the connection was closed before it was complete")]
    Closed,
    #[error("{}", error_message(.0))]
    System(io::Error),
    #[error("{0}")]
    Option(#[from] SetupError),
}

impl From<io::Error> for PartLost {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::System(error) }
    }
}

/// Connects from `from` to `server`, the addresses of the control connection, sends this end's part and
/// returns the server's.
pub(crate) async fn swap_with_server(
    local: &LocalConfig,
    (from, server): (SocketAddr, SocketAddr),
    cookie: &Cookie,
    own: &str,
) -> Result<Vec<u8>, PartLost> {
    let deadline = Instant::now() + limits::PART;
    let swap = async {
        let socket = Socket::new_stream(Transport::Tcp, &server)?;
        bind_device(&socket, local)?;
        // The handshake tells it to the server, so it must be set before.
        socket.set_mss(SEGMENT_BYTES)?;
        let socket = connect_from(socket, from, server).await?;
        let mut stream = TcpStream::from_std(socket.into_stream())?;
        let (mut input, mut output) = stream.split();
        let tell = async {
            output.write_all(cookie.as_bytes()).await?;
            write_frame(&mut output, own).await?;
            output.shutdown().await
        };
        // A server that closes before it has read everything may have sent its part all the same.
        let (_, heard) = tokio::join!(tell, read_frame(&mut input));
        Ok((heard?, stream))
    };
    let (heard, mut stream) = timeout_at(deadline, swap).await.unwrap_or(Err(PartLost::Late))?;
    // The server closes when it has read everything. It ends the test at the client's last message, which
    // must not overtake the part.
    let _ = timeout_at(deadline, stream.read(&mut [0])).await;
    Ok(heard)
}

/// Takes one connection from `client`, sends this end's part on it and returns the client's.
pub(crate) async fn swap_with_client(
    mut incoming: IncomingStreams,
    client: IpAddr,
    own: &str,
) -> Result<Vec<u8>, PartLost> {
    let socket = loop {
        let socket = incoming.next().await.socket;
        // Another host may have seen the cookie.
        if socket.peer_addr().is_ok_and(|peer| peer.ip().to_canonical() == client.to_canonical()) {
            break socket;
        }
    };
    drop(incoming);
    let swap = async {
        let mut stream = TcpStream::from_std(socket.into_stream())?;
        let (mut input, mut output) = stream.split();
        // A part that is too long is not read, and then nothing needs to be sent.
        let (heard, ()) = tokio::try_join!(read_frame(&mut input), async {
            write_frame(&mut output, own).await.map_err(PartLost::from)
        })?;
        Ok(heard)
    };
    timeout(limits::PART, swap).await.unwrap_or(Err(PartLost::Late))
}

async fn write_frame(output: &mut (impl AsyncWriteExt + Unpin), text: &str) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(text.as_bytes());
    output.write_all(&frame).await
}

async fn read_frame(input: &mut (impl AsyncReadExt + Unpin)) -> Result<Vec<u8>, PartLost> {
    let length = input.read_u32().await?;
    if !(1..=limits::PART_BYTES).contains(&length) {
        return Err(PartLost::TooLong(length));
    }
    // Memory is taken as the bytes come, not as they are promised.
    let mut frame = Vec::new();
    input.take(length.into()).read_to_end(&mut frame).await?;
    if u32::try_from(frame.len()) != Ok(length) {
        return Err(PartLost::Closed);
    }
    Ok(frame)
}
