//! The listening socket of a server: open from its start to its end, whatever its clients do.
//!
//! Connections are admitted side by side: each has a deadline for its cookie and none holds up another. Who a
//! connection belongs to is decided by the cookie and by what the server is doing: a new test, a stream of
//! the running one, or nobody.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use super::limits;
use super::socket_options::device_clause;
use crate::config::{Family, ServerConfig};
use crate::error::RunError;
use crate::protocol::{Cookie, ErrorCode, State};
use crate::sys::{Diversion, ListenAddress, Socket, Transport, listen_on, unmap};

/// Pause after a failed accept, for example when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server.
pub(super) struct Listener {
    port: u16,
    address: ListenAddress,
    socket: Rc<TcpListener>,
    router: Rc<RefCell<Router>>,
    controls: mpsc::Receiver<Control>,
    accepting: Accepting,
}

/// Where the data connections of a test come in.
pub(super) struct StreamDoor {
    accepted: mpsc::Receiver<Socket>,
    /// A listener of its own, for what the server's cannot accept.
    accepting: Option<Accepting>,
    diversion: Option<Diversion>,
}

/// An admitted control connection.
pub(super) struct Control {
    pub(super) socket: Socket,
    pub(super) cookie: Cookie,
    pub(super) peer: SocketAddr,
}

/// What the server is doing, as far as a new connection is concerned.
enum Phase {
    /// Waiting for a client.
    Idle,
    /// Waiting for the streams of a test.
    Streams { cookie: Cookie, streams: mpsc::Sender<Socket> },
    /// Running a test.
    Busy,
}

struct Router {
    phase: Phase,
    controls: mpsc::Sender<Control>,
}

impl Listener {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`RunError::Listen`], or [`RunError::SocketOption`] when the network device is not there.
    pub(super) fn open(config: &ServerConfig) -> Result<Self, RunError> {
        let (address, socket) = listen(config, config.port)?;
        let (sender, controls) = mpsc::channel(1);
        let router = Rc::new(RefCell::new(Router { phase: Phase::Idle, controls: sender }));
        let socket = Rc::new(socket);
        let accepting = Accepting::start(Rc::clone(&socket), Rc::clone(&router));
        Ok(Self { port: address.local.port(), address, socket, router, controls, accepting })
    }

    /// Listens anew on the same port, as a network device or an address may have gone and come back. Whoever
    /// is being admitted stays.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn reopen(self, config: &ServerConfig) -> Result<Self, RunError> {
        let Self { port, socket, router, controls, accepting, .. } = self;
        // Two sockets cannot listen on one port, so the old one must be closed.
        accepting.end().await;
        drop(socket);
        let (address, socket) = listen(config, port)?;
        let socket = Rc::new(socket);
        let accepting = Accepting::start(Rc::clone(&socket), Rc::clone(&router));
        Ok(Self { port, address, socket, router, controls, accepting })
    }

    /// The port, also when a free one was asked for.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next client. From then on the server is busy, until [`Self::set_idle`].
    pub(super) async fn next_control(&mut self) -> Control {
        self.controls.recv().await.expect("the router keeps a sender as long as the listener lives")
    }

    /// From now on connections with this cookie are streams of the test.
    ///
    /// # Errors
    /// [`RunError::StreamListen`] when they need a listener of their own and it cannot be had.
    pub(super) fn expect_streams(
        &self,
        cookie: &Cookie,
        transport: Transport,
    ) -> Result<StreamDoor, RunError> {
        let failed = |source| RunError::StreamListen { address: self.address.local.to_string(), source };
        let (diversion, own) = match transport {
            Transport::Tcp => (None, None),
            Transport::Sctp => (None, Some(listen_on(transport, &self.address).map_err(failed)?)),
            Transport::Mptcp => {
                let opened = Diversion::open(&*self.socket, transport, &self.address);
                let (diversion, listener) = opened.map_err(failed)?;
                (Some(diversion), Some(listener))
            }
        };
        let own = own.map(TcpListener::from_std).transpose().map_err(failed)?;
        let accepting = own.map(|own| Accepting::start(Rc::new(own), Rc::clone(&self.router)));
        let (streams, accepted) = mpsc::channel(1);
        self.router.borrow_mut().phase = Phase::Streams { cookie: *cookie, streams };
        Ok(StreamDoor { accepted, accepting, diversion })
    }

    /// No more streams are expected.
    pub(super) fn set_busy(&self) {
        self.router.borrow_mut().phase = Phase::Busy;
    }

    /// The test is over.
    pub(super) fn set_idle(&self) {
        self.router.borrow_mut().phase = Phase::Idle;
    }
}

impl StreamDoor {
    /// The next data connection of the test.
    pub(super) async fn next(&mut self) -> Socket {
        self.accepted.recv().await.expect("the router keeps a sender until the phase changes")
    }

    /// Shuts the door; when this is over, the server's own listener gets all connections again.
    pub(super) async fn shut(self) {
        if let Some(accepting) = self.accepting {
            accepting.end().await;
        }
        drop(self.diversion);
    }
}

