//! Ports for servers.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Socket, Type};

/// Ports are taken from below the range in which the kernel looks for the local ports of outgoing connections
/// (32768 and up by default). A port that the kernel gave for 0 could become some client's before its server
/// binds it.
const FIRST: u32 = 10_000;
/// A run may reach a little beyond the last port of the span.
const SPAN: u32 = 22_000;

/// Where the next search begins; only ever grows, so no port is given twice in one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on which nothing listens now.
pub fn pick() -> u16 {
    pick_run(1)
}

/// The first of `count` consecutive ports on which nothing listens now.
pub fn pick_run(count: u32) -> u16 {
    // Test binaries that run at the same time begin at different places.
    let seed = process::id().wrapping_mul(97);
    for _ in 0..SPAN {
        let offset = seed.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed)) % SPAN;
        let first = u16::try_from(FIRST + offset).expect("the span ends below 65536");
        let last = first + u16::try_from(count - 1).expect("a run is short");
        if (first..=last).all(|port| is_free(port).is_ok()) {
            return first;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + SPAN);
}

/// Tries a port as a server would, but does not listen: a child that some other test starts meanwhile has a
/// copy of the socket until it executes its program, and would seem to be the server.
fn is_free(port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())
}

/// A listener and a socket for datagrams on one port of the loopback device.
pub fn bind_both() -> io::Result<(TcpListener, UdpSocket)> {
    let bind = |port| {
        let address = (Ipv4Addr::LOCALHOST, port);
        Ok((TcpListener::bind(address)?, UdpSocket::bind(address)?))
    };
    // A datagram port of that number may be somebody else's.
    (0..4).find_map(|_| bind(pick()).ok()).map_or_else(|| bind(pick()), Ok)
}

/// Whether some process listens on `port` in the network namespace of this thread. Looks at the kernel's
/// table: a probing connection would count as a client, and a one-off server would leave after it.
pub fn is_listening(port: u16) -> bool {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .iter()
        .any(|table| fs::read_to_string(table).unwrap_or_default().lines().any(|row| listens_on(row, port)))
}

/// One row of such a table: number, local address:port in hexadecimal, remote one, state (0A is LISTEN), ...
fn listens_on(row: &str, port: u16) -> bool {
    let mut fields = row.split_whitespace().skip(1);
    let local = fields.next().unwrap_or_default();
    let state = fields.nth(1).unwrap_or_default();
    state == "0A" && local.ends_with(&format!(":{port:04X}"))
}
