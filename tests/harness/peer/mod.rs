//! The other end of a test, by hand: it speaks the protocol independently of the library.
//!
//! [`wire`] and [`datagrams`] have its words, [`request`] what a client asks for. The honest [`client`] and
//! [`server`] keep to the protocol up to any point; what hostile peers do is a deviation from them. What is
//! [`served`] still does its work, and [`count`] is what it has counted. A [`bridge`] stands between two real
//! ends. Chance is that of [`random`].

pub mod bridge;
pub mod client;
pub mod count;
pub mod datagrams;
pub mod random;
pub mod request;
pub mod served;
pub mod server;
pub mod wire;

use std::io::ErrorKind;
use std::net::{Shutdown, UdpSocket};
use std::time::Duration;

use crate::harness::{Checked, Failure};
use wire::Wire;

/// What is spoken on.
pub enum Connection {
    Tcp(Wire),
    Udp(UdpSocket),
}

impl Connection {
    /// Ends a connection for background readers, too.
    pub fn shut(&self) {
        if let Self::Tcp(wire) = self {
            // Fails when the peer has ended it.
            let _ = wire.0.shutdown(Shutdown::Both);
        }
    }

    /// A peer that hangs up meanwhile is what many cases are about.
    pub fn send(&mut self, bytes: &[u8]) -> Checked {
        match self {
            Self::Tcp(wire) => wire.send_anyhow(bytes),
            Self::Udp(socket) => {
                let _ = socket.send(bytes);
            }
        }
        Ok(())
    }

    /// One byte, then a wait for the peer's end, and so on.
    pub fn drip(&mut self, pause: Duration, bytes: &[u8]) -> Checked {
        let Self::Tcp(wire) = self else { return Err(Failure("datagrams do not drip".to_owned())) };
        wire.0.set_read_timeout(Some(pause))?;
        let mut answer = [0; 1];
        for byte in bytes {
            wire.send_anyhow(&[*byte]);
            match wire.0.peek(&mut answer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Whatever it is, the next step is about it.
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

/// The connections of one end by the names that cases have for them.
fn by_name(control: Wire, streams: Vec<Wire>) -> Vec<(String, Connection)> {
    let streams = streams.into_iter().enumerate();
    let mut all: Vec<_> =
        streams.map(|(index, stream)| (format!("stream{}", index + 1), Connection::Tcp(stream))).collect();
    all.push(("control".to_owned(), Connection::Tcp(control)));
    all
}
