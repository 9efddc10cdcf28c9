//! A hand-driven UDP client of a ringperf server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::datagrams::{CONNECTS, Header, REPLIES, named, socket_on};
use super::wire::{COOKIE, PART, Wire, frame, results, state};
use crate::harness::{Checked, Failure, ensure};

/// Pause before a word is said again to a server that may have had no room for it.
const AGAIN: Duration = Duration::from_millis(50);

/// What a guest asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub address: IpAddr,
    pub parallel: usize,
    pub length: usize,
    pub is_wide: bool,
    /// Further members of the parameters, each with a comma behind it.
    pub more: &'static str,
    pub cookie: [u8; 37],
    /// What it says it understands of ringperf's extension.
    pub extension: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            parallel: 1,
            length: 100,
            is_wide: false,
            more: "",
            cookie: *COOKIE,
            extension: 1,
        }
    }
}

impl Wish {
    /// The parameters of a forward test, from one ringperf to another, which therefore tells every datagram.
    pub fn parameters(&self) -> String {
        let Self { parallel, length, more, extension, .. } = self;
        let wide = if self.is_wide { r#""udp_counters_64bit":1,"# } else { "" };
        format!(
            r#"{{"udp":true,"omit":0,"time":10,"num":0,"parallel":{parallel},{wide}{more}"len":{length},"ringperf":{{"version":"0","extension":{extension}}}}}"#
        )
    }
}

/// One client with its streams.
pub struct Guest {
    pub control: Wire,
    pub streams: Vec<UdpSocket>,
    wish: Wish,
    port: u16,
}

impl Guest {
    /// Comes as far as the server's wish for streams.
    pub fn invited(port: u16, wish: Wish) -> Checked<Self> {
        let mut control = Wire::new(TcpStream::connect((wish.address, port))?)?;
        control.send(&wish.cookie)?;
        control.expect_state(state::PARAM_EXCHANGE)?;
        control.send_frame(&wish.parameters())?;
        control.expect_state(state::HELLO)?;
        control.read_frame()?;
        control.expect_state(state::CREATE_STREAMS)?;
        Ok(Self { control, streams: Vec::new(), wish, port })
    }

    /// Comes with all streams, as far as the running test.
    pub fn running(port: u16, wish: Wish) -> Checked<Self> {
        let mut guest = Self::invited(port, wish)?;
        for _ in 0..wish.parallel {
            guest.open(CONNECTS[0])?;
        }
        guest.start()?;
        Ok(guest)
    }

    /// Opens the next stream with this word and sees that the answer is the one of today's iperf3.
    pub fn open(&mut self, word: impl AsRef<[u8]>) -> Checked {
        let socket = self.connected()?;
        socket.send(word.as_ref())?;
        expect_reply(&socket)?;
        self.streams.push(socket);
        Ok(())
    }

    /// Opens the next stream from an address that is not the host's, which has to repeat what it is asked.
    pub fn open_from(&mut self, address: IpAddr) -> Checked {
        let socket = socket_on(address)?;
        socket.connect((self.wish.address, self.port))?;
        socket.send(&named(&self.wish.cookie, [0; 8]))?;
        socket.send(&named(&self.wish.cookie, expect_challenge(&socket)?))?;
        expect_reply(&socket)?;
        self.streams.push(socket);
        Ok(())
    }

    /// The same with a server that may lose the word, again and again until there is an answer.
    pub fn open_with_patience(&mut self) -> Checked {
        let socket = self.connected()?;
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
        expect_reply(&socket)?;
        self.streams.push(socket);
        Ok(())
    }

    /// Sees the test start.
    pub fn start(&mut self) -> Checked {
        self.control.expect_state(state::TEST_START)?;
        self.control.expect_state(state::TEST_RUNNING)
    }

    /// Sends one good datagram of the test on stream number `stream`.
    pub fn send(&self, stream: usize, sequence: u64) -> Checked {
        self.send_header(stream, Header::numbered(sequence))
    }

    pub fn send_header(&self, stream: usize, header: Header) -> Checked {
        self.streams[stream].send(&header.datagram(self.wish.length, self.wish.is_wide))?;
        Ok(())
    }

