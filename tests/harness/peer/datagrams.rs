//! UDP by hand: the words of the handshake, the datagrams of a test, and sockets to send them from.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use crate::harness::{Checked, Failure, ensure};

/// What a client connects a stream with, and every other spelling of it: of big-endian machines, and of old
/// versions on machines of both kinds.
pub const CONNECTS: [[u8; 4]; 4] = [*b"9876", *b"6789", [0x15, 0xCD, 0x5B, 0x07], [0x07, 0x5B, 0xCD, 0x15]];
/// What a server answers, and every other spelling of it.
pub const REPLIES: [[u8; 4]; 4] = [*b"6789", *b"9876", [0xB1, 0x68, 0xDE, 0x3A], [0x3A, 0xDE, 0x68, 0xB1]];

/// What a ringperf says to a ringperf first: with the cookie of its test, and what it was asked to repeat.
pub fn named(cookie: &[u8; 37], echo: [u8; 8]) -> Vec<u8> {
    [&CONNECTS[0][..], cookie, &echo].concat()
}

/// Longest wait for a datagram.
const READ_LIMIT: Duration = Duration::from_secs(4);

/// What a datagram of a test begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub seconds: u32,
    pub microseconds: u32,
    pub sequence: u64,
}

impl Header {
    pub fn numbered(sequence: u64) -> Self {
        Self { sequence, ..Self::default() }
    }

    /// A datagram of `length` bytes, with a number of 64 bits or with the lower 32 of it.
    pub fn datagram(self, length: usize, is_wide: bool) -> Vec<u8> {
        let number = self.sequence.to_be_bytes();
        let number = if is_wide { &number[..] } else { &number[4..] };
        let mut bytes = [&self.seconds.to_be_bytes()[..], &self.microseconds.to_be_bytes(), number].concat();
        bytes.resize(length, b'x');
        bytes
    }

    pub fn read(datagram: &[u8], is_wide: bool) -> Checked<Self> {
        let word = |at: usize| {
            let bytes = datagram.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or_else(|| Failure(format!("no header: {datagram:?}")))
        };
        let sequence = match is_wide {
            true => u64::from(word(8)?) << 32 | u64::from(word(12)?),
            false => u64::from(word(8)?),
        };
        Ok(Self { seconds: word(0)?, microseconds: word(4)?, sequence })
    }
}

/// A socket with a port of its own on this address.
pub fn socket_on(address: impl Into<IpAddr>) -> Checked<UdpSocket> {
    let socket = UdpSocket::bind((address.into(), 0))?;
    socket.set_read_timeout(Some(READ_LIMIT))?;
    Ok(socket)
}

/// What is no word of the handshake, in every length that may matter; about 70 KiB in all, so that it fits
/// into any receive buffer.
pub fn noise() -> Vec<Vec<u8>> {
    let mut noise: Vec<Vec<u8>> = [0, 1, 3, 4, 5, 12, 16, 100, 1460].map(|length| vec![0; length]).into();
    noise.extend([1, 2, u64::MAX].map(|number| Header::numbered(number).datagram(100, true)));
    noise.extend([b"98765".to_vec(), b"987".to_vec(), vec![0xFF; 65_507]]);
    noise
}

/// Sends to a port that may be closed, so that the system reports an error of an earlier datagram.
pub fn send_anyhow(socket: &UdpSocket, port: u16, datagrams: &[Vec<u8>]) -> Checked {
    for datagram in datagrams {
        while let Err(error) = socket.send_to(datagram, ("127.0.0.1", port)) {
            let is_late = error.kind() == io::ErrorKind::ConnectionRefused;
            ensure!(is_late, "cannot send {} bytes: {error}", datagram.len());
        }
    }
    Ok(())
}

/// Nothing has come to this socket up to now.
pub fn got_nothing(socket: &UdpSocket) -> Checked {
    socket.set_nonblocking(true)?;
    let mut bytes = [0; 100];
    match socket.recv_from(&mut bytes) {
        Ok((count, source)) => Err(Failure(format!("{source} sent {:?}", &bytes[..count]))),
        Err(_) => Ok(()),
    }
}
