//! A hand-driven end of an iperf3 connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use crate::harness::{Checked, Failure, ensure};

/// State bytes that travel (iperf_api.h of iperf3).
pub mod state {
    pub const TEST_START: u8 = 1;
    pub const TEST_RUNNING: u8 = 2;
    pub const TEST_END: u8 = 4;
    pub const PARAM_EXCHANGE: u8 = 9;
    pub const CREATE_STREAMS: u8 = 10;
    pub const SERVER_TERMINATE: u8 = 11;
    pub const CLIENT_TERMINATE: u8 = 12;
    pub const EXCHANGE_RESULTS: u8 = 13;
    pub const DISPLAY_RESULTS: u8 = 14;
    pub const IPERF_DONE: u8 = 16;
    /// A ringperf's own.
    pub const HELLO: u8 = b'R';
    pub const SERVER_ERROR: u8 = 0xFE;
    pub const ACCESS_DENIED: u8 = 0xFF;
    /// No state at all.
    pub const UNKNOWN: u8 = 99;
}

/// The cookie of every hand-made client: 36 characters and a NUL.
pub const COOKIE: &[u8; 37] = b"abcdefghijklmnopqrstuvwxyz234567abcd\0";

/// The part of a ringperf that has done nothing.
pub const PART: &str = r#"{"version":"0","cpu_user_seconds":0,"cpu_system_seconds":0,"engines":[]}"#;

/// Longest wait for a connection, also at a server that a crowd wants something of.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for anything: more than the ten seconds that a peer has for one step.
const READ_LIMIT: Duration = Duration::from_secs(14);

/// One connection.
pub struct Wire(pub TcpStream);

impl Wire {
    pub fn connect(port: u16) -> Checked<Self> {
        Self::connect_to(Ipv4Addr::LOCALHOST.into(), port)
    }

    pub fn connect_to(address: IpAddr, port: u16) -> Checked<Self> {
        let address = SocketAddr::from((address, port));
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)
            .map_err(|error| Failure(format!("cannot connect to {address}: {error}")))?;
        Self::new(stream)
    }

    /// Connects from an address of this machine.
    pub fn connect_from(source: Ipv4Addr, port: u16) -> Checked<Self> {
        let failed = |error| Failure(format!("cannot connect from {source} to port {port}: {error}"));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(failed)?;
        socket.bind(&SocketAddr::from((source, 0)).into()).map_err(failed)?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect_timeout(&server.into(), CONNECT_LIMIT).map_err(failed)?;
        Self::new(socket.into())
    }

    pub fn new(stream: TcpStream) -> Checked<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        stream.set_write_timeout(Some(READ_LIMIT))?;
        Ok(Self(stream))
    }

    pub fn send(&mut self, bytes: &[u8]) -> Checked {
        self.0.write_all(bytes).map_err(|error| Failure(format!("cannot send: {error}")))
    }

    /// Sends what it can to a peer that may hang up at any byte.
    pub fn send_anyhow(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Sends a length word and that text.
    pub fn send_frame(&mut self, text: &str) -> Checked {
        self.send(&frame(text))
    }

    pub fn read<const LENGTH: usize>(&mut self) -> Checked<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        self.0
            .read_exact(&mut bytes)
            .map_err(|error| Failure(format!("cannot read {LENGTH} bytes: {error}")))?;
        Ok(bytes)
    }

    /// Reads so many bytes.
    pub fn take(&mut self, count: usize) -> Checked<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = self.0.read_exact(&mut bytes);
        read.map_err(|error| Failure(format!("cannot read {count} bytes: {error}")))?;
        Ok(bytes)
    }

    /// Reads one byte, which must be `state`.
    pub fn expect_state(&mut self, state: u8) -> Checked {
        let [found] = self.read()?;
        ensure!(found == state, "got state byte {found} instead of {state}");
        Ok(())
    }

    /// Reads a length word and the text.
    pub fn read_frame(&mut self) -> Checked<String> {
        let length = u32::from_be_bytes(self.read()?);
        ensure!((1..=1_000_000).contains(&length), "a frame of {length} bytes");
        let mut text = String::new();
        let count = (&self.0).take(u64::from(length)).read_to_string(&mut text)?;
        ensure!(u32::try_from(count) == Ok(length), "a frame cut short: {text:?}");
        Ok(text)
    }

    /// Reads SERVER_ERROR and its two integers; returns the first, iperf3's error number.
    pub fn read_server_error(&mut self) -> Checked<i32> {
        self.expect_state(state::SERVER_ERROR)?;
        let code = i32::from_be_bytes(self.read()?);
        let _errno: [u8; 4] = self.read()?;
        Ok(code)
    }

    /// Reads until the peer hangs up, orderly or not, and returns how long that took.
    pub fn wait_for_close(&mut self) -> Checked<Duration> {
        let started = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(started.elapsed()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(started.elapsed()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure(format!("not closed within {READ_LIMIT:?}: {error}"))),
            }
        }
    }

    /// Lets the connection end with a RST instead of a FIN when it is dropped.
    pub fn reset_when_dropped(&self) -> Checked {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.0, sockopt::Linger, &at_once)
            .map_err(|error| Failure(format!("cannot set SO_LINGER: {error}")))
    }
}

/// A length word and the text.
pub fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("the tests' texts are short");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// The results of an end that moved nothing, for the given streams.
pub fn results(ids: &[u32], retransmits: u64) -> String {
    let stream = |id: &u32| {
        format!(
            r#"{{"id":{id},"bytes":0,"retransmits":{retransmits},"jitter":0,"errors":0,"packets":0,"start_time":0,"end_time":1}}"#
        )
    };
    let streams: Vec<String> = ids.iter().map(stream).collect();
    format!(
        r#"{{"cpu_util_total":1,"cpu_util_user":0.5,"cpu_util_system":0.5,"sender_has_retransmits":1,"streams":[{}]}}"#,
        streams.join(",")
    )
}
