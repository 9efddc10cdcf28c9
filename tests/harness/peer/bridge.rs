//! Stands between a client and a server and stops their conversation at a certain message, so that something
//! can be done to one of them just then.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::harness::peer::server::Listener;
use crate::harness::peer::wire::{COOKIE, state};
use crate::harness::{Checked, Failure};

/// Longest wait until a conversation has come to its point.
const REACH: Duration = Duration::from_secs(10);
/// A bridge outlives any conversation over it.
const LIFETIME: Duration = Duration::from_secs(40);

/// Where a conversation is stopped: before the message of this number is passed on, both ends' messages on
/// the control connection counted together ...
pub const MESSAGES: usize = 12;
/// ... with the first bytes of the first data stream, which are held back ...
pub const FIRST_STREAM: usize = MESSAGES + 1;
/// ... or while the test runs, with nothing held back.
pub const RUNNING: usize = MESSAGES + 2;
/// All points are numbers from 1 to this.
pub const POINTS: usize = RUNNING;

/// The number of the server's word that the test runs.
const TEST_RUNNING: usize = 6;

/// One conversation's bridge.
pub struct Bridge {
    pub port: u16,
    reached: Receiver<()>,
    release: Sender<()>,
}

impl Bridge {
    /// Builds a bridge to the server on `server_port` that stops the conversation at `point`.
    pub fn build(server_port: u16, point: usize) -> Checked<Self> {
        Self::of(server_port, point, None)
    }

    /// The same that passes half of that message, or nothing of it, and then nothing more on any connection,
    /// of which neither end is told.
    pub fn breaking_down(server_port: u16, point: usize, passes: Share) -> Checked<Self> {
        Self::of(server_port, point, Some(passes))
    }

    fn of(server_port: u16, point: usize, breaks_down: Option<Share>) -> Checked<Self> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server_port));
        let Listener { tcp: listener, udp: door, port } = Listener::open()?;
        door.set_read_timeout(Some(LIFETIME))?;
        let (reach, reached) = channel();
        let (release, released) = channel();
        let hold = Arc::new(Hold {
            point,
            passed: AtomicUsize::new(0),
            gate: Mutex::new(Some((reach, released))),
            breaks_down,
            is_broken: AtomicBool::new(false),
            kept: Mutex::default(),
        });
        let of_datagrams = Arc::clone(&hold);
        thread::spawn(move || pass_connections(&listener, server, &hold));
        thread::spawn(move || pass_datagrams(&door, server, &of_datagrams));
        Ok(Self { port, reached, release })
    }

    /// Waits until the conversation has come to its point.
    pub fn wait(&self) -> Checked {
        self.reached.recv_timeout(REACH).map_err(|_| Failure("the point was not reached".to_owned()))
    }

    /// Lets it go on.
    pub fn release(self) {
        drop(self.release);
    }
}

/// What of a message passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Nothing,
    Half,
}

/// The point, and who is told when it is reached.
struct Hold {
    point: usize,
    /// Messages that have passed.
    passed: AtomicUsize,
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// What still passes of the message at the point, if nothing passes behind it.
    breaks_down: Option<Share>,
    is_broken: AtomicBool,
    /// Connections on which nothing passes any more, and which nobody may see closed.
    kept: Mutex<Vec<TcpStream>>,
}

impl Hold {
    /// Tells that the point is reached, the first time, and waits for the release if `stops`.
    fn at(&self, point: usize, stops: bool) {
        if point != self.point {
            return;
        }
        let gate = self.gate.lock().expect("nobody panics here").take();
        let Some((reach, released)) = gate else { return };
        // Fails only when the test is over.
        let _ = reach.send(());
        if stops {
            let _ = released.recv();
        }
    }
}

impl Hold {
    fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::SeqCst)
    }

    /// Breaks down behind the share of `message` that still passes, if its number is that of the point;
    /// whether it is.
    fn breaks_down_at(&self, number: usize, message: &[u8], mut to: &TcpStream) -> io::Result<bool> {
        let Some(share) = self.breaks_down.filter(|_| number == self.point) else { return Ok(false) };
        if share == Share::Half {
            to.write_all(&message[..message.len() / 2])?;
        }
        self.is_broken.store(true, Ordering::SeqCst);
        self.at(number, false);
        Ok(true)
    }
}

/// What one end says on the control connection, in its order.
#[derive(Clone, Copy)]
enum Part {
    Cookie,
    Frame,
    State(u8),
}

const OF_CLIENT: [Part; 5] =
    [Part::Cookie, Part::Frame, Part::State(state::TEST_END), Part::Frame, Part::State(state::IPERF_DONE)];
