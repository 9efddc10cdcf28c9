//! The other end of a test, by hand: it speaks the protocol independently of the library.
//!
//! [`wire`] has its words. [`honest`] peers keep to the protocol in both roles, a UDP [`guest`] and [`host`]
//! as far as they are told to; [`bridge`] stands between two real ends. Chance is that of [`random`].

pub mod bridge;
pub mod datagrams;
pub mod guest;
pub mod honest;
pub mod host;
pub mod random;
pub mod wire;

use std::io::ErrorKind;
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

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

/// A client that leaves early must not leave its peer in accept for ever.
pub fn limit_accept(listener: &TcpListener) -> Checked {
    setsockopt(listener, sockopt::ReceiveTimeout, &TimeVal::new(10, 0))
        .map_err(|error| Failure(format!("cannot limit accept: {error}")))
}
