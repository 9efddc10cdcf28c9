//! The listening socket of a server: open from its start to its end, whatever its clients do.
//!
//! Accepting never waits for a peer: what comes is handed to [`Admission`], which holds up nobody either.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::admission::Admission;
use super::listener_group::{LentMember, ListenerGroup};
use super::router::{Accepted, Control, Entry, IncomingStreams, Router};
use crate::config::{Family, ServerConfig};
use crate::control::base::fixes;
use crate::control::base::socket_options::device_clause;
use crate::error::SetupError;
use crate::protocol::ErrorCode;
use crate::sys::{ListenAddress, Socket, Transport, listen_on, listener_at};

/// A listening server.
pub(crate) struct Listener {
    handle: ListenerHandle,
    controls: mpsc::UnboundedReceiver<Control>,
}

/// A session's access to the listener. All copies are one; the port is in use as long as one is there.
#[derive(Clone)]
pub(crate) struct ListenerHandle {
    group: ListenerGroup,
    admission: Admission,
}

/// Accepts the data connections of one test, until it is dropped.
pub(crate) struct StreamAcceptor {
    streams: IncomingStreams,
    /// Tells why the server could not take one of them.
    turned_away: mpsc::UnboundedReceiver<io::Error>,
    /// The listening socket that takes the connections of this host meanwhile, if they need one of their own.
    _lent: Option<LentMember>,
    /// Why no listening socket with the window of this test could be had, so that the window is set when the
    /// connections are made already.
    pub(crate) late_window: Option<io::Error>,
}

impl Listener {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`SetupError::Listen`], or [`SetupError::SocketOption`] when the network device is not there.
    pub(crate) fn open(config: &ServerConfig) -> Result<Self, SetupError> {
        let slots = config.limits.tests;
        let (sender, controls) = mpsc::unbounded_channel();
        let admission = Admission::new(Router::new(slots), sender);
        Self::open_on(config, config.port, admission, controls)
    }

    fn open_on(
        config: &ServerConfig,
        port: u16,
        admission: Admission,
        controls: mpsc::UnboundedReceiver<Control>,
    ) -> Result<Self, SetupError> {
        let (address, first) = listen(config, port)?;
        let group = ListenerGroup::start(address, first, admission.clone())?;
        Ok(Self { handle: ListenerHandle { group, admission }, controls })
    }

    /// Listens anew on the same port if the network device that it listens on was replaced by another one of
    /// the same name; otherwise nothing changes. No connection is lost, since none can have come through a
    /// device that is gone, and connections that are being admitted stay. No session may have a copy of the
    /// handle.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn renew(self, config: &ServerConfig) -> Result<Self, SetupError> {
        if !self.handle.group.have_lost_device() {
            return Ok(self);
        }
        let Self { handle: ListenerHandle { group, admission }, controls } = self;
        let port = group.address().local.port();
        // Two sockets cannot listen on one port, so the old ones must be closed.
        group.close().await;
        Self::open_on(config, port, admission, controls)
    }

    /// The port that it listens on, which the system has chosen if the user has asked for port 0.
    pub(crate) fn port(&self) -> u16 {
        self.handle.group.address().local.port()
    }

    /// The handle that sessions get copies of.
    pub(crate) fn handle(&self) -> &ListenerHandle {
        &self.handle
    }

    /// Gives no further client a test; all set-ups hear that the server is busy.
    pub(crate) fn close(&self) {
        self.handle.admission.router.close();
    }

    /// Whether a test has one of the server's slots.
    pub(crate) fn runs_a_test(&self) -> bool {
        self.handle.admission.router.runs_a_test()
    }

    /// Waits for the next client that may begin its set-up.
    pub(crate) async fn next_control(&mut self) -> Control {
        self.controls.recv().await.expect("the admission keeps a sender as long as the listener lives")
    }
}

impl ListenerHandle {
    /// Takes connections with the cookie of this test as its streams from now on. There are `count` of them,
    /// they come from `host`, and they have a window of that many bytes from the start if one is given.
    ///
    /// # Errors
    /// [`SetupError::StreamListen`] when they need a listener of their own and it cannot be had, if it is for
    /// more than their window; [`SetupError::BufferSize`] for a window that the kernel does not give.
    pub(crate) fn expect_streams(
        &self,
        entry: &Entry,
        (transport, window_bytes): (Transport, Option<u32>),
        host: IpAddr,
        count: usize,
    ) -> Result<StreamAcceptor, SetupError> {
        let (lent, late_window) = match self.group.prepare(transport, window_bytes, host) {
            Ok(lent) => (lent, None),
            // Plain connections can be had all the same.
            Err(SetupError::StreamListen { source, .. }) if transport == Transport::Tcp => {
                (None, Some(source))
            }
            Err(error) => return Err(error),
        };
        let turned_away = self.group.turned_away(host);
        Ok(StreamAcceptor { streams: entry.expect_streams(count), turned_away, _lent: lent, late_window })
    }

    /// Says "busy" to a client that was admitted already.
    pub(crate) fn refuse(&self, socket: Socket) {
        if let Ok(stream) = tokio::net::TcpStream::from_std(socket.into_stream()) {
            self.admission.refuse(stream);
        }
    }
}

impl StreamAcceptor {
    /// The next data connection of the test, in the order of the cookies.
    ///
    /// # Errors
    /// [`RunError::StreamAccept`] when the process had no descriptor for one of them, so that they never are
    /// complete.
    pub(crate) async fn next(&mut self) -> Result<Accepted, SetupError> {
        tokio::select! {
            Some(why) = self.turned_away.recv() => Err(SetupError::StreamAccept(why)),
            accepted = self.streams.next() => Ok(accepted),
        }
    }
}

/// Listens as iperf3 does: without a choice on one IPv6 socket that takes IPv4 too, or on IPv4 where there is
/// no IPv6.
fn listen(config: &ServerConfig, port: u16) -> Result<(ListenAddress, TcpListener), SetupError> {
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

fn listen_error(address: &ListenAddress, source: io::Error) -> SetupError {
    match &address.device {
        Some(device) if source.raw_os_error() == Some(libc::ENODEV) => {
            SetupError::SocketOption { what: device_clause(device), code: ErrorCode::BIND_DEVICE, source }
        }
        _ => {
            let fix = fixes::of_listening(address.local, &source, listener_at);
            SetupError::Listen { address: address.local.to_string(), source, fix }
        }
    }
}
