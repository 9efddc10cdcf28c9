//! Outgoing connections: the control connection of a client and its data connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::config::{ClientConfig, Family, SocketConfig};
use crate::error::RunError;
use crate::protocol::ErrorCode;
use crate::sys::Socket;

/// Connects to the first address of the server that answers, all of them within the configured time.
pub(super) async fn connect_control(config: &ClientConfig) -> Result<Socket, RunError> {
    let attempt = async {
        let addresses = resolve(config).await?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match connect(address, config.local.bind.map(|ip| SocketAddr::new(ip, 0)), |_| Ok(())).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(connect_error(config, last))
    };
    match timeout(config.connect_timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(connect_error(config, io::Error::from_raw_os_error(libc::ETIMEDOUT))),
    }
}

/// Opens data connection number `index` to where the control connection goes.
pub(super) async fn connect_stream(
    config: &ClientConfig,
    server: SocketAddr,
    index: u16,
    wait: Duration,
) -> Result<Socket, RunError> {
    let options = &config.test.socket;
    let local = config.stream_address(&server, index);
    let mut refused = None;
    let connecting = connect(server, local, |socket| {
        before_connect(socket, options).map_err(|error| {
            refused = Some(error);
            io::Error::other("an option was refused")
        })
    });
    let connected = match timeout(wait, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
    };
    match (connected, refused) {
        (_, Some(refused)) => Err(refused),
        (Ok(socket), None) => Ok(socket),
        (Err(source), None) => Err(RunError::StreamConnect {
            address: format!("{}, port {}", server.ip(), server.port()),
            source,
        }),
    }
}

/// Options that must stand before the handshake.
pub(super) fn before_connect(socket: &Socket, options: &SocketConfig) -> Result<(), RunError> {
    if options.no_delay {
        set(socket.set_no_delay(), "setting TCP_NODELAY", ErrorCode::SET_NODELAY)?;
    }
    if let Some(bytes) = options.mss_bytes {
        set(socket.set_mss(bytes), &format!("setting TCP_MAXSEG to {bytes}"), ErrorCode::SET_MSS)?;
    }
    set_buffers(socket, options)?;
    set_pacing(socket, options)
}

/// Options of a data connection that a server has accepted; whatever concerns the handshake came from the
/// client.
pub(super) fn after_accept(socket: &Socket, options: &SocketConfig) -> Result<(), RunError> {
    if options.no_delay {
        set(socket.set_no_delay(), "setting TCP_NODELAY", ErrorCode::SET_NODELAY)?;
    }
    set_buffers(socket, options)?;
    set_pacing(socket, options)
}

/// Chooses the congestion control of a data connection.
pub(super) fn set_congestion(socket: &Socket, name: &str) -> Result<(), RunError> {
    let what = format!(
        "setting the congestion control to {name} (see sysctl net.ipv4.tcp_allowed_congestion_control)"
    );
    set(socket.set_congestion(name), &what, ErrorCode::CONGESTION)
}

/// Sets the socket buffers that were asked for.
pub(super) fn set_buffers(socket: &Socket, options: &SocketConfig) -> Result<(), RunError> {
    let Some(asked) = options.window_bytes else { return Ok(()) };
    let what = format!("setting the socket buffers to {asked} bytes");
    set(socket.set_buffers(asked), &what, ErrorCode::SET_BUFFER)?;
    let actual = socket.send_buffer().and_then(|sent| Ok(sent.min(socket.receive_buffer()?)));
    match actual {
        Ok(actual) if actual < asked => Err(RunError::BufferSize { asked, actual }),
        Ok(_) => Ok(()),
        Err(source) => Err(RunError::SocketOption { what, code: ErrorCode::SET_BUFFER, source }),
    }
}

/// Has the kernel pace what is sent, if that was asked for.
pub(super) fn set_pacing(socket: &Socket, options: &SocketConfig) -> Result<(), RunError> {
    if options.fq_bits_per_second == 0 {
        return Ok(());
    }
    let what = format!("pacing at {} bit/s", options.fq_bits_per_second);
    set(socket.set_max_pacing(options.fq_bits_per_second), &what, ErrorCode::PACING)
}

fn set(result: io::Result<()>, what: &str, code: ErrorCode) -> Result<(), RunError> {
    result.map_err(|source| RunError::SocketOption { what: what.to_owned(), code, source })
}

/// Makes one connection; whoever drops this gives it up.
async fn connect(
    remote: SocketAddr,
    local: Option<SocketAddr>,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let socket = Socket::new_tcp(&remote)?;
    if let Some(local) = local {
        socket.bind(local)?;
    }
    prepare(&socket)?;
    let stream = TcpSocket::from_std_stream(socket.into_stream()).connect(remote).await?;
    Ok(Socket::from_stream(stream.into_std()?))
}

async fn resolve(config: &ClientConfig) -> Result<Vec<SocketAddr>, RunError> {
    let failed = |source| RunError::Resolve { host: config.host.clone(), source };
    let found = tokio::net::lookup_host((config.host.as_str(), config.port)).await.map_err(failed)?;
    let wanted = |address: &SocketAddr| match config.local.family {
        Family::Any => config.local.bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4()),
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let addresses: Vec<SocketAddr> = found.filter(wanted).collect();
    if addresses.is_empty() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no address of the wanted IP version");
        return Err(failed(source));
    }
    Ok(addresses)
}

fn connect_error(config: &ClientConfig, source: io::Error) -> RunError {
    RunError::Connect { address: format!("{}, port {}", config.host, config.port), source }
}
