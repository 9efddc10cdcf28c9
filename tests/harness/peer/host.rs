//! A hand-driven UDP server for a ringperf client.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::datagrams::{CONNECTS, REPLIES};
use super::wire::{Wire, state};
use crate::harness::{Checked, Failure, Finished, ensure, ours, run_client};

/// Longest wait for a client's next step.
const STEP_LIMIT: Duration = Duration::from_secs(8);

/// One server with one client.
pub struct Host {
    pub control: Wire,
    /// Where words and datagrams arrive, from whomever.
    pub door: UdpSocket,
    /// The client's streams, as far as they have said their word.
    pub streams: Vec<SocketAddr>,
}

/// Runs a client with `options` against a script that begins when the client waits for its streams' answers.
pub fn against(options: &str, script: impl FnOnce(&mut Host) -> Checked + Send) -> Checked<Finished> {
    let (listener, door) = listen()?;
    let port = listener.local_addr()?.port();
    thread::scope(|scope| {
        let script = scope.spawn(move || script(&mut Host::invite(&listener, door)?));
        let client = run_client(&ours(), port, options)?;
        let script = script.join().expect("a script does not panic");
        script.map_err(|Failure(why)| Failure(format!("script: {why}\n{client}")))?;
        Ok(client)
    })
}

/// One port for both protocols.
pub fn listen() -> Checked<(TcpListener, UdpSocket)> {
    for _ in 0..20 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // The UDP port of that number may belong to another test's stream.
        let Ok(door) = UdpSocket::bind(listener.local_addr()?) else { continue };
        // A client that leaves early must not leave the script in accept for ever.
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::new(10, 0))
            .map_err(|error| Failure(format!("cannot limit accept: {error}")))?;
        door.set_read_timeout(Some(STEP_LIMIT))?;
        return Ok((listener, door));
    }
    Err(Failure("no port is free for both protocols".to_owned()))
}

impl Host {
    /// Takes the next client as far as CREATE_STREAMS.
    pub fn invite(listener: &TcpListener, door: UdpSocket) -> Checked<Self> {
        let (control, _) = listener.accept().map_err(|error| Failure(format!("nobody connects: {error}")))?;
        let mut control = Wire::new(control)?;
        control.read::<37>()?;
        control.send(&[state::PARAM_EXCHANGE])?;
        control.read_frame()?;
        control.send(&[state::CREATE_STREAMS])?;
        Ok(Self { control, door, streams: Vec::new() })
    }

    /// Takes the word of the client's next stream, which is that of today's iperf3 to the byte.
    pub fn take_word(&mut self) -> Checked<SocketAddr> {
        let (word, stream) = self.take()?;
        ensure!(word == CONNECTS[0], "the word is {word:?}");
        self.streams.push(stream);
        Ok(stream)
    }

    /// Takes the words of so many streams, one after the other, answers them, and starts the test.
    pub fn start(&mut self, streams: usize) -> Checked {
        for _ in 0..streams {
            let stream = self.take_word()?;
            self.door.send_to(&REPLIES[0], stream)?;
        }
        self.run()
    }

    /// Starts the test.
    pub fn run(&mut self) -> Checked {
        self.control.send(&[state::TEST_START, state::TEST_RUNNING])
    }

    /// Sees the end of the test and says these results.
    pub fn finish(&mut self, results: &str) -> Checked {
        self.control.expect_state(state::TEST_END)?;
        self.control.send(&[state::EXCHANGE_RESULTS])?;
        self.control.read_frame()?;
        self.control.send_frame(results)?;
        self.control.send_anyhow(&[state::DISPLAY_RESULTS]);
        // Whether the client is content with them is the test's business.
        self.control.wait_for_close().map(|_| ())
    }

    /// The next datagram, and whose it is.
    pub fn take(&self) -> Checked<(Vec<u8>, SocketAddr)> {
        let mut bytes = vec![0; 70_000];
        let (count, source) =
            self.door.recv_from(&mut bytes).map_err(|error| Failure(format!("no datagram came: {error}")))?;
        bytes.truncate(count);
        Ok((bytes, source))
    }

    /// Everything that comes within `wait`, and whose it is.
    pub fn take_all(&self, wait: Duration) -> Checked<Vec<(Vec<u8>, SocketAddr)>> {
        let deadline = Instant::now() + wait;
        let mut all = Vec::new();
        let mut bytes = vec![0; 70_000];
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            self.door.set_read_timeout(Some(left))?;
            match self.door.recv_from(&mut bytes) {
                Ok((count, source)) => all.push((bytes[..count].to_vec(), source)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.door.set_read_timeout(Some(STEP_LIMIT))?;
        Ok(all)
    }
}
