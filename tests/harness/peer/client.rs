//! The honest client: it keeps to the protocol, step by step, as far as it is told to go. Whoever is to
//! misbehave does so from a point that it has reached.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::count::Count;
use super::datagrams::{CONNECTS, Header, REPLIES, named, socket_on};
use super::request::{Request, Shape, stream_ids};
use super::wire::{PART, Wire, frame, results, state};
use super::{Connection, by_name};
use crate::harness::{Checked, Failure, ensure};

/// Pause before a word is said again to a server that may have had no room for it.
const AGAIN: Duration = Duration::from_millis(50);

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientPoint {
    /// It is connected and has said nothing.
    Connected,
    /// It has said its cookie.
    Accepted,
    /// It was asked for its parameters.
    Admitted,
    /// It has said them.
    Asked,
    /// It was asked for its streams.
    Invited,
    /// One stream short of all.
    Half,
    /// All streams are there, and the test runs.
    Running,
    /// It has ended the test, and was asked for its results.
    Ended,
    /// It has said them, and has those of the server.
    Told,
}

impl ClientPoint {
    const ALL: [Self; 9] = [
        Self::Connected,
        Self::Accepted,
        Self::Admitted,
        Self::Asked,
        Self::Invited,
        Self::Half,
        Self::Running,
        Self::Ended,
        Self::Told,
    ];

    /// The point of this name: `accepted`, `told`, ...
    pub fn of_name(name: &str) -> Checked<Self> {
        let point = Self::ALL.into_iter().find(|point| format!("{point:?}").to_lowercase() == name);
        point.ok_or_else(|| Failure(format!("a client has no point {name:?}")))
    }
}

/// One client with its connections.
pub struct HonestClient {
    pub control: Wire,
    /// Its data connections in a TCP test.
    pub streams: Vec<Wire>,
    /// Its streams in a UDP test.
    pub sockets: Vec<UdpSocket>,
    /// A ringperf's hello, if there was one.
    pub hello: String,
    /// The server's results, once it is told.
    pub theirs: String,
    request: Request,
    shape: Shape,
    port: u16,
    point: ClientPoint,
}

impl HonestClient {
    /// A client of the server at this port that has come as far as `point`.
    pub fn reach(port: u16, request: impl Into<Request>, point: ClientPoint) -> Checked<Self> {
        let request = request.into();
        let mut client = Self {
            control: request.connect(port)?,
            streams: Vec::new(),
            sockets: Vec::new(),
            hello: String::new(),
            theirs: String::new(),
            shape: Shape::of(&request.parameters),
            request,
            port,
            point: ClientPoint::Connected,
        };
        client.proceed(point)?;
        Ok(client)
    }

    /// As far as the server's wish for streams.
    pub fn invited(port: u16, request: impl Into<Request>) -> Checked<Self> {
        Self::reach(port, request, ClientPoint::Invited)
    }

    /// With all streams, as far as the running test.
    pub fn running(port: u16, request: impl Into<Request>) -> Checked<Self> {
        Self::reach(port, request, ClientPoint::Running)
    }

    /// Goes on to this point.
    pub fn proceed(&mut self, to: ClientPoint) -> Checked {
        let from = self.point;
        ClientPoint::ALL.into_iter().filter(|next| from < *next && *next <= to).try_for_each(|next| {
            self.step(next)?;
            self.point = next;
            Ok(())
        })
    }

    /// The step that leads to this point from the one before it.
    fn step(&mut self, to: ClientPoint) -> Checked {
        match to {
            ClientPoint::Connected => Ok(()),
            ClientPoint::Accepted => self.control.send(&self.request.cookie),
            ClientPoint::Admitted => self.control.expect_state(state::PARAM_EXCHANGE),
            ClientPoint::Asked => self.control.send_frame(&self.request.parameters),
            ClientPoint::Invited => {
                if self.shape.has_extension {
                    self.control.expect_state(state::HELLO)?;
                    self.hello = self.control.read_frame()?;
                }
                self.control.expect_state(state::CREATE_STREAMS)
            }
            ClientPoint::Half => self.open_all_but(1),
            ClientPoint::Running => {
                self.open_all_but(0)?;
                self.start()
            }
            ClientPoint::Ended => {
                self.control.send(&[state::TEST_END])?;
                self.control.expect_state(state::EXCHANGE_RESULTS)
            }
            ClientPoint::Told => self.tell(&results(&stream_ids(self.shape.streams), 0)),
        }
    }

    /// Hears whether the server lets it in, or is busy.
    pub fn is_admitted(&mut self) -> Checked<bool> {
        self.is_answered(state::PARAM_EXCHANGE, ClientPoint::Admitted)
    }

    /// Hears whether the test of its streams starts, or the server is busy.
    pub fn is_started(&mut self) -> Checked<bool> {
        let is_started = self.is_answered(state::TEST_START, ClientPoint::Running)?;
        if is_started {
            self.control.expect_state(state::TEST_RUNNING)?;
        }
        Ok(is_started)
    }

    /// Sees the test of its streams start.
    pub fn start(&mut self) -> Checked {
        ensure!(self.is_started()?, "the server is busy");
        Ok(())
    }