/// The task that accepts from a listener.
struct Accepting(JoinHandle<()>);

impl Accepting {
    fn start(listener: Rc<TcpListener>, router: Rc<RefCell<Router>>) -> Self {
        Self(tokio::task::spawn_local(accept_all(listener, router)))
    }

    /// Ends it; its reference to the listener is gone then.
    async fn end(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept_all(listener: Rc<TcpListener>, router: Rc<RefCell<Router>>) {
    let mut waiting: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if matches!(router.borrow().phase, Phase::Busy) {
            tokio::task::spawn_local(refuse(stream));
            continue;
        }
        waiting.retain(|admission| !admission.is_finished());
        if waiting.len() >= limits::WAITING_CONNECTIONS
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.abort();
        }
        let admission = tokio::task::spawn_local(admit(stream, unmap(peer), Rc::clone(&router)));
        waiting.push_back(admission.abort_handle());
    }
}

/// Reads the cookie of a connection and sends the connection to where it belongs.
async fn admit(stream: TcpStream, peer: SocketAddr, router: Rc<RefCell<Router>>) {
    let Ok(Ok(cookie)) = timeout(limits::ADMISSION, read_cookie(&stream)).await else {
        // Silent, dripping or gone: nobody to talk to.
        return;
    };
    let destination = match &mut router.borrow_mut().phase {
        phase @ Phase::Idle => {
            *phase = Phase::Busy;
            Destination::Control
        }
        Phase::Streams { cookie: expected, streams } if expected.matches(&cookie) => {
            Destination::Stream(streams.clone())
        }
        Phase::Streams { .. } | Phase::Busy => Destination::Nowhere,
    };
    let into_socket = |stream: TcpStream| stream.into_std().map(Socket::from_stream);
    match destination {
        Destination::Nowhere => refuse(stream).await,
        Destination::Stream(streams) => {
            if let Ok(socket) = into_socket(stream) {
                // Fails only when the session has given up.
                let _ = streams.send(socket).await;
            }
        }
        Destination::Control => {
            let controls = router.borrow().controls.clone();
            match into_socket(stream) {
                Ok(socket) => drop(controls.send(Control { socket, cookie, peer }).await),
                Err(_) => router.borrow_mut().phase = Phase::Idle,
            }
        }
    }
}

enum Destination {
    Control,
    Stream(mpsc::Sender<Socket>),
    Nowhere,
}

/// Exactly the cookie's bytes: what comes after them is payload or the next message.
async fn read_cookie(stream: &TcpStream) -> io::Result<Cookie> {
    let mut bytes = [0; Cookie::LEN];
    let mut filled = 0;
    while filled < bytes.len() {
        stream.readable().await?;
        match stream.try_read(&mut bytes[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Cookie::from_wire(bytes))
}

/// Says "busy" and closes so that the answer is not lost: unread bytes would turn the close into a reset.
async fn refuse(stream: TcpStream) {
    // A fresh connection has room for a byte; a peer that is gone needs none.
    let _ = stream.try_write(&[State::AccessDenied.byte()]);
    let Ok(socket) = stream.into_std().map(Socket::from_stream) else { return };
    socket.shutdown(std::net::Shutdown::Write);
    let Ok(stream) = TcpStream::from_std(socket.into_stream()) else { return };
    let drained = async {
        let mut buffer = [0; 1024];
        let mut left = limits::LINGER_BYTES;
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(limits::LINGER, drained).await;
}

/// Listens as iperf3 does: without a choice on one IPv6 socket that takes IPv4 too, or on IPv4 where there is
/// no IPv6.
fn listen(config: &ServerConfig, port: u16) -> Result<(ListenAddress, TcpListener), RunError> {
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let candidates = match (config.local.bind, config.local.family) {
        (Some(address), _) => vec![address],
        (None, Family::V4) => vec![v4],
        (None, Family::V6) => vec![v6],
        (None, Family::Any) => vec![v6, v4],
    };
    let mut first_error = None;
    for ip in candidates {
        let mut address = ListenAddress {
            local: SocketAddr::new(ip, port),
            only_v6: config.local.family == Family::V6,
            device: config.local.bind_device.clone(),
        };
        match listen_on(Transport::Tcp, &address).and_then(TcpListener::from_std) {
            Ok(listener) => {
                let failed = |source| listen_error(&address, source);
                let port = listener.local_addr().map_err(failed)?.port();
                address.local.set_port(port);
                return Ok((address, listener));
            }
            Err(source) => {
                // Only a missing IP version is a reason to try the other one.
                let no_family =
                    matches!(source.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL));
                let error = listen_error(&address, source);
                if !no_family {
                    return Err(error);
                }
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.expect("there is at least one candidate, and it failed"))
}

fn listen_error(address: &ListenAddress, source: io::Error) -> RunError {
    match &address.device {
        Some(device) if source.raw_os_error() == Some(libc::ENODEV) => {
            RunError::SocketOption { what: device_clause(device), code: ErrorCode::BIND_DEVICE, source }
        }
        _ => RunError::Listen { address: address.local.to_string(), source },
    }
}
