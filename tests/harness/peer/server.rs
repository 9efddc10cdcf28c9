//! The honest server: it keeps to the protocol with one client, step by step, as far as it is told to go.
//! Whoever is to misbehave does so from a point that it has reached.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::datagrams::{CONNECTS, REPLIES};
use super::request::{Shape, stream_ids};
use super::wire::{Wire, results, state};
use super::{Connection, by_name};
use crate::harness::{Checked, Failure, Finished, Program, bind_both, ensure, ours, start_client};

/// Longest wait for a client's next step.
const STEP_LIMIT: Duration = Duration::from_secs(8);
/// Longest wait for a connection, in seconds: a client that leaves early must not leave its peer in accept
/// for ever.
const ACCEPT_SECONDS: i64 = 10;
/// Far longer than any client takes, also one that reads 16 MiB on a loaded machine; reached only when one
/// hangs.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

/// Where a server is found: one port for both protocols.
pub struct Listener {
    pub tcp: TcpListener,
    pub udp: UdpSocket,
    pub port: u16,
}

impl Listener {
    /// On a free port of the loopback device.
    pub fn open() -> Checked<Self> {
        let (tcp, udp) = bind_both()?;
        Self::over(tcp, udp)
    }

    /// Over sockets that are bound to one port.
    pub fn over(tcp: TcpListener, udp: UdpSocket) -> Checked<Self> {
        setsockopt(&tcp, sockopt::ReceiveTimeout, &TimeVal::new(ACCEPT_SECONDS, 0))
            .map_err(|error| Failure(format!("cannot limit accept: {error}")))?;
        udp.set_read_timeout(Some(STEP_LIMIT))?;
        let port = tcp.local_addr()?.port();
        Ok(Self { tcp, udp, port })
    }

    /// The next connection of a client.
    pub fn accept(&self) -> Checked<Wire> {
        accept(&self.tcp)
    }
}

fn accept(listener: &TcpListener) -> Checked<Wire> {
    let (stream, _) = listener.accept().map_err(|error| Failure(format!("nobody connects: {error}")))?;
    Wire::new(stream)
}

/// How far a server has come with its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerPoint {
    /// The client is connected.
    Connected,
    /// It has said its cookie.
    CookieRead,
    /// It was asked for its parameters.
    ParametersAsked,
    /// It has said them.
    ParametersRead,
    /// It was asked for its streams.
    StreamsAsked,
    /// All are there.
    StreamsOpen,
    /// The test starts.
    Started,
    /// The test runs, and its data are read in the background.
    Running,
    /// The client has ended it.
    Ended,
    /// It was asked for its results.
    ResultsAsked,
    /// It has said them.
    ResultsRead,
    /// It has those of the server.
    ResultsSent,
    /// It was told that these were the last words.
    Displayed,
}

impl ServerPoint {
    /// All points with the names that the catalogue of cases has for them.
    const ALL: [(&str, Self); 13] = [
        ("connected", Self::Connected),
        ("cookie", Self::CookieRead),
        ("asked", Self::ParametersAsked),
        ("params", Self::ParametersRead),
        ("invited", Self::StreamsAsked),
        ("streams", Self::StreamsOpen),
        ("started", Self::Started),
        ("running", Self::Running),
        ("ended", Self::Ended),
        ("results-asked", Self::ResultsAsked),
        ("results-read", Self::ResultsRead),
        ("results-sent", Self::ResultsSent),
        ("displayed", Self::Displayed),
    ];

    pub fn of_name(name: &str) -> Checked<Self> {
        let point = Self::ALL.into_iter().find(|(known, _)| *known == name);
        point.map(|(_, point)| point).ok_or_else(|| Failure(format!("a server has no point {name:?}")))
    }

    /// All points before the client has everything.
    pub fn all_unfinished() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(|(_, point)| point).filter(|point| *point < Self::Displayed)
    }
}

/// One server with its client.
pub struct HonestServer {
    pub control: Wire,
    /// The client's data connections in a TCP test.
    pub streams: Vec<Wire>,
    /// Where words and datagrams arrive, from whomever.
    pub door: UdpSocket,
    /// Where the client's UDP streams send from, as far as they have said their word.
    pub addresses: Vec<SocketAddr>,
    pub cookie: [u8; 37],
    /// The client's results, once it has said them.
    pub theirs: String,
    parameters: String,
    listener: TcpListener,
    point: ServerPoint,
}

impl HonestServer {
    /// A server of the next client that has come as far as `point` with it.
    pub fn reach(listener: &Listener, point: ServerPoint) -> Checked<Self> {
        let mut server = Self {
            control: listener.accept()?,
            streams: Vec::new(),
            door: listener.udp.try_clone()?,
            addresses: Vec::new(),
            cookie: [0; 37],
            theirs: String::new(),
            parameters: String::new(),
            listener: listener.tcp.try_clone()?,
            point: ServerPoint::Connected,
        };
        server.proceed(point)?;
        Ok(server)
    }

    /// Goes on to this point.
    pub fn proceed(&mut self, to: ServerPoint) -> Checked {
        let from = self.point;
        let points = ServerPoint::ALL.into_iter().map(|(_, point)| point);
        points.filter(|next| from < *next && *next <= to).try_for_each(|next| {
            self.step(next)?;
            self.point = next;
            Ok(())
        })
    }