    fn is_answered(&mut self, state: u8, point: ClientPoint) -> Checked<bool> {
        let [answer] = self.control.read()?;
        if answer == state::ACCESS_DENIED {
            return Ok(false);
        }
        ensure!(answer == state, "got state byte {answer} instead of {state}");
        self.point = point;
        Ok(true)
    }

    fn open_all_but(&mut self, missing: usize) -> Checked {
        while self.streams.len() + self.sockets.len() + missing < self.shape.streams {
            self.open()?;
        }
        Ok(())
    }

    /// Opens its next stream.
    pub fn open(&mut self) -> Checked {
        if self.shape.is_udp {
            return self.open_with(CONNECTS[0]);
        }
        let mut stream = self.request.connect(self.port)?;
        stream.send(&self.request.cookie)?;
        self.streams.push(stream);
        Ok(())
    }

    /// Opens its next UDP stream with this word and sees that the answer is the one of today's iperf3.
    pub fn open_with(&mut self, word: impl AsRef<[u8]>) -> Checked {
        let socket = self.socket()?;
        socket.send(word.as_ref())?;
        self.take_reply(socket)
    }

    /// Opens its next UDP stream from an address that is not the client's, which has to repeat what it is
    /// asked.
    pub fn open_from(&mut self, address: IpAddr) -> Checked {
        let socket = socket_on(address)?;
        socket.connect((self.request.server, self.port))?;
        socket.send(&named(&self.request.cookie, [0; 8]))?;
        socket.send(&named(&self.request.cookie, expect_challenge(&socket)?))?;
        self.take_reply(socket)
    }

    /// Opens its next UDP stream at a server that may lose the word: says it until there is an answer.
    pub fn open_with_patience(&mut self) -> Checked {
        let socket = self.socket()?;
        let read_limit = socket.read_timeout()?;
        socket.set_read_timeout(Some(AGAIN))?;
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut answer = [0; 1];
        loop {
            socket.send(&CONNECTS[0])?;
            match socket.peek(&mut answer) {
                Ok(_) => break,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
                Err(_) => ensure!(Instant::now() < deadline, "no answer to the word"),
            }
        }
        socket.set_read_timeout(read_limit)?;
        self.take_reply(socket)
    }

    /// A socket of the client's host that is connected to the server.
    fn socket(&self) -> Checked<UdpSocket> {
        let socket = socket_on(match self.request.server {
            IpAddr::V4(_) => self.request.source.unwrap_or(Ipv4Addr::LOCALHOST).into(),
            IpAddr::V6(address) => IpAddr::from(address),
        })?;
        socket.connect((self.request.server, self.port))?;
        Ok(socket)
    }

    fn take_reply(&mut self, socket: UdpSocket) -> Checked {
        let mut answer = [0; 100];
        let count =
            socket.recv(&mut answer).map_err(|error| Failure(format!("no answer to the word: {error}")))?;
        ensure!(answer[..count] == REPLIES[0], "answered {:?}", &answer[..count]);
        self.sockets.push(socket);
        Ok(())
    }

    /// Sends one good datagram of the test on stream number `stream`.
    pub fn send(&self, stream: usize, sequence: u64) -> Checked {
        self.send_header(stream, Header::numbered(sequence))
    }

    pub fn send_header(&self, stream: usize, header: Header) -> Checked {
        self.sockets[stream].send(&header.datagram(self.shape.block_bytes, self.shape.is_wide))?;
        Ok(())
    }

    /// Says these results, and hears those of the server.
    pub fn tell(&mut self, own: &str) -> Checked {
        self.control.send_frame(own)?;
        self.theirs = self.control.read_frame()?;
        self.control.expect_state(state::DISPLAY_RESULTS)?;
        self.point = ClientPoint::Told;
        Ok(())
    }

    /// Says that it is done. The server is free for the next test when it has closed.
    pub fn leave(&mut self) -> Checked {
        self.control.send(&[state::IPERF_DONE])?;
        self.control.wait_for_close().map(|_| ())
    }

    /// Ends a test between two ringperfs after so many datagrams on each stream; what the server has counted.
    pub fn end(&mut self, packets: u64) -> Checked<Count> {
        self.proceed(ClientPoint::Ended)?;
        let own = results(&stream_ids(self.shape.streams), 0);
        self.tell(&own.replace(r#""packets":0"#, &format!(r#""packets":{packets}"#)))?;
        let mut part = self.request.connect(self.port)?;
        part.send(&[&self.request.cookie[..], &frame(PART)].concat())?;
        let details = part.read_frame()?;
        self.leave()?;
        Count::read(&self.theirs, &details)
    }

    /// Its connections by their names.
    pub fn into_connections(self) -> Vec<(String, Connection)> {
        by_name(self.control, self.streams)
    }
}

/// What a server says to an address that it does not know: the answer, and what is to be repeated.
pub fn expect_challenge(socket: &UdpSocket) -> Checked<[u8; 8]> {
    let mut asked = [0; 100];
    let count = socket.recv(&mut asked).map_err(|error| Failure(format!("nothing is asked: {error}")))?;
    let challenge = asked[..count].strip_prefix(&REPLIES[0]).and_then(|rest| rest.try_into().ok());
    challenge.ok_or_else(|| Failure(format!("asked {:?}", &asked[..count])))
}
