//! The listening socket of a server: open from its start to its end, whatever its clients do.
//!
//! Accepting never waits for a peer: what comes is handed to [`Admission`], which holds up nobody either.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::admission::Admission;
use super::limits;
use super::router::{Accepted, Control, Router, Slot, Streams};
use super::socket_options::device_clause;
use crate::config::{Family, ServerConfig};
use crate::error::RunError;
use crate::protocol::ErrorCode;
use crate::sys::{
    Diversion, ListenAddress, Socket, SpareDescriptor, Transport, is_out_of_descriptors, listen_on, unmap,
};

/// A listening server.
pub(super) struct Listener {
    entrance: Entrance,
    controls: mpsc::Receiver<Control>,
    accepting: Accepting,
}

/// What a session needs of the listener. All copies are one; the port is in use as long as one is there.
#[derive(Clone)]
pub(super) struct Entrance {
    address: ListenAddress,
    socket: Rc<TcpListener>,
    admission: Admission,
}

/// Where the data connections of a test come in.
pub(super) struct StreamDoor {
    streams: Streams,
    /// A listener of its own, for what the server's cannot accept.
    accepting: Option<Accepting>,
    diversion: Option<Diversion>,
}

impl Listener {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`RunError::Listen`], or [`RunError::SocketOption`] when the network device is not there.
    pub(super) fn open(config: &ServerConfig) -> Result<Self, RunError> {
        let slots = config.limits.tests;
        let (sender, controls) = mpsc::channel(slots);
        let admission = Admission::new(Router::new(slots), sender);
        Self::open_on(config, config.port, admission, controls)
    }

    fn open_on(
        config: &ServerConfig,
        port: u16,
        admission: Admission,
        controls: mpsc::Receiver<Control>,
    ) -> Result<Self, RunError> {
        let (address, socket) = listen(config, port)?;
        let socket = Rc::new(socket);
        let accepting = Accepting::start(Rc::clone(&socket), admission.clone())?;
        Ok(Self { entrance: Entrance { address, socket, admission }, controls, accepting })
    }

    /// Listens anew on the same port, as a network device or an address may have gone and come back. Whoever
    /// is being admitted stays. No session may have a copy of the entrance.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn reopen(self, config: &ServerConfig) -> Result<Self, RunError> {
        let Self { entrance: Entrance { address, socket, admission }, controls, accepting } = self;
        // Two sockets cannot listen on one port, so the old one must be closed.
        accepting.end().await;
        drop(socket);
        Self::open_on(config, address.local.port(), admission, controls)
    }

    /// The port, also when a free one was asked for.
    pub(super) fn port(&self) -> u16 {
        self.entrance.address.local.port()
    }

    /// What a session needs.
    pub(super) fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// Waits for the next client. It has one of the server's slots.
    pub(super) async fn next_control(&mut self) -> Control {
        self.controls.recv().await.expect("the admission keeps a sender as long as the listener lives")
    }
}

impl Entrance {
    /// From now on connections with the cookie of this test are its streams, of which there are `count`.
    ///
    /// # Errors
    /// [`RunError::StreamListen`] when they need a listener of their own and it cannot be had.
    pub(super) fn expect_streams(
        &self,
        slot: &Slot,
        transport: Transport,
        count: usize,
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
        let accepting = own.map(|own| Accepting::start(Rc::new(own), self.admission.clone())).transpose()?;
        Ok(StreamDoor { streams: slot.expect_streams(count), accepting, diversion })
    }

    /// Says "busy" to a client that had a slot already.
    pub(super) fn refuse(&self, socket: Socket) {
        if let Ok(stream) = tokio::net::TcpStream::from_std(socket.into_stream()) {
            self.admission.refuse(stream);
        }
    }
}

impl StreamDoor {
    /// The next data connection of the test, in the order of the cookies.
    pub(super) async fn next(&mut self) -> Accepted {
        self.streams.next().await
    }

    /// Shuts the door; when this is over, the server's own listener gets all connections again.
    pub(super) async fn shut(self) {
        drop(self.streams);
        if let Some(accepting) = self.accepting {
            accepting.end().await;
        }
        drop(self.diversion);
    }
}

/// The task that accepts from a listener.
struct Accepting(JoinHandle<()>);

impl Accepting {
    fn start(listener: Rc<TcpListener>, admission: Admission) -> Result<Self, RunError> {
        let spare = SpareDescriptor::take()
            .map_err(|source| RunError::System { what: "taking a descriptor to spare", source })?;
        Ok(Self(tokio::task::spawn_local(accept_all(listener, admission, spare))))
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

async fn accept_all(listener: Rc<TcpListener>, admission: Admission, mut spare: SpareDescriptor) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admission.admit(stream, unmap(peer)),
            Err(error) => {
                if is_out_of_descriptors(&error) {
                    // Whoever has waited longest without a cookie makes room for the next one.
                    admission.evict_one();
                    spare.turn_away(&*listener, limits::TURNED_AWAY);
                }
                sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
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
