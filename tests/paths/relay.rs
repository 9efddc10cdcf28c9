//! Stands between a client and a server of a TCP test and passes everything on after a while.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::harness::peer::random::Random;
use crate::harness::{Checked, Failure, bind_both};

/// Seconds after which a relay takes no more connections, which is long after any test over it.
const LIFETIME: i64 = 60;
/// Each direction of a connection has a delay of less than so many milliseconds.
const DELAYS: usize = 51;

/// A relay for one test.
pub struct Relay {
    pub port: u16,
    endings: Receiver<(End, Ending)>,
}

/// An end of the control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Client,
    Server,
}

/// What came from one end of the control connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The last byte that this end has sent.
    pub last: Option<u8>,
    /// Its last byte was followed by its orderly end.
    pub is_closed: bool,
    /// The other end took all of it and was there for the end.
    pub is_taken: bool,
}

impl Relay {
    /// Starts a relay before the server on `server_port`, with delays of its own in each direction of each
    /// connection.
    pub fn start(server_port: u16, seed: u64) -> Checked<Self> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server_port));
        let (listener, _) = bind_both()?;
        let limit = TimeVal::new(LIFETIME, 0);
        setsockopt(&listener, sockopt::ReceiveTimeout, &limit).map_err(std::io::Error::from)?;
        let port = listener.local_addr()?.port();
        let (tell, endings) = channel();
        thread::spawn(move || accept(&listener, server, Random::seeded(seed), tell));
        Ok(Self { port, endings })
    }

    /// How the client and the server have ended the control connection.
    pub fn endings(&self, limit: Duration) -> Checked<[Ending; 2]> {
        let late = |_| Failure("the control connection does not end".to_owned());
        let next = || self.endings.recv_timeout(limit).map_err(late);
        let (first, second) = (next()?, next()?);
        Ok(if first.0 == End::Client { [first.1, second.1] } else { [second.1, first.1] })
    }
}

/// The first connection is the control connection.
fn accept(listener: &TcpListener, server: SocketAddr, mut random: Random, tell: Sender<(End, Ending)>) {
    let mut tell = Some(tell);
    while let Ok((client, _)) = listener.accept() {
        let Ok(server) = TcpStream::connect(server) else { return };
        let tell = tell.take();
        for (from, to, end) in [(&client, &server, End::Client), (&server, &client, End::Server)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            let delay = u64::try_from(random.below(DELAYS)).map_or(Duration::ZERO, Duration::from_millis);
            let tell = tell.clone();
            thread::spawn(move || {
                let ending = pass(from, to, delay);
                if let Some(tell) = tell {
                    // Fails only when the test is over.
                    let _ = tell.send((end, ending));
                }
            });
        }
    }
}

/// Passes on one direction of a connection, and its end.
fn pass(mut from: TcpStream, to: TcpStream, delay: Duration) -> Ending {
    let _ = to.set_nodelay(true);
    let (send, due) = channel();
    let writer = thread::spawn(move || write_when_due(&to, &due));
    let mut last = None;
    let mut buffer = vec![0; 65_536];
    let is_closed = loop {
        match from.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => {
                last = Some(buffer[count - 1]);
                if send.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                    break false;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break false,
        }
    };
    // An empty piece is the end.
    let _ = send.send((Instant::now() + delay, Vec::new()));
    let is_taken = writer.join().unwrap_or(false);
    Ending { last, is_closed, is_taken }
}

/// Writes each piece when its time has come, and ends that half of the connection; whether all of it could be
/// written.
fn write_when_due(mut to: &TcpStream, due: &Receiver<(Instant, Vec<u8>)>) -> bool {
    while let Ok((moment, bytes)) = due.recv() {
        while let Some(left) = moment.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            thread::park_timeout(left);
        }
        if bytes.is_empty() {
            return to.shutdown(Shutdown::Write).is_ok();
        }
        if to.write_all(&bytes).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return false;
        }
    }
    false
}
