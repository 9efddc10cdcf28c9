//! Plays the steps of a case against either role.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, UdpSocket};
use std::time::{Duration, Instant};

use crate::harness::peer::Connection;
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::server::{HonestServer, Listener, ServerPoint};
use crate::harness::peer::wire::Wire;
use crate::harness::{Checked, Failure, ensure};

use super::script::{Case, Step};

/// What an honest client asks for: two streams, so that there is a point between them.
const PARAMETERS: &str =
    r#"{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":2,"len":131072}"#;

/// Most bytes that a datagram has.
const DATAGRAM_BYTES: usize = 65_536;

/// Who is tormented, and how it is reached.
pub enum Victim<'a> {
    /// A server on this port.
    Server(u16),
    /// A client that comes here.
    Client(&'a Listener),
}

/// All connections of a case, by name. They stay open until this is dropped.
pub struct Play<'a> {
    victim: Victim<'a>,
    connections: BTreeMap<String, Connection>,
    current: String,
    deadline: Instant,
}

impl<'a> Play<'a> {
    /// Plays all steps of a case.
    pub fn all(victim: Victim<'a>, case: &Case) -> Checked<Self> {
        let deadline = Instant::now() + case.within;
        let mut play = Self { victim, connections: BTreeMap::new(), current: "control".to_owned(), deadline };
        for (index, step) in case.steps.iter().enumerate() {
            play.step(step)
                .map_err(|Failure(why)| Failure(format!("step {}, {step:?}: {why}", index + 1)))?;
        }
        Ok(play)
    }

    fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Reach { point, parameters } => self.reach(point, parameters.as_deref()),
            Step::Connect { name, from } => {
                let Victim::Server(port) = self.victim else {
                    return Err(Failure("only a server is connected to".to_owned()));
                };
                let wire = Wire::connect_from(*from, port)?;
                self.add(name, Connection::Tcp(wire));
                Ok(())
            }
            Step::Accept(name) => {
                let Victim::Client(listener) = self.victim else {
                    return Err(Failure("only a client comes".to_owned()));
                };
                let wire = listener.accept()?;
                self.add(name, Connection::Tcp(wire));
                Ok(())
            }
            Step::Udp { name, from } => self.open_udp(name, *from),
            Step::On(name) => {
                ensure!(self.connections.contains_key(name), "there is no {name}");
                self.current.clone_from(name);
                Ok(())
            }
            Step::Send(bytes) => self.current()?.send(bytes),
            Step::Drip(pause, bytes) => self.current()?.drip(*pause, bytes),
            Step::Expect(bytes) => self.expect(bytes),
            Step::Take(count) => self.tcp()?.take(*count).map(|_| ()),
            Step::Frame => self.tcp()?.read_frame().map(|_| ()),
            Step::Error(code) => {
                let found = self.tcp()?.read_server_error()?;
                ensure!(found == *code, "error {found} instead of {code}");
                Ok(())
            }
            Step::Closed { from, until } => {
                let took = self.tcp()?.wait_for_close()?;
                ensure!((*from..=*until).contains(&took), "closed after {took:?}");
                // What the peer waits for at its end is another case.
                self.step(&Step::Close)
            }
            Step::Quiet(wait) => self.quiet(*wait),
            Step::HalfClose => Ok(self.tcp()?.0.shutdown(Shutdown::Write)?),
            Step::Reset => {
                let wire = self.tcp()?;
                wire.reset_when_dropped()?;
                // A background reader has the socket, too, and lets it go at its end.
                let _ = wire.0.shutdown(Shutdown::Both);
                self.connections.remove(&self.current);
                Ok(())
            }
            Step::Close => {
                self.current()?.shut();
                self.connections.remove(&self.current);
                Ok(())
            }
        }
    }

    fn reach(&mut self, point: &str, parameters: Option<&str>) -> Checked {
        let reached = match self.victim {
            Victim::Server(port) => {
                let point = ClientPoint::of_name(point)?;
                HonestClient::reach(port, parameters.unwrap_or(PARAMETERS), point)?.into_connections()
            }
            Victim::Client(listener) => {
                HonestServer::reach(listener, ServerPoint::of_name(point)?)?.into_connections()
            }
        };
        for (name, connection) in reached {
            self.add(&name, connection);
        }
        self.current = "control".to_owned();
        Ok(())
    }

    /// Datagrams go to where the test's streams go: the server's port, or what the client's first stream
    /// sends from.
    fn open_udp(&mut self, name: &str, from: Ipv4Addr) -> Checked {
        let Victim::Server(port) = self.victim else {
            return Err(Failure("a client's datagrams go to the door".to_owned()));
        };
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        self.add(name, Connection::Udp(socket));
        Ok(())
    }

    fn add(&mut self, name: &str, connection: Connection) {
        self.connections.insert(name.to_owned(), connection);
        name.clone_into(&mut self.current);
    }

    fn expect(&mut self, expected: &[u8]) -> Checked {
        let found = match self.current()? {
            Connection::Tcp(wire) => wire.take(expected.len())?,
            Connection::Udp(socket) => {
                let mut datagram = vec![0; DATAGRAM_BYTES];
                let count = socket.recv(&mut datagram)?;
                datagram.truncate(count);
                datagram
            }
        };
        ensure!(found == expected, "{found:02x?} came instead of {expected:02x?}");
        Ok(())
    }

    fn quiet(&mut self, wait: Duration) -> Checked {
        let mut bytes = vec![0; DATAGRAM_BYTES];
        let came = match self.current()? {
            Connection::Tcp(wire) => {
                wire.0.set_read_timeout(Some(wait))?;
                wire.0.read(&mut bytes)
            }
            Connection::Udp(socket) => {
                socket.set_read_timeout(Some(wait))?;
                socket.recv(&mut bytes)
            }
        };
        match came {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Failure(format!("{error} instead of silence"))),
            Ok(count) => Err(Failure(format!("{:02x?} came instead of silence", &bytes[..count.min(64)]))),
        }
    }

    fn tcp(&mut self) -> Checked<&mut Wire> {
        match self.current()? {
            Connection::Tcp(wire) => Ok(wire),
            Connection::Udp(_) => Err(Failure("that is no connection".to_owned())),
        }
    }

    /// The connection that is spoken on, with what is left of the time for every read and write.
    fn current(&mut self) -> Checked<&mut Connection> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no time is left");
        let connection = self.connections.get_mut(&self.current);
        let connection = connection.ok_or_else(|| Failure(format!("{} is not open", self.current)))?;
        match connection {
            Connection::Tcp(wire) => {
                wire.0.set_read_timeout(Some(left))?;
                wire.0.set_write_timeout(Some(left))?;
            }
            Connection::Udp(socket) => socket.set_read_timeout(Some(left))?,
        }
        Ok(connection)
    }
}

impl Drop for Play<'_> {
    fn drop(&mut self) {
        self.connections.values().for_each(Connection::shut);
    }
}