const OF_SERVER: [Part; 7] = [
    Part::State(state::PARAM_EXCHANGE),
    Part::State(state::CREATE_STREAMS),
    Part::State(state::TEST_START),
    Part::State(state::TEST_RUNNING),
    Part::State(state::EXCHANGE_RESULTS),
    Part::Frame,
    Part::State(state::DISPLAY_RESULTS),
];

/// The first connection is the control connection, all others are streams.
fn pass_connections(listener: &TcpListener, server: SocketAddr, hold: &Arc<Hold>) {
    let mut is_control = true;
    while let Ok((client, _)) = listener.accept() {
        let Ok(server) = TcpStream::connect(server) else { return };
        let ways = [(&client, &server, &OF_CLIENT[..]), (&server, &client, &OF_SERVER[..])];
        for (from, to, parts) in ways {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            let hold = Arc::clone(hold);
            let parts = if is_control { parts } else { &[] };
            let stops_first = !is_control;
            thread::spawn(move || {
                let _ = to.set_nodelay(true);
                if stops_first {
                    hold.at(FIRST_STREAM, true);
                }
                let passed = pass(&from, &to, parts, &hold);
                if hold.is_broken() {
                    hold.kept.lock().expect("nobody panics here").extend([from, to]);
                    return;
                }
                // A reset is passed on as well as can be.
                let _ = to.shutdown(if passed.is_ok() { Shutdown::Write } else { Shutdown::Both });
            });
        }
        is_control = false;
    }
}

/// Passes on the messages as long as they are those of a good conversation, and then whatever comes.
fn pass(mut from: &TcpStream, mut to: &TcpStream, parts: &[Part], hold: &Hold) -> io::Result<()> {
    for part in parts {
        let Some(message) = read_part(from, *part)? else { return Ok(()) };
        let number = hold.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if hold.is_broken() || hold.breaks_down_at(number, &message, to)? {
            return Ok(());
        }
        hold.at(number, true);
        to.write_all(&message)?;
        if number == TEST_RUNNING {
            hold.at(RUNNING, false);
        }
        if matches!(part, Part::State(expected) if message.last() != Some(expected)) {
            break;
        }
    }
    let mut bytes = vec![0; 65_536];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 || hold.is_broken() {
            return Ok(());
        }
        to.write_all(&bytes[..count])?;
    }
}

/// A whole message, or nothing at the end of the connection. A ringperf's hello belongs to the state that
/// comes behind it.
fn read_part(mut from: &TcpStream, part: Part) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![
        0;
        match part {
            Part::Cookie => COOKIE.len(),
            Part::Frame => 4,
            Part::State(_) => 1,
        }
    ];
    match from.read_exact(&mut message) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut length = [0; 4];
    match (part, &message[..]) {
        (Part::State(_), [state::HELLO]) => from.read_exact(&mut length)?,
        (Part::Frame, word) => length.copy_from_slice(word),
        _ => return Ok(Some(message)),
    }
    let bytes = u64::from(u32::from_be_bytes(length));
    if matches!(part, Part::State(_)) {
        message.extend(length);
        from.take(bytes + 1).read_to_end(&mut message)?;
    } else {
        from.take(bytes).read_to_end(&mut message)?;
    }
    Ok(Some(message))
}

/// Passes datagrams between a client's streams and sockets of its own at the server.
fn pass_datagrams(door: &UdpSocket, server: SocketAddr, hold: &Arc<Hold>) {
    let mut legs: Vec<(SocketAddr, UdpSocket)> = Vec::new();
    let mut datagram = vec![0; 65_536];
    while let Ok((count, client)) = door.recv_from(&mut datagram) {
        if !legs.iter().any(|(address, _)| *address == client) {
            let Ok(leg) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else { return };
            let (Ok(()), Ok(back), Ok(door)) = (leg.connect(server), leg.try_clone(), door.try_clone())
            else {
                return;
            };
            let _ = back.set_read_timeout(Some(LIFETIME));
            thread::spawn(move || {
                let mut datagram = vec![0; 65_536];
                // An error tells of a datagram that nobody took.
                while let Ok(count) = back.recv(&mut datagram) {
                    let _ = door.send_to(&datagram[..count], client);
                }
            });
            legs.push((client, leg));
            hold.at(FIRST_STREAM, true);
        }
        if let Some((_, leg)) = legs.iter().find(|(address, _)| *address == client) {
            let _ = leg.send(&datagram[..count]);
        }
    }
}