    /// The step that leads to this point from the one before it.
    fn step(&mut self, to: ServerPoint) -> Checked {
        match to {
            ServerPoint::Connected => {}
            ServerPoint::CookieRead => self.cookie = self.control.read()?,
            ServerPoint::ParametersAsked => self.control.send(&[state::PARAM_EXCHANGE])?,
            ServerPoint::ParametersRead => self.parameters = self.control.read_frame()?,
            ServerPoint::StreamsAsked => self.control.send(&[state::CREATE_STREAMS])?,
            ServerPoint::StreamsOpen => self.take_streams()?,
            ServerPoint::Started => self.control.send(&[state::TEST_START])?,
            ServerPoint::Running => self.run_until(0)?,
            ServerPoint::Ended => self.control.expect_state(state::TEST_END)?,
            ServerPoint::ResultsAsked => self.control.send(&[state::EXCHANGE_RESULTS])?,
            ServerPoint::ResultsRead => self.theirs = self.control.read_frame()?,
            ServerPoint::ResultsSent => self.tell(&results(&stream_ids(self.shape().streams), 0))?,
            ServerPoint::Displayed => self.control.send(&[state::DISPLAY_RESULTS])?,
        }
        Ok(())
    }

    fn shape(&self) -> Shape {
        Shape::of(&self.parameters)
    }

    /// Takes the streams that are not there yet.
    fn take_streams(&mut self) -> Checked {
        let shape = self.shape();
        while self.streams.len() + self.addresses.len() < shape.streams {
            if shape.is_udp {
                let stream = self.take_word()?;
                self.door.send_to(&REPLIES[0], stream)?;
            } else {
                let mut stream = accept(&self.listener)?;
                stream.read::<37>()?;
                self.streams.push(stream);
            }
        }
        Ok(())
    }

    /// Takes the word of the client's next UDP stream, which is that of today's iperf3 to the byte, and does
    /// not answer it.
    pub fn take_word(&mut self) -> Checked<SocketAddr> {
        let (word, stream) = self.take()?;
        ensure!(word == CONNECTS[0], "the word is {word:?}");
        self.addresses.push(stream);
        Ok(stream)
    }

    /// Lets the test run, with the streams that are there, and takes none of its data.
    pub fn run(&mut self) -> Checked {
        if self.point < ServerPoint::Started {
            self.control.send(&[state::TEST_START])?;
        }
        self.control.send(&[state::TEST_RUNNING])?;
        self.point = ServerPoint::Running;
        Ok(())
    }

    /// Lets the test run, waits for so many bytes of each data connection, and has the rest read in the
    /// background.
    pub fn run_until(&mut self, bytes: usize) -> Checked {
        self.run()?;
        self.streams.iter_mut().try_for_each(|stream| {
            stream.take(bytes)?;
            read_in_the_background(stream)
        })
    }

    /// Says these results.
    pub fn tell(&mut self, own: &str) -> Checked {
        self.control.send_frame(own)?;
        self.point = ServerPoint::ResultsSent;
        Ok(())
    }

    /// Sees the end of the test and says these results.
    pub fn finish(&mut self, own: &str) -> Checked {
        self.proceed(ServerPoint::ResultsRead)?;
        self.tell(own)?;
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

    /// Hangs up. Background readers have descriptors of their own, so the connections are shut down.
    pub fn close(self) {
        for stream in &self.streams {
            // Fails when the client has ended it.
            let _ = stream.0.shutdown(Shutdown::Both);
        }
    }

    /// Its connections by their names.
    pub fn into_connections(self) -> Vec<(String, Connection)> {
        by_name(self.control, self.streams)
    }
}

/// Takes whatever a stream brings, until it ends.
fn read_in_the_background(stream: &Wire) -> Checked {
    let mut rest = stream.0.try_clone()?;
    thread::spawn(move || {
        while let Err(error) = io::copy(&mut rest, &mut io::sink()) {
            if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                break;
            }
        }
    });
    Ok(())
}

/// Runs a client with `options` against a script for its server; how it ended, and what the script says.
pub fn program_against<T: Send>(
    client: &Program,
    options: &str,
    script: impl FnOnce(&Listener) -> Checked<T> + Send,
) -> Checked<(Finished, T)> {
    let listener = Listener::open()?;
    thread::scope(|scope| {
        let script = scope.spawn(|| script(&listener));
        let client = start_client(client, listener.port, options)?.finish(CLIENT_LIMIT)?;
        let said = script.join().expect("a script does not panic");
        let said = said.map_err(|Failure(why)| Failure(format!("script: {why}\n{client}")))?;
        Ok((client, said))
    })
}

/// Runs a ringperf with `options` against a script that begins when the client was asked for its streams.
pub fn against(options: &str, script: impl FnOnce(&mut HonestServer) -> Checked + Send) -> Checked<Finished> {
    let whole = |listener: &Listener| script(&mut HonestServer::reach(listener, ServerPoint::StreamsAsked)?);
    program_against(&ours(), options, whole).map(|(client, ())| client)
}
