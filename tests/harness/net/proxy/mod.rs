//! Stands between a client and a server of one UDP test, passes their connections through, and mistreats the
//! datagrams by a plan. It knows exactly what it has delivered.
//!
//! Both ends are on loopback. The control connection and the datagrams of a test have one port number, so the
//! proxy listens on one for both.

mod mischief;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::run::ports;
use crate::harness::{Checked, ensure};
use mischief::Lane;
pub use mischief::{Mischief, Passage};

/// Longer than any test through a proxy lasts.
const LIFETIME: Duration = Duration::from_secs(60);
/// Longest wait for one end to take a word from the control connection.
const WRITE: Duration = Duration::from_secs(10);
/// Datagrams taken from one socket before the others have their turn.
const TURN: usize = 256;
/// Turns before a word of the control connection passes, however much is still sent: enough for all that the
/// receive buffers hold, and no more, since a sender that nobody stops goes on.
const TURNS_BEFORE_A_WORD: usize = 100;
/// Bytes asked for the receive buffers, so that nothing is lost here which the plan does not lose.
const BUFFER_BYTES: usize = 8 << 20;

/// What a proxy does.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProxyPlan {
    /// What becomes of the datagrams from the client.
    pub from_client: Mischief,
    /// What becomes of the datagrams from the server.
    pub from_server: Mischief,
    /// The test has sequence numbers of 64 bits.
    pub counters_64bit: bool,
}

/// What passed on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub from_client: Passage,
    pub from_server: Passage,
}

/// A proxy for one test, which runs until both ends have closed the control connection. It is stopped when
/// this is dropped.
pub struct Proxy {
    /// Where the client has to go.
    pub port: u16,
    thread: Option<JoinHandle<Checked<Vec<Traffic>>>>,
    /// Closing it wakes and ends the thread.
    stop: Option<UnixStream>,
}

impl Proxy {
    /// Starts a proxy before the server on `server_port`.
    pub fn start(server_port: u16, plan: ProxyPlan) -> Checked<Self> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server_port));
        let (listener, client) = ports::bind_both()?;
        prepare(&client)?;
        let port = listener.local_addr()?.port();
        let (stop, stopped) = UnixStream::pair()?;
        let relay = Relay { server, plan, client, legs: Vec::new() };
        let thread = thread::spawn(move || relay.run(&listener, &stopped));
        Ok(Self { port, thread: Some(thread), stop: Some(stop) })
    }

    /// Waits for the end of the control connection; what passed on each stream, in the order in which they
    /// were connected.
    pub fn finish(mut self) -> Checked<Vec<Traffic>> {
        let thread = self.thread.take().expect("only this and the drop take it");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // What it found does not matter to a test that has not asked for it.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Relay {
    server: SocketAddr,
    plan: ProxyPlan,
    /// Where all streams of the client send to.
    client: UdpSocket,
    legs: Vec<Leg>,
}

/// One stream: the client's address, and the socket that stands for it at the server.
struct Leg {
    client: SocketAddr,
    server: UdpSocket,
    from_client: Lane,
    from_server: Lane,
}

/// One direction of a connection.
struct Way {
    from: Rc<TcpStream>,
    to: Rc<TcpStream>,
}

impl Relay {
    fn run(mut self, listener: &TcpListener, stopped: &UnixStream) -> Checked<Vec<Traffic>> {
        let deadline = Instant::now() + LIFETIME;
        let ready = wait_for(&[listener.as_fd(), stopped.as_fd()], deadline)?;
        ensure!(!ready[1], "the proxy was stopped before anybody came");
        let mut ways = self.accept(listener)?;
        while !ways.is_empty() {
            let mut sources = vec![stopped.as_fd(), listener.as_fd()];
            sources.extend(ways.iter().map(|way| way.from.as_fd()));
            sources.push(self.client.as_fd());
            sources.extend(self.legs.iter().map(|leg| leg.server.as_fd()));
            let mut ready = wait_for(&sources, deadline)?.into_iter();
            let mut is_ready = || ready.next().expect("there is one for each source");
            ensure!(!is_ready(), "the proxy was stopped");
            let more = if is_ready() { self.accept(listener)? } else { Vec::new() };
            ways.retain(|way| !is_ready() || self.pass_word(way));
            ways.extend(more);
            self.relay();
        }
        let traffic = |leg: Leg| Traffic {
            from_client: leg.from_client.into_passage(),
            from_server: leg.from_server.into_passage(),
        };
        Ok(self.legs.into_iter().map(traffic).collect())
    }

