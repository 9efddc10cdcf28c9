//! Options of sockets: of the control connection, and of data connections at both ends.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::limits;
use crate::config::{Keepalive, LocalConfig, Protocol, SocketConfig, TestConfig};
use crate::error::SetupError;
use crate::protocol::ErrorCode;
use crate::sys::{PacketMark, Socket};

/// Bytes that Linux takes for TCP_MAXSEG, for people: `TCP_MIN_MSS` of include/net/tcp.h to
/// `MAX_TCP_WINDOW`.
const SEGMENT_BYTES: &str = "88 to 32767";

/// Sets the options of a control connection, which say how soon a vanished peer is noticed.
pub(crate) fn control(socket: &Socket, local: &LocalConfig) -> Result<(), SetupError> {
    let kept = keepalive(socket, local.keepalive.unwrap_or(limits::KEEPALIVE));
    // What nobody has asked for is worth having and not worth a test: where it is refused, a peer that has
    // vanished is noticed later.
    if local.keepalive.is_some() {
        kept?;
    }
    match (local.send_timeout, local.keepalive) {
        (Some(timeout), _) => {
            set(socket.set_user_timeout(timeout), "setting TCP_USER_TIMEOUT", ErrorCode::USER_TIMEOUT)
        }
        // With a timeout the kernel would not look at the number of probes.
        (None, Some(_)) => Ok(()),
        (None, None) => {
            let _ = socket.set_user_timeout(limits::KEEPALIVE_TIMEOUT);
            Ok(())
        }
    }
}

/// Sets the options of a client's data connection, which must be set before the handshake.
pub(crate) fn before_connect(
    socket: &Socket,
    test: &TestConfig,
    local: &LocalConfig,
    server: &SocketAddr,
) -> Result<(), SetupError> {
    if let Some(bytes) = test.socket.mss_bytes {
        let result = match test.protocol {
            Protocol::Sctp(_) => socket.set_sctp_segment(bytes),
            _ => socket.set_mss(bytes),
        };
        let what = format!("{}, which is {SEGMENT_BYTES} bytes: -M {bytes}", ErrorCode::SET_MSS);
        set(result, &what, ErrorCode::SET_MSS)?;
    }
    if let Protocol::Sctp(sctp) = test.protocol {
        set(socket.allow_sctp_fragments(), "setting SCTP_DISABLE_FRAGMENTS", ErrorCode::SCTP_FRAGMENTS)?;
        if sctp.streams > 0 {
            let what = format!("asking for {} SCTP streams", sctp.streams);
            set(socket.set_sctp_streams(sctp.streams), &what, ErrorCode::SCTP_STREAMS)?;
        }
    }
    either_end(socket, test, local, server)
}

/// Sets the options of a data connection that a server has accepted. Those that concern the handshake were
/// the client's to set.
pub(crate) fn after_accept(
    socket: &Socket,
    test: &TestConfig,
    local: &LocalConfig,
) -> Result<(), SetupError> {
    let failed = |source| SetupError::System { what: "reading a data connection's addresses", source };
    let client = socket.peer_addr().map_err(failed)?;
    either_end(socket, test, local, &client)
}

/// Restricts a socket to the network device that was asked for.
pub(crate) fn bind_device(socket: &Socket, local: &LocalConfig) -> Result<(), SetupError> {
    let Some(name) = &local.bind_device else { return Ok(()) };
    set(socket.bind_device(name), &device_clause(name), ErrorCode::BIND_DEVICE)
}

/// The clause of an error message for restricting a socket to this network device.
pub(crate) fn device_clause(name: &str) -> String {
    format!("binding to the network device {name}")
}

/// Chooses the congestion control of a data connection.
pub(crate) fn set_congestion(socket: &Socket, name: &str) -> Result<(), SetupError> {
    socket.set_congestion(name).map_err(|source| {
        let fix = match source.raw_os_error() {
            Some(libc::EPERM) => format!(
                "without root there is {}; sysctl net.ipv4.tcp_allowed_congestion_control allows others",
                congestion_controls("allowed")
            ),
            _ => format!(
                "this kernel has {}, and those whose module tcp_NAME can be loaded",
                congestion_controls("available")
            ),
        };
        SetupError::Congestion { name: name.to_owned(), source, fix }
    })
}

/// The names of what is allowed, or available, as the kernel lists them.
fn congestion_controls(which: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/tcp_{which}_congestion_control");
    let names = fs::read_to_string(path).unwrap_or_default();
    if names.trim().is_empty() { "its default only".to_owned() } else { names.trim().to_owned() }
}

/// Sets the socket buffers that were asked for.
pub(crate) fn set_buffers(socket: &Socket, options: &SocketConfig) -> Result<(), SetupError> {
    let Some(asked) = options.window_bytes else { return Ok(()) };
    let what = format!("setting the socket buffers to {asked} bytes");
    set(socket.set_buffers(asked), &what, ErrorCode::SET_BUFFER)?;
    let actual = socket.send_buffer().and_then(|sent| Ok(sent.min(socket.receive_buffer()?)));
    match actual {
        Ok(actual) if actual < asked => Err(SetupError::BufferSize { asked, actual }),
        Ok(_) => Ok(()),
        Err(source) => Err(SetupError::SocketOption { what, code: ErrorCode::SET_BUFFER, source }),
    }
}

