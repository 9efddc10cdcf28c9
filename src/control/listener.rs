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
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::limits;
use crate::config::{Family, ServerConfig};
use crate::error::RunError;
use crate::protocol::{Cookie, State};
use crate::sys::{Socket, listen_on, unmap};

/// Pause after a failed accept, for example when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server.
pub(super) struct Listener {
    port: u16,
    router: Rc<RefCell<Router>>,
    controls: mpsc::Receiver<Control>,
    accepting: AbortHandle,
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
    /// [`RunError::Listen`].
    pub(super) fn open(config: &ServerConfig) -> Result<Self, RunError> {
        let (address, listener) = bind(config)?;
        let failed = |source| RunError::Listen { address: address.to_string(), source };
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let (sender, controls) = mpsc::channel(1);
        let router = Rc::new(RefCell::new(Router { phase: Phase::Idle, controls: sender }));
        let accepting = tokio::task::spawn_local(accept_all(listener, Rc::clone(&router))).abort_handle();
        Ok(Self { port, router, controls, accepting })
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
    pub(super) fn expect_streams(&self, cookie: &Cookie) -> mpsc::Receiver<Socket> {
        let (streams, accepted) = mpsc::channel(1);
        self.router.borrow_mut().phase = Phase::Streams { cookie: *cookie, streams };
        accepted
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

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept_all(listener: TcpListener, router: Rc<RefCell<Router>>) {
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

/// Binds as iperf3 does: without a choice one IPv6 socket that takes IPv4 too, or IPv4 where there is no
/// IPv6.
fn bind(config: &ServerConfig) -> Result<(SocketAddr, std::net::TcpListener), RunError> {
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let candidates = match (config.local.bind, config.local.family) {
        (Some(address), _) => vec![address],
        (None, Family::V4) => vec![v4],
        (None, Family::V6) => vec![v6],
        (None, Family::Any) => vec![v6, v4],
    };
    let only_v6 = config.local.family == Family::V6;
    let mut first_error = None;
    for ip in candidates {
        let address = SocketAddr::new(ip, config.port);
        match listen_on(address, only_v6) {
            Ok(listener) => return Ok((address, listener)),
            Err(source) => {
                // Only a missing IP version is a reason to try the other one.
                let no_family =
                    matches!(source.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL));
                let error = RunError::Listen { address: address.to_string(), source };
                if !no_family {
                    return Err(error);
                }
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.expect("there is at least one candidate, and it failed"))
}