    /// Takes the next connection of the client, and makes one to the server.
    fn accept(&self, listener: &TcpListener) -> Checked<Vec<Way>> {
        let client = Rc::new(listener.accept()?.0);
        let server = Rc::new(TcpStream::connect(self.server)?);
        for end in [&client, &server] {
            end.set_write_timeout(Some(WRITE))?;
            end.set_nodelay(true)?;
        }
        let back = Way { from: Rc::clone(&server), to: Rc::clone(&client) };
        Ok(vec![Way { from: client, to: server }, back])
    }

    /// Passes on what one end says on a connection; `false` at its end.
    ///
    /// All datagrams that were sent before it go first, those that are held back as well: what comes after
    /// the word that ends the test would not be counted.
    fn pass_word(&mut self, way: &Way) -> bool {
        let (mut from, mut to) = (&*way.from, &*way.to);
        let mut word = [0; 8192];
        let bytes = from.read(&mut word).unwrap_or(0);
        let mut turns = 0;
        while self.relay() && turns < TURNS_BEFORE_A_WORD {
            turns += 1;
        }
        for leg in &mut self.legs {
            leg.from_client.release_all(|datagram| send_on(|| leg.server.send(datagram)));
            leg.from_server.release_all(|datagram| send_on(|| self.client.send_to(datagram, leg.client)));
        }
        if bytes > 0 && to.write_all(&word[..bytes]).is_ok() {
            return true;
        }
        // It fails if the other end is gone already, which is as good.
        let _ = to.shutdown(Shutdown::Write);
        false
    }

    /// Relays the datagrams that wait, at most a turn's worth from each socket; whether there were any.
    fn relay(&mut self) -> bool {
        let mut buffer = vec![0; 65_536];
        let mut relayed = false;
        for _ in 0..TURN {
            let Some((bytes, from)) = take_from(|| self.client.recv_from(&mut buffer)) else { break };
            relayed = true;
            if let Some(leg) = self.leg_of(from) {
                leg.from_client.take(&buffer[..bytes], |datagram| send_on(|| leg.server.send(datagram)));
            }
        }
        for leg in &mut self.legs {
            for _ in 0..TURN {
                let Some(bytes) = take_from(|| leg.server.recv(&mut buffer)) else { break };
                relayed = true;
                let send = |datagram: &[u8]| send_on(|| self.client.send_to(datagram, leg.client));
                leg.from_server.take(&buffer[..bytes], send);
            }
        }
        relayed
    }

    /// The stream of this client's address, a new one if it has none; `None` if no socket can be had for it.
    fn leg_of(&mut self, client: SocketAddr) -> Option<&mut Leg> {
        if let Some(index) = self.legs.iter().position(|leg| leg.client == client) {
            return self.legs.get_mut(index);
        }
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        server.connect(self.server).ok()?;
        prepare(&server).ok()?;
        let number = u64::try_from(self.legs.len()).ok()?;
        let lane = |mischief| Lane::new(mischief, self.plan.counters_64bit, number);
        let (from_client, from_server) = (lane(self.plan.from_client), lane(self.plan.from_server));
        self.legs.push(Leg { client, server, from_client, from_server });
        self.legs.last_mut()
    }
}

/// Makes a socket never wait, and gives it as large a buffer as it can have.
fn prepare(socket: &UdpSocket) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
        // Without privileges the kernel gives what its limit allows.
        setsockopt(socket, sockopt::RcvBuf, &BUFFER_BYTES)?;
    }
    socket.set_nonblocking(true)
}

/// What a socket has; `None` if it has nothing. That an earlier datagram found nobody is no news here.
fn take_from<T>(mut receive: impl FnMut() -> io::Result<T>) -> Option<T> {
    loop {
        match receive() {
            Ok(received) => return Some(received),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return None,
        }
    }
}

/// Whether the kernel took a datagram. It may say first that an earlier one found nobody, and then has not
/// taken this one.
fn send_on(send: impl Fn() -> io::Result<usize>) -> bool {
    match send() {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => send().is_ok(),
        result => result.is_ok(),
    }
}

/// Waits until there is something to read, or an end, on any of these; which ones.
fn wait_for(sources: &[BorrowedFd], deadline: Instant) -> Checked<Vec<bool>> {
    let mut polled: Vec<PollFd> =
        sources.iter().map(|source| PollFd::new(*source, PollFlags::POLLIN)).collect();
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).expect("a proxy lives a minute");
    let ready = poll(&mut polled, timeout).map_err(io::Error::from)?;
    ensure!(ready > 0, "a proxy waited in vain for {LIFETIME:?}");
    Ok(polled.iter().map(|one| one.any().unwrap_or(true)).collect())
}