/// Has the kernel pace what is sent, if that was asked for.
pub(crate) fn set_pacing(socket: &Socket, options: &SocketConfig) -> Result<(), SetupError> {
    if options.fq_bits_per_second == 0 {
        return Ok(());
    }
    let what = format!("pacing at {} bit/s", options.fq_bits_per_second);
    set(socket.set_max_pacing(options.fq_bits_per_second), &what, ErrorCode::PACING)
}

/// Whether this process may poll the network card as long as it was asked to, tried before there is any
/// connection.
pub(crate) fn check_busy_poll(local: &LocalConfig) -> Result<(), SetupError> {
    match Socket::new_udp(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) {
        Ok(socket) => set_busy_poll(&socket, local),
        // Without IPv4 the connections will tell.
        Err(_) => Ok(()),
    }
}

/// Lets a data socket poll the network card, if that was asked for.
pub(crate) fn set_busy_poll(socket: &Socket, local: &LocalConfig) -> Result<(), SetupError> {
    let Some(micros) = local.busy_poll else { return Ok(()) };
    socket.set_busy_poll(micros).map_err(|source| {
        let fix = match source.raw_os_error() {
            Some(libc::EPERM) => {
                let allowed = fs::read_to_string("/proc/sys/net/core/busy_read").ok();
                // Other network namespaces than the first do not show it.
                let here = allowed.map_or(String::new(), |allowed| format!(", here {}", allowed.trim()));
                format!(
                    "on this kernel the longest time without CAP_NET_ADMIN is that of sysctl \
                     net.core.busy_read{here}; sysctl net.core.busy_read={micros} allows it"
                )
            }
            _ => "this kernel, or its sockets of this protocol, cannot poll; drop --busy-poll".to_owned(),
        };
        SetupError::BusyPoll { micros, source, fix }
    })
}

/// Marks what is sent to `peer`, if that was asked for.
pub(crate) fn mark_packets(
    socket: &Socket,
    options: &SocketConfig,
    peer: &SocketAddr,
) -> Result<(), SetupError> {
    if options.tos == 0 {
        return Ok(());
    }
    socket.set_packet_mark(options.tos, peer).map_err(|(mark, source)| {
        let code = match mark {
            PacketMark::TypeOfService => ErrorCode::SET_TOS,
            PacketMark::TrafficClass => ErrorCode::SET_TRAFFIC_CLASS,
        };
        SetupError::SocketOption { what: code.to_string(), code, source }
    })
}

/// Sets the options that data connections of a client and of a server have in common.
fn either_end(
    socket: &Socket,
    test: &TestConfig,
    local: &LocalConfig,
    peer: &SocketAddr,
) -> Result<(), SetupError> {
    let options = &test.socket;
    let is_sctp = matches!(test.protocol, Protocol::Sctp(_));
    if options.no_delay {
        let result = if is_sctp { socket.set_sctp_no_delay() } else { socket.set_no_delay() };
        set(result, "switching Nagle's algorithm off", ErrorCode::SET_NODELAY)?;
    }
    if let Some(timeout) = local.send_timeout.filter(|_| !is_sctp) {
        let code = ErrorCode::USER_TIMEOUT;
        set(socket.set_user_timeout(timeout), &code.to_string(), code)?;
    }
    set_buffers(socket, options)?;
    set_pacing(socket, options)?;
    set_busy_poll(socket, local)?;
    mark_packets(socket, options, peer)
}

fn keepalive(socket: &Socket, times: Keepalive) -> Result<(), SetupError> {
    let Keepalive { idle_secs, interval_secs, count } = times;
    set(socket.enable_keepalive(), "switching keepalive on (SO_KEEPALIVE)", ErrorCode::KEEPALIVE)?;
    if let Some(idle) = idle_secs {
        let what = format!("setting TCP_KEEPIDLE to {idle}");
        set(socket.set_keepalive_idle(idle), &what, ErrorCode::KEEPALIVE_IDLE)?;
    }
    if let Some(interval) = interval_secs {
        let what = format!("setting TCP_KEEPINTVL to {interval}");
        set(socket.set_keepalive_interval(interval), &what, ErrorCode::KEEPALIVE_INTERVAL)?;
    }
    if let Some(count) = count {
        let what = format!("setting TCP_KEEPCNT to {count}");
        set(socket.set_keepalive_count(count), &what, ErrorCode::KEEPALIVE_COUNT)?;
    }
    Ok(())
}

fn set(result: io::Result<()>, what: &str, code: ErrorCode) -> Result<(), SetupError> {
    result.map_err(|source| SetupError::SocketOption { what: what.to_owned(), code, source })
}
