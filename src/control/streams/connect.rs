//! Outgoing connections: the control connection of a client and its data connections.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::time::{timeout, timeout_at};

use crate::config::{ClientConfig, Family, Protocol};
use crate::control::base::fixes::{bind_error, of_connecting};
use crate::control::base::limits;
use crate::control::base::socket_options::{before_connect, bind_device};
use crate::error::{PeerError, RunError, SetupError};
use crate::protocol::{Cookie, ErrorCode};
use crate::sys::{Socket, Transport, is_out_of_descriptors, start_thread};

/// Connects to the first address of the server that answers, all of them within the configured time.
pub(crate) async fn connect_control(config: &ClientConfig) -> Result<Socket, RunError> {
    let deadline = Instant::now() + config.connect_timeout;
    let late = || io::Error::from_raw_os_error(libc::ETIMEDOUT);
    let Ok(addresses) = timeout_at(deadline.into(), resolve(config)).await else {
        return Err(SetupError::Resolve { host: config.host.clone(), source: late() }.into());
    };
    let addresses = addresses?;
    let attempt = async {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            let local = config.local.bind.map(|ip| SocketAddr::new(ip, 0));
            let socket = match Socket::new_stream(Transport::Tcp, &address) {
                Ok(socket) => socket,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            bind_device(&socket, &config.local)?;
            if let Some(local) = local {
                let failed = |source| bind_error(ErrorCode::CONNECT, local, source);
                socket.bind(local).map_err(failed)?;
            }
            match connect(socket, address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => match of_connecting(address, &error) {
                    Some(error) => return Err(RunError::from(error)),
                    None => last = error,
                },
            }
        }
        Err(connect_error(config, last))
    };
    timeout_at(deadline.into(), attempt).await.unwrap_or_else(|_| Err(connect_error(config, late())))
}

/// Opens stream number `index` of a test that has connections.
pub(crate) async fn connect_with_cookie(
    config: &ClientConfig,
    server: SocketAddr,
    cookie: &Cookie,
    index: u16,
) -> Result<Socket, RunError> {
    let socket = connect_stream(config, server, index, limits::STREAM_CONNECT).await?;
    socket
        .send(cookie.as_bytes())
        .map_err(|source| PeerError::StreamConnect { address: server.to_string(), source })?;
    Ok(socket)
}

/// Opens data connection number `index` to where the control connection goes.
async fn connect_stream(
    config: &ClientConfig,
    server: SocketAddr,
    index: u16,
    wait: Duration,
) -> Result<Socket, RunError> {
    let failed = |source| PeerError::StreamConnect {
        address: format!("{}, port {}", server.ip(), server.port()),
        source,
    };
    let test = &config.test;
    let transport = Transport::of(test.protocol).expect("UDP streams are opened in another way");
    let socket = Socket::new_stream(transport, &server).map_err(failed)?;
    bind_device(&socket, &config.local)?;
    before_connect(&socket, test, &config.local, &server)?;
    lease_flow_label(&socket, config, server)?;
    let mut local = config.stream_address(&server, index);
    if !config.sctp_addresses.is_empty() && transport == Transport::Sctp {
        bind_sctp(&socket, local, config).map_err(failed)?;
        local = None;
    }
    if let Some(local) = local {
        socket.bind(local).map_err(|source| bind_error(ErrorCode::STREAM_CONNECT, local, source))?;
    }
    match timeout(wait, connect(socket, labelled(server, config))).await {
        Ok(connected) => Ok(connected.map_err(failed)?),
        Err(_) => Err(failed(io::Error::from_raw_os_error(libc::ETIMEDOUT)).into()),
    }
}

/// Leases the flow label that was asked for, which only IPv6 has.
pub(super) fn lease_flow_label(
    socket: &Socket,
    config: &ClientConfig,
    server: SocketAddr,
) -> Result<(), SetupError> {
    let Some(label) = config.test.socket.flow_label else { return Ok(()) };
    let leased = match server {
        SocketAddr::V6(address) => socket.lease_flow_label(label, *address.ip()),
        SocketAddr::V4(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "the server's address is IPv4")),
    };
    leased.map_err(|source| SetupError::SocketOption {
        what: ErrorCode::FLOW_LABEL.to_string(),
        code: ErrorCode::FLOW_LABEL,
        source,
    })
}