    /// Ends the test after so many datagrams on each stream; returns what the server has counted.
    pub fn end(&mut self, packets: u64) -> Checked<Count> {
        self.control.send(&[state::TEST_END])?;
        self.control.expect_state(state::EXCHANGE_RESULTS)?;
        let ids: Vec<u32> = [1, 3, 4, 5].into_iter().take(self.wish.parallel).collect();
        let own = results(&ids, 0).replace(r#""packets":0"#, &format!(r#""packets":{packets}"#));
        self.control.send_frame(&own)?;
        let theirs = self.control.read_frame()?;
        self.control.expect_state(state::DISPLAY_RESULTS)?;
        let mut part = Wire::new(TcpStream::connect((self.wish.address, self.port))?)?;
        part.send(&[&self.wish.cookie[..], &frame(PART)].concat())?;
        let details = part.read_frame()?;
        self.control.send(&[state::IPERF_DONE])?;
        // The server is free for the next test when it has closed.
        self.control.wait_for_close()?;
        Count::read(&theirs, &details)
    }

    fn connected(&self) -> Checked<UdpSocket> {
        let socket = socket_on(match self.wish.address {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(address) => address.into(),
        })?;
        socket.connect((self.wish.address, self.port))?;
        Ok(socket)
    }
}

/// What a server says to an address that it does not know: the answer, and what is to be repeated.
pub fn expect_challenge(socket: &UdpSocket) -> Checked<[u8; 8]> {
    let mut asked = [0; 100];
    let count = socket.recv(&mut asked).map_err(|error| Failure(format!("nothing is asked: {error}")))?;
    let challenge = asked[..count].strip_prefix(&REPLIES[0]).and_then(|rest| rest.try_into().ok());
    challenge.ok_or_else(|| Failure(format!("asked {:?}", &asked[..count])))
}

fn expect_reply(socket: &UdpSocket) -> Checked {
    let mut answer = [0; 100];
    let count =
        socket.recv(&mut answer).map_err(|error| Failure(format!("no answer to the word: {error}")))?;
    ensure!(answer[..count] == REPLIES[0], "answered {:?}", &answer[..count]);
    Ok(())
}

/// What a server has counted, all its streams in the order of their numbers: its results, and under `part`
/// what it has told as a ringperf.
pub struct Count(Value);

impl Count {
    fn read(results: &str, part: &str) -> Checked<Self> {
        let read = |text| serde_json::from_str(text).map_err(|error| Failure(format!("{error} in {text}")));
        let mut value: Value = read(results)?;
        value["part"] = read(part)?;
        Ok(Self(value))
    }

    /// A number of a stream's results.
    pub fn of(&self, stream: usize, key: &str) -> Checked<i64> {
        self.number(&format!("/streams/{stream}/{key}"))
    }

    /// A number of what only ringperfs tell of a stream.
    pub fn detail(&self, stream: usize, key: &str) -> Checked<i64> {
        self.number(&format!("/part/datagrams/{stream}/{key}"))
    }

    /// The jitter of a stream, in seconds.
    pub fn jitter(&self, stream: usize) -> Checked<f64> {
        let number = self.0.pointer(&format!("/streams/{stream}/jitter")).and_then(Value::as_f64);
        number.ok_or_else(|| Failure(format!("no jitter in {:#}", self.0)))
    }

    /// Exactly so many datagrams came on each stream, each one once and in order, and nothing was lost.
    pub fn is_clean(&self, streams: usize, packets: i64) -> Checked {
        for stream in 0..streams {
            self.has(
                stream,
                &[("packets", packets), ("errors", 0)],
                &[("received", packets), ("duplicates", 0), ("reordered", 0), ("foreign", 0)],
            )?;
        }
        Ok(())
    }

    /// A stream has exactly these results and details.
    pub fn has(&self, stream: usize, results: &[(&str, i64)], details: &[(&str, i64)]) -> Checked {
        for &(key, expected) in results {
            let found = self.of(stream, key)?;
            ensure!(found == expected, "{key} is {found} instead of {expected}\n{:#}", self.0);
        }
        for &(key, expected) in details {
            let found = self.detail(stream, key)?;
            ensure!(found == expected, "{key} is {found} instead of {expected}\n{:#}", self.0);
        }
        Ok(())
    }

    fn number(&self, pointer: &str) -> Checked<i64> {
        let number = self.0.pointer(pointer).and_then(Value::as_i64);
        number.ok_or_else(|| Failure(format!("no {pointer} in {:#}", self.0)))
    }
}