/// The address with the flow label that was asked for.
pub(super) fn labelled(server: SocketAddr, config: &ClientConfig) -> SocketAddr {
    match (server, config.test.socket.flow_label) {
        // The system's address has the label as it travels, high byte first.
        (SocketAddr::V6(address), Some(label)) => {
            SocketAddrV6::new(*address.ip(), address.port(), label.to_be(), address.scope_id()).into()
        }
        _ => server,
    }
}

/// Checks that this machine has the protocol of the streams.
///
/// # Errors
/// [`SetupError::NoProtocol`], or [`SetupError::System`] when that cannot be found out.
pub(crate) fn check_protocol(protocol: Protocol) -> Result<(), SetupError> {
    let code = match protocol {
        Protocol::Sctp(_) => ErrorCode::NO_SCTP,
        Protocol::Tcp | Protocol::Mptcp | Protocol::Udp(_) => ErrorCode::PROTOCOL,
    };
    Transport::of(protocol).map_or(Ok(()), Transport::check).map_err(|source| {
        if is_out_of_descriptors(&source) {
            return SetupError::System { what: "trying a socket", source };
        }
        let name = if protocol == Protocol::Mptcp { "Multipath TCP" } else { protocol.name() };
        SetupError::NoProtocol { name, code, source }
    })
}

/// Makes one connection; whoever drops this gives it up.
async fn connect(socket: Socket, remote: SocketAddr) -> io::Result<Socket> {
    let stream = TcpSocket::from_std_stream(socket.into_stream()).connect(remote).await?;
    Ok(Socket::from_stream(stream.into_std()?))
}

/// Makes one connection from the address of another one, with a port of its own.
pub(super) async fn connect_from(socket: Socket, from: SocketAddr, remote: SocketAddr) -> io::Result<Socket> {
    socket.bind_address(from)?;
    connect(socket, remote).await
}

/// Gives an association several local addresses; the first one decides on the port.
fn bind_sctp(socket: &Socket, local: Option<SocketAddr>, config: &ClientConfig) -> io::Result<()> {
    let port = local.map_or(0, |local| local.port());
    let mut addresses = config.local.bind.into_iter().chain(config.sctp_addresses.iter().copied());
    if let Some(first) = addresses.next() {
        socket.bind(SocketAddr::new(first, port))?;
    }
    addresses.try_for_each(|address| socket.add_sctp_address(address))
}

/// Looks up the addresses of the server, of the IP version that was asked for.
async fn resolve(config: &ClientConfig) -> Result<Vec<SocketAddr>, SetupError> {
    let failed = |source| SetupError::Resolve { host: config.host.clone(), source };
    let found = match config.host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![SocketAddr::new(address, config.port)]),
        Err(_) => look_up(config.host.clone(), config.port).await,
    };
    let wanted = |address: &SocketAddr| match config.local.family {
        Family::Any => config.local.bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4()),
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let addresses: Vec<SocketAddr> = found.map_err(failed)?.into_iter().filter(wanted).collect();
    if addresses.is_empty() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no address of the wanted IP version");
        return Err(failed(source));
    }
    Ok(addresses)
}

/// Looks up the addresses of a name. A call of the system's resolver cannot be cancelled, so it has a thread
/// of its own, which is left alone when there is no time to wait for it.
async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (sender, found) = oneshot::channel();
    let look_up = move || {
        // Fails to tell only when nobody waits any more.
        let _ = sender.send((host, port).to_socket_addrs().map(Vec::from_iter));
    };
    start_thread("resolve", look_up)?;
    found.await.unwrap_or_else(|_| Err(io::Error::other("the thread that looks it up has ended")))
}

fn connect_error(config: &ClientConfig, source: io::Error) -> RunError {
    PeerError::Connect { address: format!("{}, port {}", config.host, config.port), source }.into()
}
